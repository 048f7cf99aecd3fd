//! The deployments of a session and how far each is, from before the first engine is up.

use super::run::RunWatch;
use crate::outcome::RunStatus;
use crate::plan::deployment::{AttachedServers, Deployment};
use crate::plan::load::{Extent, Load};
use crate::plan::strategy::StrategyPlan;
use crate::record::Manifest;
use crate::words;
use serde::Serialize;

/// A deployment, in words.
#[derive(Debug, Serialize)]
pub(super) struct ArmView {
    name: String,
    /// `4 engines on 4 GPUs`.
    engines: String,
    /// `2, 4, 8 req/s`.
    loads: String,
    /// `3 of 8`.
    points: String,
    state: String,
}

/// What a session is doing with one of its arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BusyArm {
    pub(super) arm: String,
    /// `its engines are being started`.
    pub(super) stage: &'static str,
}

/// `names` of the runs, in their order. `over`: nothing more comes.
pub(super) fn view(runs: &[RunWatch], names: &[String], busy: Option<&BusyArm>, over: bool) -> Vec<ArmView> {
    let row = |(run, name): (&RunWatch, &String)| {
        let manifest = run.manifest()?;
        let (done, planned) = (run.run.points.len(), planned(manifest));
        Some(ArmView {
            name: name.clone(),
            engines: engines(manifest),
            loads: loads(manifest),
            points: planned.map_or_else(|| done.to_string(), |planned| format!("{done} of {planned}")),
            state: state(run, manifest, busy.filter(|busy| busy.arm == *name), over),
        })
    };
    runs.iter().zip(names).filter_map(row).collect()
}

fn engines(manifest: &Manifest) -> String {
    let count = match &manifest.arm.deployment {
        Deployment::Spawn(fleet) => fleet.instances.len(),
        Deployment::Attach(plan) => match &plan.servers {
            AttachedServers::PrefillDecode { prefill, decode } => prefill.len() + decode.len(),
            AttachedServers::Endpoint { .. } => return "a server that runs already".to_string(),
        },
    };
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let gpus = match manifest.arm.gpus as usize {
        0 => String::new(),
        n => format!(" on {n} GPU{}", plural(n)),
    };
    format!("{count} engine{}{gpus}", plural(count))
}

fn loads(manifest: &Manifest) -> String {
    match &manifest.sweep.strategy {
        StrategyPlan::Search(_) | StrategyPlan::Race(_) => "rates are looked for".to_string(),
        StrategyPlan::Threshold(_) => format!("{}, until one misses", words::all_offered(&manifest.sweep.load.rates)),
        StrategyPlan::Grid => words::all_offered(&manifest.sweep.load.rates),
    }
}

/// Points of a grid's run; `None` where that is decided while measuring.
pub(super) fn planned(manifest: &Manifest) -> Option<usize> {
    let load = &manifest.sweep.load;
    (manifest.sweep.strategy == StrategyPlan::Grid).then(|| load.rates.len() * load.repeats() as usize)
}

fn state(run: &RunWatch, manifest: &Manifest, busy: Option<&BusyArm>, over: bool) -> String {
    if manifest.status != RunStatus::Incomplete {
        let why = manifest.reason.as_deref().and_then(|reason| reason.lines().next());
        let why = why.filter(|_| manifest.status != RunStatus::Completed).map(|why| format!(": {why}"));
        return format!("{}{}", manifest.status.word(), why.unwrap_or_default());
    }
    let state = match busy {
        _ if over => "not finished",
        Some(busy) => busy.stage,
        None if run.begun().is_some() => "under load",
        None => "waiting for its turn",
    };
    state.to_string()
}

/// Seconds of load that a grid has still to send, without the answers to the last requests; `None` where that is decided
/// while measuring, or depends on the answers.
pub(super) fn load_left(runs: &[RunWatch]) -> Option<f64> {
    runs.iter().filter(|run| run.is_unfinished()).map(|run| load_left_of(run.manifest()?)).sum()
}

fn load_left_of(manifest: &Manifest) -> Option<f64> {
    planned(manifest)?;
    let load = &manifest.sweep.load;
    let mut left = 0.0;
    for rate in &load.rates {
        let done = manifest.points.iter().filter(|point| point.key.rate == *rate).count();
        left += (load.repeats() as usize).saturating_sub(done) as f64 * point_secs(load, *rate)?;
    }
    Some(left)
}

fn point_secs(load: &Load, rate: crate::units::RequestRate) -> Option<f64> {
    let is_open = rate.in_flight().is_none() && !rate.is_infinite() && load.causal.is_none();
    match load.extent_of(rate) {
        Extent::Duration(duration) => Some(duration.as_secs_f64()),
        Extent::Requests(n) => is_open.then(|| f64::from(n) / rate.per_second()),
    }
}
