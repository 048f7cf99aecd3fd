//! `topobench nixl`: prefill and decode instances joined by NIXL.

use super::args::NixlArgs;
use super::exit::{CliError, Exit};
use super::measure::one_arm;
use crate::plan::arm::{ArmSpec, EngineSizes, Sizes};
use clap::ArgMatches;

pub(super) fn run(args: &NixlArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let sizes = Sizes {
        prefill: args.prefill,
        decode: args.decode,
        of_prefill: EngineSizes {
            tp: args.prefill_tp,
            dp: args.prefill_dp,
            pp: args.prefill_pp,
            ep: on(args.prefill_ep),
        },
        of_decode: EngineSizes { tp: args.decode_tp, dp: args.decode_dp, pp: args.decode_pp, ep: on(args.decode_ep) },
        ..Sizes::default()
    };
    one_arm("nixl", vec![ArmSpec::named("nixl", sizes)], &args.sweep, matches)
}

/// A switch that wasn't given leaves the topology file's.
fn on(switch: bool) -> Option<bool> {
    switch.then_some(true)
}
