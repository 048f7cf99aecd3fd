//! From the question to candidates with predictions, and to the race that is planned for them.

use super::question::BestQuestion;
use crate::cli::args::BestArgs;
use crate::cli::exit::CliError;
use crate::cli::launcher;
use crate::cli::{dry_run, out, prepare};
use crate::launch::program::Program;
use crate::observe::gpus::Gpus;
use crate::plan::Plan;
use crate::plan::arm::ArmSpec;
use crate::plan::candidates::{self, Candidate, Layout, LayoutKind, MinorVersion, Tuning};
use crate::plan::connector::{self, KvDirection};
use crate::plan::deployment::{Deployment, FleetPlan, GpuAssignment};
use crate::plan::strategy::{RacePlan, StrategyPlan};
use crate::plan::topology::Shape;
use crate::plan::workload::PreparedWorkload;
use crate::predict::arm::EngineSettings;
use crate::predict::capacity::{Demand, Predictor};
use crate::predict::field::{Entrant, Field};
use crate::predict::model::preset::{self, Gpu, Model};
use crate::predict::workload::Arrival;
use crate::strategy::race::{Contest, Race};
use std::time::Duration;

/// What a launch is taken to last until one was seen: of engines on GPUs, and of engines that have none to load.
const LAUNCH: Duration = Duration::from_secs(150);
const LAUNCH_WITHOUT_GPUS: Duration = Duration::from_secs(12);
/// From the last request due to the next point.
const BETWEEN_POINTS: f64 = 3.0;

/// Everything that is known before an engine is started.
pub(super) struct Preparation {
    pub(super) entrants: Vec<Entrant>,
    pub(super) field: Field,
    /// Of the candidates that are raced, in their order.
    pub(super) plan: Plan,
    pub(super) race: Race,
    /// Whose model predicted; `None`: nothing did, and why.
    pub(super) preset: Result<&'static Gpu, String>,
    pub(super) gpus: u32,
}

impl Preparation {
    pub(super) fn prepare(args: &BestArgs, asked: &BestQuestion) -> Result<Preparation, CliError> {
        let nodes = launcher::job(args.race.launcher)?.map(|job| job.gpus_of_nodes(asked.gpus)).unwrap_or_default();
        let wanted = |layout: &Layout| args.race.shapes.contains(&layout.kind()) && layout.fits(&nodes);
        let plain: Vec<Layout> = Layout::all(asked.gpus, false).into_iter().filter(wanted).collect();
        if plain.is_empty() {
            return Err(CliError::usage(format!(
                "{} GPU has no prefill/decode shape\nhint: give --shapes simple, or more --gpus",
                asked.gpus
            )));
        }
        let first_of = |kind: LayoutKind| plain.iter().find(|layout| layout.kind() == kind);
        let firsts: Vec<&Layout> = [LayoutKind::Simple, LayoutKind::Nixl].into_iter().filter_map(first_of).collect();
        let bare = |layout: &Layout| format!("{}:{}", layout.kind().name(), layout.sizes());
        let sample = asked.plan(args, &firsts.into_iter().map(bare).collect::<Vec<_>>())?;
        let workload = prepare::workload(&sample)?;
        let model = Model::find(&sample.sweep.model);
        let is_mixture = model.is_some_and(|model| model.experts.is_some());
        let layouts: Vec<Layout> = Layout::all(asked.gpus, is_mixture).into_iter().filter(wanted).collect();
        let entrants = entrants(args, asked, &layouts, version(&sample))?;
        let preset = preset(args, &sample)?;
        let demand = demand(&sample, &workload)?;
        let predictor = preset.as_ref().ok().zip(model).zip(demand.as_ref()).map(|((gpu, model), demand)| Predictor {
            model,
            gpu,
            demand,
            slo: asked.slo,
            target: asked.target,
        });
        let field = Field::of(&entrants, predictor.as_ref());
        let raced: Vec<usize> = field.raced().collect();
        if raced.is_empty() {
            return Err(CliError::usage(format!(
                "no deployment of {} GPUs is predicted to serve {} within {}\nhint: relax the SLO, or take more GPUs",
                asked.gpus, sample.sweep.model, asked.slo
            )));
        }
        let mut plan = asked.plan(args, &raced.iter().map(|i| entrants[*i].candidate.arm()).collect::<Vec<_>>())?;
        let (predicted, covariance) = field.prior(&entrants);
        for (arm, at) in plan.arms.iter_mut().zip(&raced) {
            arm.label = entrants[*at].candidate.to_string();
        }
        let race = RacePlan {
            predicted,
            covariance,
            kinds: raced.iter().map(|i| entrants[*i].candidate.layout.kind()).collect(),
            budget: args.race.budget,
            launch_takes: launch_takes(&plan),
            point_takes: Duration::from_secs_f64(asked.point_secs + BETWEEN_POINTS),
            point: Duration::from_secs_f64(asked.point_secs),
        };
        let rehearsed = Contest::of(&plan, &race).race;
        plan.sweep.strategy = StrategyPlan::Race(race);
        let preset = match model {
            Some(_) => preset,
            None => Err(format!("the model of the engines does not know {}", sample.sweep.model)),
        };
        Ok(Preparation { entrants, field, plan, race: rehearsed, preset, gpus: asked.gpus })
    }
}

