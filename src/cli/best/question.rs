//! What is asked: GPUs, workload, SLO, budget; flags to one request for a plan.

use crate::cli::args::BestArgs;
use crate::cli::exit::CliError;
use crate::cli::gpu_pool;
use crate::cli::launcher;
use crate::cli::slo;
use crate::observe::gpus::Gpus;
use crate::plan::arm::ArmSpec;
use crate::plan::build::{self, Arms, PlanRequest, RunOptions};
use crate::plan::candidates::LayoutKind;
use crate::plan::environment::Environment;
use crate::plan::options::LoadOptions;
use crate::plan::slo::{Slo, Target};
use crate::plan::strategy::Order;
use crate::plan::typed::Rates;
use crate::plan::{MetricChoice, OnFailure, Plan, Timeouts};
use crate::units::RequestRate;
use clap::ArgMatches;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds of a point: some twenty relaxation times of a queue that just meets limits of a few hundred ms.
const POINT_SECS: f64 = 30.0;
/// Of requests that are looked at before anything is sent.
const REQUESTS: f64 = 180.0;

/// The question, with what is needed to make plans for it.
pub(super) struct BestQuestion {
    pub(super) gpus: u32,
    pub(super) slo: Slo,
    pub(super) target: Target,
    pub(super) point_secs: f64,
    pub(super) env: Environment,
}

impl BestQuestion {
    pub(super) fn of(args: &BestArgs, matches: &ArgMatches) -> Result<BestQuestion, CliError> {
        let env = Environment::of_process()?.without_sizes();
        let (slo, target) = slo::resolve(&args.slo, matches, &env)?;
        let gpus = args.gpus.ok_or_else(|| CliError::usage("--gpus is missing\nhint: say how many GPUs to spend"))?;
        let own = ArmSpec::parse(LayoutKind::Simple.name())?.load(&args.race.engine, &env)?.topology.defaults;
        let point_secs = args.race.point.or(own.search.point).unwrap_or(POINT_SECS);
        if !(1.0..=3600.0).contains(&point_secs) {
            return Err(CliError::usage(format!(
                "invalid value `{point_secs}` for --point\nhint: give seconds from 1 to 3600"
            )));
        }
        Ok(BestQuestion { gpus, slo, target, point_secs, env })
    }

    /// A plan for deployments that take turns on the same GPUs.
    pub(super) fn plan(&self, args: &BestArgs, arms: &[String]) -> Result<Plan, CliError> {
        let specs = arms.iter().map(|arm| ArmSpec::parse(arm)).collect::<Result<Vec<_>, _>>()?;
        let request = PlanRequest {
            arms: Arms::Candidates { specs, engine: args.race.engine.clone(), gpus: self.gpus },
            workload: args.workload.clone(),
            load: LoadOptions {
                request_rate: RequestRate::new(REQUESTS / self.point_secs).map(|rate| Rates(vec![rate])),
                duration: Some(self.point_secs),
                burstiness: 1.0,
                attempts: 1,
                seed: args.race.seed,
                ..LoadOptions::default()
            },
            slo: self.slo,
            target: self.target,
            run: run_options(args)?,
        };
        Ok(build::build(&request, &self.env, || gpu_pool::of(&self.env, &Gpus::detect().list()))?)
    }
}

fn run_options(args: &BestArgs) -> Result<RunOptions, CliError> {
    let ready_timeout =
        Duration::try_from_secs_f64(args.race.ready_timeout).ok().filter(|d| !d.is_zero()).ok_or_else(|| {
            let secs = args.race.ready_timeout;
            CliError::usage(format!("invalid value `{secs}` for --ready-timeout\nhint: give seconds above 0"))
        })?;
    let secs = Duration::from_secs;
    Ok(RunOptions {
        order: Some(Order::Ab),
        result_dir: args.race.result_dir.clone(),
        name: None,
        profile: false,
        gate: None,
        window: args.slo.window,
        goodput_per: args.slo.goodput_per.unwrap_or_default(),
        on_failure: OnFailure::default(),
        metadata: BTreeMap::new(),
        metrics: MetricChoice::default(),
        engine_args: args.race.engine_arg.iter().chain(&args.engine_tail).cloned().collect(),
        through_proxy: false,
        job: launcher::job(args.race.launcher)?,
        ready_timeout,
        // A request that has no token after so long has missed any limit that is worth a race.
        timeouts: Timeouts { first_token: secs(60), idle: secs(60), drain: secs(60) },
    })
}
