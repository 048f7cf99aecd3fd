//! `topobench simple`: one deployment that serves requests whole.

use super::args::SimpleArgs;
use super::exit::{CliError, Exit};
use super::measure::one_arm;
use crate::plan::arm::{ArmSpec, Sizes};
use clap::ArgMatches;

pub(super) fn run(args: &SimpleArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let sizes = Sizes { tp: args.tp, replicas: args.replicas, ..Sizes::default() };
    one_arm("simple", vec![ArmSpec::named("simple", sizes)], &args.sweep, matches)
}