fn entrants(
    args: &BestArgs,
    asked: &BestQuestion,
    layouts: &[Layout],
    version: Option<MinorVersion>,
) -> Result<Vec<Entrant>, CliError> {
    let tunings = candidates::read(args.race.tune.as_ref().unwrap_or(&candidates::Tune::Curated))?;
    let wanted = |t: &Tuning| t.suits(version) && (!t.changes_outputs || args.race.allow_other_answers);
    let tunings: Vec<Tuning> = tunings.into_iter().filter(wanted).collect();
    let mut known: Vec<(Tuning, ([EngineSettings; 2], bool))> = Vec::new();
    let mut entrants = Vec::new();
    for candidate in Candidate::all(layouts, &tunings) {
        let found = known.iter().find(|(tuning, _)| *tuning == candidate.tuning).map(|(_, settings)| *settings);
        let (settings, pushed) = match found {
            Some(known) => known,
            None => {
                let settings = engine_settings(args, asked, &candidate)?;
                known.push((candidate.tuning.clone(), settings));
                settings
            }
        };
        entrants.push(Entrant { candidate, settings, pushed });
    }
    Ok(entrants)
}

/// What a candidate's engines are given, those that see a request first and those that decode; and whether KV is pushed.
fn engine_settings(
    args: &BestArgs,
    asked: &BestQuestion,
    candidate: &Candidate,
) -> Result<([EngineSettings; 2], bool), CliError> {
    let topology = ArmSpec::parse(&candidate.arm())?.load(&args.race.engine, &asked.env)?.topology;
    let more: Vec<String> = args.race.engine_arg.iter().chain(&args.engine_tail).cloned().collect();
    let each: Vec<EngineSettings> = topology
        .groups()
        .map(|(_, group)| {
            let words = [&topology.args, &group.args, &more, &group.settings];
            EngineSettings::of_args(&words.into_iter().flatten().cloned().collect::<Vec<_>>())
        })
        .collect();
    let entry = each.first().copied().unwrap_or_default();
    let pushed = match &topology.shape {
        Shape::PrefillDecode { kv, .. } => connector::direction(kv) == Ok(KvDirection::Push),
        Shape::Simple { .. } => false,
    };
    Ok(([entry, each.last().copied().unwrap_or(entry)], pushed))
}

fn fleets(plan: &Plan) -> impl Iterator<Item = &FleetPlan> {
    plan.arms.iter().filter_map(|arm| match &arm.deployment {
        Deployment::Spawn(fleet) => Some(fleet),
        Deployment::Attach(_) => None,
    })
}

/// What the engine says of itself. A program that isn't there is told when it is to be started.
fn version(plan: &Plan) -> Option<MinorVersion> {
    let fleet = fleets(plan).next()?;
    let version = dry_run::version_of(&Program::find(&fleet.program).ok()?, fleet)?;
    Some((version.major, version.minor))
}

fn has_gpus(plan: &Plan) -> bool {
    let mut instances = fleets(plan).flat_map(|fleet| &fleet.instances);
    instances.any(|instance| matches!(instance.gpus, GpuAssignment::Cuda(_) | GpuAssignment::Hip(_)))
}

fn launch_takes(plan: &Plan) -> Duration {
    if has_gpus(plan) { LAUNCH } else { LAUNCH_WITHOUT_GPUS }
}

/// The preset that somebody named, or that of the GPUs that there are; virtual ones are simulated as the first.
fn preset(args: &BestArgs, plan: &Plan) -> Result<Result<&'static Gpu, String>, CliError> {
    if let Some(name) = &args.race.preset {
        return Gpu::find(name).map(Ok).ok_or_else(|| {
            let known = preset::names(preset::GPUS.iter().map(|gpu| gpu.name));
            CliError::usage(format!("--preset {name}: not known to the model of the engines; it knows {known}"))
        });
    }
    if !has_gpus(plan) {
        return Ok(Ok(&preset::GPUS[0]));
    }
    let names: Vec<String> = match launcher::job(args.race.launcher)? {
        Some(job) => job.gpu_names,
        None => Gpus::detect().list().into_iter().map(|gpu| gpu.name).collect(),
    };
    let first = names.first().cloned().unwrap_or_default();
    let found = Gpu::of_product(&first);
    Ok(found.ok_or_else(|| format!("no preset fits {first}; --preset names one")))
}

/// The workload's first requests; `None` where all come at once.
fn demand(plan: &Plan, workload: &PreparedWorkload) -> Result<Option<Demand>, CliError> {
    let Some(rate) = plan.sweep.load.rates.first() else { return Ok(None) };
    let schedule = workload.schedule(*rate, 1).map_err(CliError::usage)?;
    let arrival = |request: &crate::outcome::Request| Arrival {
        at: Duration::from_secs_f64(request.due.as_secs().max(0.0)),
        input_tokens: request.prompt_tokens.get(),
        output_tokens: request.output_tokens.get().max(1),
    };
    let demand = Demand::new(schedule.requests.iter().map(arrival).collect());
    if demand.is_none() {
        out::warn("the workload's requests all come at once: nothing is predicted from them");
    }
    Ok(demand)
}
