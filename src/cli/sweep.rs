//! `simple`, `nixl`, `run` and `ab`: from flags to a plan, from a plan to measured runs, from runs to what is shown.

use super::args::{AbArgs, NixlArgs, RunArgs, SimpleArgs, SweepArgs};
use super::exit::{Exit, Failure};
use super::{dry_run, slo};
use crate::observe::gpu::{GpuInfo, Gpus};
use crate::plan::arm::{ArmSpec, Sizes};
use crate::plan::build::{self, Arms, Request, RunOptions};
use crate::plan::environment::{self, Environment};
use crate::plan::gpus::{GpuPool, Vendor};
use crate::plan::strategy::Order;
use crate::plan::workload::{PrepareContext, PreparedWorkload};
use crate::plan::{MetricChoice, Plan, Timeouts, context};
use crate::progress::{self, Style};
use crate::record::{Manifest, catalog};
use crate::session::{ArmRun, Session, SessionError, Stop};
use crate::units::TokenCount;
use clap::ArgMatches;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub fn simple(args: &SimpleArgs, matches: &ArgMatches) -> Result<Exit, Failure> {
    let sizes = Sizes { tp: args.tp, replicas: args.replicas, ..Sizes::default() };
    let arms = arms(&args.sweep, vec![ArmSpec::named("simple", sizes)]);
    one_arm(arms, "simple", &args.sweep, matches)
}

pub fn nixl(args: &NixlArgs, matches: &ArgMatches) -> Result<Exit, Failure> {
    let sizes = Sizes {
        prefill: args.prefill,
        decode: args.decode,
        prefill_tp: args.prefill_tp,
        decode_tp: args.decode_tp,
        ..Sizes::default()
    };
    let arms = arms(&args.sweep, vec![ArmSpec::named("nixl", sizes)]);
    one_arm(arms, "nixl", &args.sweep, matches)
}

pub fn run(args: &RunArgs, matches: &ArgMatches) -> Result<Exit, Failure> {
    let specs = args.topology.iter().map(|t| ArmSpec::parse(t)).collect::<Result<Vec<_>, _>>()?;
    one_arm(arms(&args.sweep, specs), "run", &args.sweep, matches)
}

pub fn ab(args: &AbArgs, matches: &ArgMatches) -> Result<Exit, Failure> {
    if args.sweep.run.resume.is_some() {
        return Err(Failure::usage("--resume goes on with one run: use it with simple, nixl or run, then compare"));
    }
    let attach = &args.sweep.attach;
    if attach.attach.is_some() || !attach.prefill_url.is_empty() {
        return Err(Failure::usage(
            "ab starts its arms itself: measure servers that somebody else runs one by one, then compare the runs",
        ));
    }
    let specs = args.arms.iter().map(|a| ArmSpec::parse(a)).collect::<Result<Vec<_>, _>>()?;
    let arms = Arms::Spawn { specs, engine: args.sweep.run.engine.clone() };
    let plan = plan(arms, "ab", args.order, &args.sweep, matches)?;
    if args.sweep.run.dry_run {
        return dry_run::show(&plan, args.sweep.run.json);
    }
    let measured = measure(plan.clone(), None, &args.sweep)?;
    let env = Environment::of_process();
    let output = args.output.clone().or_else(|| env.get(environment::PLOT_OUTPUT_DIR).map(PathBuf::from));
    let shown = super::show_runs::compared(&measured.runs, &plan, args.scale_rate, output, args.sweep.run.json);
    measured.settle(shown)
}

fn arms(sweep: &SweepArgs, specs: Vec<ArmSpec>) -> Arms {
    match (&sweep.attach.attach, sweep.attach.prefill_url.is_empty()) {
        (Some(url), _) => Arms::Endpoint(url.clone()),
        (None, false) => {
            Arms::PrefillDecode { prefill: sweep.attach.prefill_url.clone(), decode: sweep.attach.decode_url.clone() }
        }
        (None, true) => Arms::Spawn { specs, engine: sweep.run.engine.clone() },
    }
}

