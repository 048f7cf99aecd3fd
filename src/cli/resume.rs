//! `--resume RUN`: the plan of an interrupted session, as its manifests hold it.

use super::args::SweepArgs;
use super::exit::CliError;
use super::{given, launcher, out};
use crate::outcome::RunStatus;
use crate::plan::environment::Environment;
use crate::plan::{ArmPlan, Plan};
use crate::record::{Manifest, catalog};
use crate::session::{self, ArmRun};
use clap::ArgMatches;
use std::path::{Path, PathBuf};

/// Flags that concern this invocation and not the plan.
const OWN: [&str; 6] = ["resume", "result_dir", "dry_run", "json", "live", "output"];

/// The plan of a single run, and its directory.
pub(super) fn one_run(what: &str, sweep: &SweepArgs, matches: &ArgMatches) -> Result<(Plan, Vec<PathBuf>), CliError> {
    only_own_flags(matches)?;
    let dir = catalog::resolve(&sweep.run.result_dir, what)?;
    if !Manifest::read(&dir)?.session.is_empty() {
        return Err(CliError::usage(format!(
            "{} is one arm of a session of several\nhint: topobench ab --resume {what} goes on with all of them",
            dir.display()
        )));
    }
    plan_of(vec![dir], sweep.run.result_dir.clone())
}

/// The plan of all arms of a session, and their directories, from any one of them.
pub(super) fn session(what: &str, sweep: &SweepArgs, matches: &ArgMatches) -> Result<(Plan, Vec<PathBuf>), CliError> {
    only_own_flags(matches)?;
    let dir = catalog::resolve(&sweep.run.result_dir, what)?;
    let names = Manifest::read(&dir)?.session;
    if names.is_empty() {
        return Err(CliError::usage(format!(
            "{} is a run of its own, not one arm of several\nhint: resume it with simple, nixl or run",
            dir.display()
        )));
    }
    let beside = dir.parent().unwrap_or(Path::new("."));
    plan_of(names.iter().map(|name| beside.join(name)).collect(), sweep.run.result_dir.clone())
}

fn only_own_flags(matches: &ArgMatches) -> Result<(), CliError> {
    let extra = given::flags(matches, |id| !OWN.contains(&id));
    if extra.is_empty() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{} beside --resume: a run goes on as it was planned\nhint: leave that out, or start a new run",
        extra.join(", ")
    )))
}

/// Secrets come from the environment again: manifests hold none.
pub(super) fn plan_of(runs: Vec<PathBuf>, result_dir: PathBuf) -> Result<(Plan, Vec<PathBuf>), CliError> {
    let manifests = runs.iter().map(|run| Manifest::read(run)).collect::<Result<Vec<_>, _>>()?;
    let arms = manifests.iter().map(arm_of).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = manifests.into_iter().next() else { return Err(CliError::usage("no run to resume")) };
    let plan = Plan { arms, sweep: first.sweep, order: first.order, result_dir, warnings: Vec::new() };
    Ok((plan, runs))
}

fn arm_of(manifest: &Manifest) -> Result<ArmPlan, CliError> {
    let mut arm = manifest.arm.clone();
    arm.deployment.take_secrets(&Environment::of_process()?).map_err(|missing| {
        let names = missing.join(", ");
        CliError::usage(format!(
            "the run gave its engines {names}, and manifests hold no secrets\nhint: set {names} in the environment and resume again"
        ))
    })?;
    launcher::check_nodes(&arm)?;
    if !manifest.sweep.secrets_are_whole() || !arm.deployment.secrets_are_whole() {
        return Err(CliError::usage(
            "the run's --extra-body or engine arguments held secrets, and manifests hold none\nhint: measure anew; secrets in the environment (VLLM_API_KEY, HF_TOKEN) can be resumed with",
        ));
    }
    Ok(arm)
}

/// The runs as they are, if nothing of them is left to be measured; said so.
pub(super) fn complete(plan: &Plan, runs: &[PathBuf]) -> Result<Option<Vec<ArmRun>>, CliError> {
    let mut done = Vec::new();
    for (i, dir) in runs.iter().enumerate() {
        let manifest = Manifest::read(dir)?;
        // A run that was killed after its last point has yet to be closed.
        if manifest.status != RunStatus::Completed || !session::is_complete(plan, i, &manifest) {
            return Ok(None);
        }
        done.push(ArmRun { label: plan.arms[i].label.clone(), dir: dir.clone(), status: manifest.status });
    }
    for dir in runs {
        out::note(format!("{} is complete: nothing is left to be measured", dir.display()));
    }
    Ok(Some(done))
}
