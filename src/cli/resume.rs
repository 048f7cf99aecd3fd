//! `--resume RUN`: the plan of an interrupted run, as its manifest holds it.

use super::args::SweepArgs;
use super::exit::Failure;
use super::{given, out};
use crate::plan::Plan;
use crate::plan::environment::Environment;
use crate::record::{Manifest, catalog};
use clap::ArgMatches;
use std::path::PathBuf;

/// Flags that concern this invocation and not the plan.
const OWN: [&str; 4] = ["resume", "result_dir", "dry_run", "json"];

/// The plan and the run's directory. Secrets come from the environment again: the manifest holds none.
pub fn plan(what: &str, sweep: &SweepArgs, matches: &ArgMatches) -> Result<(Plan, PathBuf), Failure> {
    let dir = catalog::resolve(&sweep.run.result_dir, what)?;
    let unused = given::flags(matches, |id| !OWN.contains(&id));
    if !unused.is_empty() {
        out::warn(format!("{} changes nothing: --resume goes on with the run's own plan", unused.join(", ")));
    }
    let manifest = Manifest::read(&dir)?;
    let mut arm = manifest.arm.clone();
    let missing = arm.deployment.restore_secrets(&Environment::of_process());
    if !missing.is_empty() {
        return Err(Failure::usage(format!(
            "the run was made with {}, and its manifest keeps no secrets\nhint: set it in the environment to go on",
            missing.join(", ")
        )));
    }
    let result_dir = sweep.run.result_dir.clone();
    let plan = Plan { arms: vec![arm], sweep: manifest.sweep, order: manifest.order, result_dir, warnings: Vec::new() };
    Ok((plan, dir))
}