fn one_arm(arms: Arms, name: &str, sweep: &SweepArgs, matches: &ArgMatches) -> Result<Exit, Failure> {
    let (plan, resumed) = match &sweep.run.resume {
        Some(what) => {
            let dir = catalog::resolve(&sweep.run.result_dir, what)?;
            (resumed_plan(&dir, sweep)?, Some(dir))
        }
        None => (plan(arms, name, None, sweep, matches)?, None),
    };
    if sweep.run.dry_run {
        return dry_run::show(&plan, sweep.run.json);
    }
    let measured = measure(plan.clone(), resumed, sweep)?;
    let shown = super::show_runs::alone(&measured.runs, &plan, sweep.run.json);
    measured.settle(shown)
}

/// The plan of an interrupted run, as its manifest holds it; secrets come from the environment again.
fn resumed_plan(dir: &std::path::Path, sweep: &SweepArgs) -> Result<Plan, Failure> {
    let manifest = Manifest::read(dir)?;
    let mut arm = manifest.arm.clone();
    arm.deployment.set_api_key(Environment::of_process().api_key());
    let result_dir = sweep.run.result_dir.clone();
    Ok(Plan { arms: vec![arm], sweep: manifest.sweep, order: manifest.order, result_dir, warnings: Vec::new() })
}

fn plan(
    arms: Arms,
    name: &str,
    order: Option<Order>,
    sweep: &SweepArgs,
    matches: &ArgMatches,
) -> Result<Plan, Failure> {
    let env = Environment::of_process();
    let (slo, target) = slo::resolve(&sweep.slo, matches, &env)?;
    let request = Request {
        arms,
        workload: sweep.workload.clone(),
        load: sweep.load.clone(),
        slo,
        target,
        run: run_options(order, name, sweep)?,
    };
    let plan = build::build(&request, &env, || gpu_pool(&env, &Gpus::detect().list()))?;
    Ok(plan)
}

fn run_options(order: Option<Order>, name: &str, sweep: &SweepArgs) -> Result<RunOptions, Failure> {
    let flags = &sweep.run;
    let secs = |flag: &str, secs: f64| {
        Duration::try_from_secs_f64(secs)
            .ok()
            .filter(|d| !d.is_zero())
            .ok_or_else(|| Failure::usage(format!("{flag} {secs}: give seconds above 0")))
    };
    Ok(RunOptions {
        order,
        result_dir: flags.result_dir.clone(),
        name: flags.name.clone().or_else(|| Some(name.to_string()).filter(|n| n != "run")),
        gate: flags.gate,
        on_failure: flags.on_failure,
        metadata: metadata(&flags.metadata)?,
        metrics: MetricChoice {
            metrics: flags.percentile_metrics.clone(),
            percentiles: flags.metric_percentiles.clone(),
        },
        engine_args: flags.engine_arg.iter().chain(&sweep.engine_tail).cloned().collect(),
        through_proxy: flags.through_proxy,
        ready_timeout: secs("--ready-timeout", flags.ready_timeout)?,
        timeouts: Timeouts {
            first_token: secs("--first-token-timeout", flags.first_token_timeout)?,
            idle: secs("--idle-timeout", flags.idle_timeout)?,
            drain: secs("--drain-timeout", flags.drain_timeout)?,
        },
    })
}

fn metadata(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                Failure::usage(format!("--metadata {word}: give KEY=VALUE words, e.g. --metadata tp=2 cluster=a"))
            })?;
            Ok((key.to_string(), value.to_string()))
        })
        .collect()
}

