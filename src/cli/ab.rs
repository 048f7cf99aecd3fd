//! `topobench ab`: several arms on the same trace, then their comparison.

use super::args::AbArgs;
use super::exit::{CliError, Exit};
use super::live::Showing;
use super::measure::{measure, plan};
use super::{attach, dry_run, present, resume};
use crate::plan::Plan;
use crate::plan::arm::ArmSpec;
use crate::plan::build::Arms;
use crate::plan::environment::{self, Environment};
use crate::session::ArmRun;
use clap::ArgMatches;
use std::path::PathBuf;

pub(super) fn run(args: &AbArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    if args.sweep.run.name.is_some() {
        return Err(CliError::usage(
            "--name names one run, and ab makes several\nhint: arms are named by their topologies",
        ));
    }
    if attach::is_asked(&args.sweep.attach) {
        return Err(CliError::usage(
            "ab starts its arms itself\nhint: measure servers that somebody else runs with simple --attach or nixl --prefill-url, then `topobench compare` the runs",
        ));
    }
    let (plan, resumed) = match &args.sweep.run.resume {
        Some(what) => {
            let (plan, runs) = resume::session(what, &args.sweep, matches)?;
            (plan, Some(runs))
        }
        None => (new_plan(args, matches)?, None),
    };
    if args.sweep.run.dry_run {
        return dry_run::show(&plan, args.sweep.run.json);
    }
    let env = Environment::of_process()?;
    let output = args.output.clone().or_else(|| env.get(environment::PLOT_OUTPUT_DIR).map(PathBuf::from));
    if let Some(output) = &output {
        present::make_output(output)?;
    }
    let show = |runs: &[ArmRun]| present::compared(runs, &plan, args.scale_rate, output.clone(), args.sweep.run.json);
    if let Some(runs) = &resumed
        && let Some(done) = resume::complete(&plan, runs)?
    {
        return show(&done);
    }
    let measured = measure(plan.clone(), resumed, Showing::session(args.sweep.run.json, args.sweep.run.live))?;
    let shown = show(&measured.runs);
    measured.settle(shown)
}

fn new_plan(args: &AbArgs, matches: &ArgMatches) -> Result<Plan, CliError> {
    if args.arms.len() < 2 {
        return Err(CliError::usage(format!(
            "ab compares two arms or more, and there is only `{}`\nhint: name another, e.g. `topobench ab simple nixl`; `topobench simple` measures one",
            args.arms.join(" ")
        )));
    }
    let specs = args.arms.iter().map(|a| ArmSpec::parse(a)).collect::<Result<Vec<_>, _>>()?;
    let arms = Arms::Spawn { specs, engine: args.sweep.run.engine.clone() };
    plan(arms, args.order, &args.sweep, matches)
}
