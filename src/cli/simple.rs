//! `topobench simple`: one deployment that serves requests whole.

use super::args::SimpleArgs;
use super::exit::{CliError, Exit};
use super::measure::one_arm;
use crate::plan::arm::ArmSpec;
use clap::ArgMatches;

pub(super) fn run(args: &SimpleArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let sizes = args.engine.sizes();
    one_arm("simple", vec![ArmSpec::named("simple", sizes)], &args.sweep, matches)
}