/// The inherited visible devices (UUIDs kept), else what the driver lists in its order.
pub fn gpu_pool(env: &Environment, known: &[GpuInfo]) -> GpuPool {
    let listed = |name: &'static str, vendor| {
        let ids: Vec<String> =
            env.get(name)?.split(',').map(|id| id.trim().to_string()).filter(|id| !id.is_empty()).collect();
        // `-1` hides every device, by CUDA's convention.
        let ids: Vec<String> = ids.into_iter().take_while(|id| id != "-1").collect();
        Some(match ids.is_empty() {
            true => GpuPool { origin: format!("{name} hides all GPUs"), ..GpuPool::none() },
            false => GpuPool { vendor, ids, origin: name.to_string() },
        })
    };
    let amd = known.first().is_some_and(|g| g.name.to_uppercase().contains("AMD"));
    let (first, second) = if amd {
        ((environment::HIP_VISIBLE_DEVICES, Vendor::Hip), (environment::CUDA_VISIBLE_DEVICES, Vendor::Hip))
    } else {
        ((environment::CUDA_VISIBLE_DEVICES, Vendor::Cuda), (environment::HIP_VISIBLE_DEVICES, Vendor::Hip))
    };
    if known.is_empty() {
        return GpuPool::none();
    }
    listed(first.0, first.1).or_else(|| listed(second.0, second.1)).unwrap_or_else(|| GpuPool {
        vendor: first.1,
        ids: known.iter().map(|g| g.index.to_string()).collect(),
        origin: "the GPUs of this machine".to_string(),
    })
}

/// Runs that were measured, and how the session ended.
pub struct Measured {
    pub runs: Vec<ArmRun>,
    ended: Result<(), SessionError>,
}

impl Measured {
    /// The session's error, told after what was measured is shown.
    fn settle(self, shown: Result<Exit, Failure>) -> Result<Exit, Failure> {
        let Err(error) = self.ended else { return shown };
        if let Err(failure) = shown {
            eprintln!("error: {}", failure.message);
        }
        Err(failure(&error))
    }
}

pub fn failure(error: &SessionError) -> Failure {
    use crate::record::RecordError;
    use SessionError as E;
    let exit = match error {
        E::Workload(_) | E::Context { .. } => Exit::Usage,
        E::Launch { .. } | E::Proxy { .. } | E::Identity { .. } | E::Smoke { .. } | E::NoKvTransfer { .. } => {
            Exit::LaunchFailed
        }
        E::EngineKeepsDying { .. } | E::EngineDied { .. } => Exit::PointDoubtful,
        E::Record(RecordError::Write { .. }) | E::Record(_) | E::Drive(_) | E::System { .. } => Exit::Internal,
        E::Interrupted => Exit::Interrupted,
    };
    Failure::new(exit, error)
}

/// Reads datasets and makes every schedule once, so that nothing about the workload can fail later.
pub fn prepare(plan: &Plan) -> Result<PreparedWorkload, Failure> {
    let sweep = &plan.sweep;
    let known = plan.arms.iter().filter_map(|arm| {
        let args = arm.deployment.engine_args();
        context::known_context(args, &sweep.model)
    });
    let context = PrepareContext {
        max_model_len: known.map(|c| c.tokens).min().map(TokenCount),
        overlong: sweep.workload.overlong,
    };
    PreparedWorkload::prepare(&sweep.workload, &sweep.load, context).map_err(Failure::usage)
}

fn measure(plan: Plan, resumed: Option<PathBuf>, sweep: &SweepArgs) -> Result<Measured, Failure> {
    let workload = prepare(&plan)?;
    let events = progress::sink(Style::choose(sweep.run.json));
    let command: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Internal, format!("cannot start the runtime: {e}")))?;
    runtime.block_on(async {
        let stop = Stop::on_signals(events.clone())
            .map_err(|e| Failure::new(Exit::Internal, format!("cannot listen to signals: {e}")))?;
        let session = match resumed {
            Some(run) => Session::resume(plan, workload, run, events, stop),
            None => Session::create(plan, workload, command, events, stop),
        };
        let (runs, ended) = session.map_err(|e| failure(&e))?.run().await;
        Ok(Measured { runs, ended })
    })
}
