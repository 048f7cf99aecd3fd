//! From arms, flags and environment to a validated [`Plan`]; the one place where defaults are filled in.

mod arms;
mod load;
mod request;
mod search;
mod workload;

pub use arms::base_url;
pub use request::{Arms, AttachRequest, PlanRequest, RunOptions, Servers};

use super::context::{self, KnownContext};
use super::dataset::Dataset;
use super::deployment::{AttachPlan, Deployment};
use super::environment::Environment;
use super::error::PlanError;
use super::goodput_unit::GoodputUnit;
use super::gpus::GpuPool;
use super::load::Overlong;
use super::metadata;
use super::strategy::{self, Order};
use super::topology::Defaults;
use super::topology_file;
use super::workload::embedded;
use super::{ArmPlan, Plan, Sweep};
use crate::units::Percent;

/// # Errors
/// Whatever makes the plan impossible or meaningless, before anything starts.
pub fn build(request: &PlanRequest, env: &Environment, detect: impl Fn() -> GpuPool) -> Result<Plan, PlanError> {
    let mut warnings = Vec::new();
    if let Some(name) = request.run.name.as_ref().filter(|name| !topology_file::names_a_directory(name)) {
        return Err(PlanError::value("--name", name, "it names a directory: use letters, digits, - and _"));
    }
    let (arms, defaults, disjoint) = match &request.arms {
        Arms::Spawn { specs, engine } => arms::spawn(request, specs, engine, env, detect, &mut warnings)?,
        Arms::Candidates { specs, engine, gpus } => arms::candidates(request, specs, engine, *gpus, env, detect)?,
        Arms::Attach(asked) => {
            if asked.insecure {
                warnings
                    .push("the servers' certificates were not checked (--insecure): who answered is not proved".into());
            }
            (vec![arms::attach(request, asked, env)?], Defaults::default(), true)
        }
    };
    let mut sweep = sweep(request, &arms, &defaults, &mut warnings)?;
    check_context(&sweep, &arms)?;
    let order = request.run.order.unwrap_or_else(|| strategy::default_order(arms.len(), disjoint));
    sweep.load.launches = launches(request, order)?;
    Ok(Plan { arms, sweep, order, result_dir: request.run.result_dir.clone(), warnings })
}

/// There and back takes two launches. Servers of others are never started.
fn launches(request: &PlanRequest, order: Order) -> Result<u32, PlanError> {
    match (&request.arms, request.load.launches) {
        (Arms::Attach(_), Some(n)) if n > 1 => {
            Err(PlanError::value("--launches", n, "attached servers are not started by topobench: use --attempts"))
        }
        (Arms::Attach(_), _) => Ok(1),
        (Arms::Spawn { .. } | Arms::Candidates { .. }, Some(n)) => Ok(n),
        (Arms::Spawn { .. } | Arms::Candidates { .. }, None) => Ok(if order == Order::Abba { 2 } else { 1 }),
    }
}

fn sweep(
    request: &PlanRequest,
    arms: &[ArmPlan],
    defaults: &Defaults,
    warnings: &mut Vec<String>,
) -> Result<Sweep, PlanError> {
    let (model, served_model_name) = match arms.first().map(|a| &a.deployment) {
        Some(Deployment::Spawn(fleet)) => (fleet.model.clone(), fleet.served_model_name.clone()),
        Some(Deployment::Attach(AttachPlan { model, .. })) => {
            (request.workload.model.clone().unwrap_or_else(|| model.clone()), model.clone())
        }
        None => {
            return Err(PlanError::Missing {
                what: "an arm".to_string(),
                remedy: "name at least one, e.g. `topobench ab simple nixl`".to_string(),
            });
        }
    };
    let given = arms::named(request.workload.tokenizer.as_deref(), "--tokenizer")?.map(str::to_string);
    let tokenizer = given.or_else(|| default_tokenizer(request, defaults));
    let mut workload = workload::build(&request.workload, defaults, tokenizer)?;
    if workload.tokenizer.is_none() {
        workload.tokenizer = workload::tokenizer_of(&model, &workload, warnings);
    }
    let gate = request
        .run
        .gate
        .map(|g| Percent::new(g).ok_or_else(|| PlanError::value("--gate", g, "give a percentage from 0 to 100")))
        .transpose()?;
    let strategy = search::strategy(&request.load, defaults, request.run.gate)?;
    Ok(Sweep {
        workload,
        load: load::build(&request.load, &request.workload.dataset, defaults, &strategy)?,
        strategy,
        model,
        served_model_name,
        slo: request.slo,
        target: request.target,
        window: request.run.window,
        goodput_per: goodput_per(request)?,
        gate,
        timeouts: request.run.timeouts,
        on_failure: request.run.on_failure,
        profile: request.run.profile,
        metadata: metadata::checked(&request.run.metadata)?,
        metrics: request.run.metrics.clone(),
    })
}

/// The file's tokenizer belongs to the file's model, unless it is one that is built in: those belong to an engine and
/// serve all its models.
fn default_tokenizer(request: &PlanRequest, defaults: &Defaults) -> Option<String> {
    let tokenizer = defaults.tokenizer.clone()?;
    let asked = request.workload.model.as_ref();
    let fits = asked.is_none() || asked == defaults.model.as_ref() || embedded(&tokenizer).is_some();
    fits.then_some(tokenizer)
}

/// Requests that can't fit would only be measured as failures.
fn check_context(sweep: &Sweep, arms: &[ArmPlan]) -> Result<(), PlanError> {
    let Dataset::Random { input, output, prefix_len, .. } = sweep.workload.dataset else { return Ok(()) };
    if sweep.workload.overlong != Overlong::Refuse {
        return Ok(());
    }
    let (input, output) = (input.largest().0.saturating_add(prefix_len.0), output.largest().0);
    for arm in arms {
        let Deployment::Spawn(fleet) = &arm.deployment else { continue };
        for instance in &fleet.instances {
            if let Some(KnownContext { tokens, origin }) = context::known_context(&instance.args, &fleet.model)
                && input.saturating_add(output) > tokens
            {
                let what = format!("a random request for arm `{}`", arm.label);
                return Err(PlanError::ContextOverflow { what, input, output, context: tokens, origin });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

/// Only where turns wait for each other is it known which sessions there are.
fn goodput_per(request: &PlanRequest) -> Result<GoodputUnit, PlanError> {
    let unit = request.run.goodput_per;
    if !unit.is_request() && !request.load.causal {
        return Err(PlanError::value(
            "--goodput-per",
            unit.name(),
            "sessions are measured with --causal: add it, or leave this out",
        ));
    }
    Ok(unit)
}
