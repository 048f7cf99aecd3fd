//! `topobench nixl`: prefill and decode instances joined by NIXL.

use super::args::NixlArgs;
use super::exit::{CliError, Exit};
use super::measure::one_arm;
use crate::plan::arm::{ArmSpec, Sizes};
use clap::ArgMatches;

pub(super) fn run(args: &NixlArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let sizes = Sizes {
        prefill: args.prefill,
        decode: args.decode,
        prefill_tp: args.prefill_tp,
        decode_tp: args.decode_tp,
        ..Sizes::default()
    };
    one_arm("nixl", vec![ArmSpec::named("nixl", sizes)], &args.sweep, matches)
}
