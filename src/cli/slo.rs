//! SLO flags in the order they were typed: clap's structs forget it, its matches remember.

use super::exit::CliError;
use crate::plan::environment::Environment;
use crate::plan::options::SloOptions;
use crate::plan::slo::{Slo, Target};
use crate::plan::slo_words::{self, Metric, SloWord};
use clap::ArgMatches;

/// The SLO and target that flags and environment ask for; the last flag given for a metric wins.
pub(super) fn resolve(
    options: &SloOptions,
    matches: &ArgMatches,
    env: &Environment,
) -> Result<(Slo, Target), CliError> {
    let mut words = Vec::new();
    // Words of a preset stand nowhere on the command line, and so before everything on it.
    let positions = matches.indices_of("goodput").into_iter().flatten().chain(std::iter::repeat(0));
    for (word, position) in options.goodput.iter().zip(positions) {
        words.push(SloWord { position, shown: word.to_string(), metric: word.metric, value: word.value.clone() });
    }
    let single = [
        ("ttft_slo", "--ttft-slo", Metric::Ttft, &options.ttft_slo),
        ("tpot_slo", "--tpot-slo", Metric::Tpot, &options.tpot_slo),
        ("e2el_slo", "--e2el-slo", Metric::E2el, &options.e2el_slo),
    ];
    for (id, flag, metric, value) in single {
        if let Some(value) = value {
            let position = matches.index_of(id).unwrap_or_default();
            words.push(SloWord { position, shown: format!("{flag} {value}"), metric, value: value.clone() });
        }
    }
    Ok((slo_words::resolve(words, env)?, slo_words::target(options.target, env)?))
}

/// Whether anybody named a limit on the command line.
pub(super) fn given(options: &SloOptions) -> bool {
    !options.goodput.is_empty()
        || options.ttft_slo.is_some()
        || options.tpot_slo.is_some()
        || options.e2el_slo.is_some()
}
