//! `--dry-run`: every command, environment, port and GPU, and the schedule's summary. Starts nothing but
//! `PROGRAM --version`.

use super::exit::{CliError, Exit};
use super::{out, prepare};
use crate::analyse::ArmInput;
use crate::launch::ports::PortLeases;
use crate::launch::program::{self, Program};
use crate::launch::{self, EngineVersion, PlannedInstance};
use crate::outcome::PointKey;
use crate::plan::deployment::{AttachPlan, AttachedServers, Deployment, FleetPlan};
use crate::plan::load::Extent;
use crate::plan::strategy::{Order, SearchPlan, StrategyPlan};
use crate::plan::workload::{PlannedPoint, PreparedWorkload};
use crate::plan::{ArmPlan, Plan};
use crate::strategy::{ArmProgress, Grid, PointOrder, SessionProgress, Step, Strategy};
use crate::units::RequestRate;
use crate::words;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Serialize)]
struct DryRun<'a> {
    plan: &'a Plan,
    arms: Vec<DryArm>,
    /// Of a search the first alone: the others depend on what it shows.
    points: Vec<DryPoint>,
}

#[derive(Serialize)]
struct DryArm {
    label: String,
    gpus: u32,
    /// As a shell would take it, secrets masked.
    commands: Vec<String>,
    #[serde(skip)]
    instances: Vec<PlannedInstance>,
    /// Held while other arms are planned that will be up at the same time.
    #[serde(skip)]
    _leases: Option<PortLeases>,
}

#[derive(Serialize)]
struct DryPoint {
    rate: RequestRate,
    attempt: u32,
    launch: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pilot: bool,
    requests: usize,
    /// Seconds until the last request is due.
    span_secs: f64,
    prompt_tokens: u64,
    output_tokens: u64,
    trace_sha256: String,
}

pub(super) fn show(plan: &Plan, json: bool) -> Result<Exit, CliError> {
    let workload = prepare::workload(plan)?;
    let points = points(plan, &workload)?;
    let arms = plan.arms.iter().map(|arm| dry_arm(arm, plan.order)).collect::<Result<Vec<_>, _>>()?;
    if json {
        out::json(&DryRun { plan, arms, points })?;
        return Ok(Exit::Good);
    }
    for warning in plan.warnings.iter().chain(&prepare::warnings(plan, &workload)?) {
        out::warn(warning);
    }
    let mut text = String::new();
    for (arm, dry) in plan.arms.iter().zip(&arms) {
        describe_arm(&mut text, arm, dry);
    }
    describe_load(&mut text, plan, &points);
    out::text(&text)?;
    Ok(Exit::Good)
}

fn dry_arm(arm: &ArmPlan, order: Order) -> Result<DryArm, CliError> {
    let (instances, leases) = match &arm.deployment {
        Deployment::Spawn(fleet) => commands(fleet).map(|(instances, leases)| (instances, Some(leases)))?,
        Deployment::Attach(_) => (Vec::new(), None),
    };
    let commands = instances.iter().map(|i| i.command.shell_line()).collect();
    let _leases = leases.filter(|_| order == Order::Interleaved);
    Ok(DryArm { label: arm.label.clone(), gpus: arm.gpus, commands, instances, _leases })
}

/// A program that isn't there is no reason to refuse a dry run: the newest version's arguments are shown.
fn commands(fleet: &FleetPlan) -> Result<(Vec<PlannedInstance>, PortLeases), CliError> {
    let version = Program::find(&fleet.program).ok().and_then(|program| version_of(&program, fleet));
    launch::plan_commands(fleet, None, version).map_err(|e| CliError::new(Exit::Usage, e))
}

pub(super) fn version_of(program: &Program, fleet: &FleetPlan) -> Option<EngineVersion> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let guardian = std::path::Path::new(program::THIS);
    runtime.block_on(launch::preflight::probe_version(program, &fleet.env, guardian)).ok()?.ok()
}

fn points(plan: &Plan, workload: &PreparedWorkload) -> Result<Vec<DryPoint>, CliError> {
    if let StrategyPlan::Search(_) = &plan.sweep.strategy {
        return first_pilot(plan).iter().map(|order| point(*order, 1, workload)).collect();
    }
    let load = &plan.sweep.load;
    let of_grid = |key: PointKey| {
        let order = PointOrder { key, extent: load.extent_of(key.rate), pilot: false, may_stop: false };
        point(order, (key.attempt - 1) / load.attempts.max(1) + 1, workload)
    };
    Grid::of(plan).points_of(0).map(of_grid).collect()
}

/// What the search would measure first, once the first arm is up.
fn first_pilot(plan: &Plan) -> Option<PointOrder> {
    let (nothing, launched) = (ArmInput::default(), Some(1));
    let arm = ArmProgress { points: &[], launch: launched, judged: &nothing, launch_secs: None, is_out: false };
    let arms = vec![arm; plan.arms.len()];
    match Strategy::of(plan).next(&SessionProgress { arms: &arms, engine_secs: 0.0 })? {
        Step::Measure { point, .. } => Some(point),
        Step::Launch(_) => None,
    }
}

