//! `topobench run`: any topology file.

use super::args::RunArgs;
use super::exit::{CliError, Exit};
use super::measure::one_arm;
use crate::plan::arm::ArmSpec;
use clap::ArgMatches;

pub(super) fn run(args: &RunArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let specs = args.topology.iter().map(|t| ArmSpec::parse(t)).collect::<Result<Vec<_>, _>>()?;
    one_arm("run", specs, &args.sweep, matches)
}
