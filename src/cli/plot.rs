//! `topobench plot`: one run's figures again, with the SLO it was measured for or another.

mod named;
mod one;

pub(super) use one::question;

use super::args::PlotArgs;
use super::exit::{CliError, Exit};
use super::present;
use crate::plan::environment::{self, Environment};
use crate::record::catalog;
use clap::ArgMatches;
use std::path::PathBuf;

pub(super) fn run(args: &PlotArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    present::check_parquet(args.parquet)?;
    if args.named.any() {
        return named::run(args, matches);
    }
    let Some(name) = &args.run else { return Err(CliError::usage("name a run to plot, or a table with --csv")) };
    let dir = catalog::resolve(&args.result_dir, name)?;
    let env = Environment::of_process()?;
    let output = args.output.clone().or_else(|| env.get(environment::PLOT_OUTPUT_DIR).map(PathBuf::from));
    one::write_all(args, &dir, &output.unwrap_or_else(|| dir.clone()), matches, &env)
}
