//! `--resume RUN`: the plan of an interrupted run, as its manifest holds it.

use super::args::SweepArgs;
use super::exit::CliError;
use super::given;
use crate::outcome::RunStatus;
use crate::plan::Plan;
use crate::plan::environment::Environment;
use crate::record::{Manifest, catalog};
use crate::session::{self, ArmRun};
use clap::ArgMatches;
use std::path::{Path, PathBuf};

/// Flags that concern this invocation and not the plan.
const OWN: [&str; 4] = ["resume", "result_dir", "dry_run", "json"];

/// The plan and the run's directory. Secrets come from the environment again: the manifest holds none.
pub fn plan(what: &str, sweep: &SweepArgs, matches: &ArgMatches) -> Result<(Plan, PathBuf), CliError> {
    let extra = given::flags(matches, |id| !OWN.contains(&id));
    if !extra.is_empty() {
        return Err(CliError::usage(format!(
            "{} beside --resume: a run goes on as it was planned\nhint: leave that out, or start a new run",
            extra.join(", ")
        )));
    }
    let dir = catalog::resolve(&sweep.run.result_dir, what)?;
    let manifest = Manifest::read(&dir)?;
    let mut arm = manifest.arm.clone();
    arm.deployment.take_secrets(&Environment::of_process()?).map_err(|missing| {
        let names = missing.join(", ");
        CliError::usage(format!(
            "the run gave its engines {names}, and manifests hold no secrets\nhint: set {names} in the environment and resume again"
        ))
    })?;
    if !manifest.sweep.secrets_are_whole() || !arm.deployment.secrets_are_whole() {
        return Err(CliError::usage(
            "the run's --extra-body or engine arguments held secrets, and manifests hold none\nhint: measure anew; secrets in the environment (VLLM_API_KEY, HF_TOKEN) can be resumed with",
        ));
    }
    let result_dir = sweep.run.result_dir.clone();
    let plan = Plan { arms: vec![arm], sweep: manifest.sweep, order: manifest.order, result_dir, warnings: Vec::new() };
    Ok((plan, dir))
}

/// The run as it is, if nothing of it is left to be measured.
pub fn complete(plan: &Plan, dir: &Path) -> Result<Option<ArmRun>, CliError> {
    let manifest = Manifest::read(dir)?;
    // A run that was killed after its last point has yet to be closed.
    if manifest.status != RunStatus::Completed || !session::is_complete(plan, 0, &manifest) {
        return Ok(None);
    }
    let label = plan.arms[0].label.clone();
    Ok(Some(ArmRun { label, dir: dir.to_path_buf(), status: manifest.status }))
}