fn point(order: PointOrder, launch: u32, workload: &PreparedWorkload) -> Result<DryPoint, CliError> {
    let PointOrder { key, extent, .. } = order;
    let earlier = workload.earlier(key).map_err(CliError::usage)?;
    let schedule = workload.schedule_of(&PlannedPoint { key, extent, earlier }).map_err(CliError::usage)?;
    let sum = |f: fn(&crate::outcome::Request) -> u32| schedule.requests.iter().map(|r| u64::from(f(r))).sum();
    Ok(DryPoint {
        rate: key.rate,
        attempt: key.attempt,
        launch,
        pilot: order.pilot,
        requests: schedule.requests.len(),
        span_secs: schedule.span().as_secs(),
        prompt_tokens: sum(|r| r.prompt_tokens.get()),
        output_tokens: sum(|r| r.output_tokens.get()),
        trace_sha256: workload.trace_hash(&schedule),
    })
}

/// Writing into a `String` cannot fail.
fn describe_arm(out: &mut String, arm: &ArmPlan, dry: &DryArm) {
    let size = arm.topology.as_ref().map(|t| format!(" {}", t.size_label()));
    let size = size.filter(|size| !arm.label.contains(size.as_str())).unwrap_or_default();
    let _ = writeln!(out, "{}{size}: {} GPU{}", arm.label, arm.gpus, if arm.gpus == 1 { "" } else { "s" });
    match &arm.deployment {
        Deployment::Spawn(_) => {}
        Deployment::Attach(plan) => describe_attached(out, plan),
    }
    for instance in &dry.instances {
        let gpus = instance.gpus.ids();
        let gpus = match (gpus, &instance.node) {
            ([], Some(node)) => format!("no GPU, node {}", node.name),
            ([], None) => "no GPU".to_string(),
            (gpus, _) => format!("GPU {}", gpus.join(",")),
        };
        let ports = instance.ports;
        let _ = writeln!(
            out,
            "  {}: {gpus}, HTTP port {}, side channel {}, internal ports from {}",
            instance.name, ports.http, ports.side_channel, ports.internal
        );
        let _ = writeln!(out, "    {}", instance.command.shell_line());
        for part in &instance.more_parts {
            let gpus = part.gpus.ids().join(",");
            let _ = writeln!(out, "    {}: GPU {gpus}", part.name);
            let _ = writeln!(out, "      {}", part.command.shell_line());
        }
    }
}

fn describe_attached(out: &mut String, plan: &AttachPlan) {
    let _ = match &plan.servers {
        AttachedServers::Endpoint { url, .. } => writeln!(out, "  attached to {url}"),
        AttachedServers::PrefillDecode { prefill, decode } => {
            writeln!(out, "  attached to prefill {} and decode {}", prefill.join(", "), decode.join(", "))
        }
    };
    for url in &plan.metrics {
        let _ = writeln!(out, "  counters of {url}");
    }
}

fn describe_load(out: &mut String, plan: &Plan, points: &[DryPoint]) {
    let sweep = &plan.sweep;
    let _ = writeln!(out, "model {}, served as {}", sweep.model, sweep.served_model_name);
    let _ = writeln!(out, "SLO: {}, target {}; seed {}", sweep.slo, sweep.target.percent(), sweep.load.seed);
    let _ = writeln!(out, "dataset {}, order {}", sweep.workload.dataset.name(), plan.order);
    match &sweep.strategy {
        StrategyPlan::Grid | StrategyPlan::Race(_) => {}
        StrategyPlan::Search(goal) => describe_search(out, plan, goal),
        StrategyPlan::Threshold(goal) => {
            let _ = writeln!(out, "threshold {goal}: loads in rising order; an arm ends with the first that misses it");
        }
    }
    for p in points {
        let _ = writeln!(
            out,
            "  {}, {} {}: {} requests{}, {} prompt and {} output tokens, trace {}",
            words::named(p.rate),
            if p.pilot { "pilot" } else { "attempt" },
            p.attempt,
            p.requests,
            // A closed loop lasts as long as its answers take.
            p.rate.in_flight().map_or_else(|| format!(" over {:.1} s", p.span_secs), |_| String::new()),
            p.prompt_tokens,
            p.output_tokens,
            &p.trace_sha256[..12.min(p.trace_sha256.len())]
        );
    }
}

fn describe_search(out: &mut String, plan: &Plan, goal: &SearchPlan) {
    let length = match plan.sweep.load.extent {
        Extent::Requests(n) => format!("{n} requests"),
        Extent::Duration(d) => format!("{} s or more", words::number(d.as_secs_f64())),
    };
    let of = if plan.arms.len() > 1 { "the ratio" } else { "the crossing" };
    let _ = writeln!(
        out,
        "search: pilots of {} s or more double the rate from {} req/s until the target is missed; then points of {length} where \
         they narrow {of} most, until it is known to {} % or engines have been up for {} s (starting them included)",
        words::number(goal.pilot.as_secs_f64()),
        goal.first_rate,
        words::number(goal.precision * 100.0),
        words::number(goal.budget.as_secs_f64()),
    );
}
