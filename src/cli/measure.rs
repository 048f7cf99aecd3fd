//! What `simple`, `nixl`, `run` and `ab` share: from flags to a plan, from a plan to measured runs.

use super::args::SweepArgs;
use super::exit::{CliError, Exit};
use super::live::Showing;
use super::{attach, dry_run, given, gpu_pool, launcher, out, prepare, present, preset, resume, slo, threads};
use crate::launch::{self, LaunchError};
use crate::live::LiveServer;
use crate::observe::gpus::Gpus;
use crate::plan::arm::ArmSpec;
use crate::plan::build::{self, Arms, PlanRequest, RunOptions};
use crate::plan::deployment::Deployment;
use crate::plan::environment::Environment;
use crate::plan::options::{LoadOptions, SloOptions, WorkloadOptions};
use crate::plan::secrecy::masked_words;
use crate::plan::strategy::Order;
use crate::plan::{MetricChoice, Plan, PlanError, Timeouts};
use crate::record::RecordError;
use crate::session::events::EventSink;
use crate::session::{ArmRun, Session, SessionError, Stop};
use crate::tls::{self, TlsError};
use clap::ArgMatches;
use std::path::PathBuf;
use std::time::Duration;
use topobench_proxy::Policy;

pub(super) fn one_arm(
    name: &str,
    specs: Vec<ArmSpec>,
    sweep: &SweepArgs,
    matches: &ArgMatches,
) -> Result<Exit, CliError> {
    let (plan, resumed) = match &sweep.run.resume {
        Some(what) => {
            let (plan, runs) = resume::one_run(what, sweep, matches)?;
            (plan, Some(runs))
        }
        None => {
            let arms = match attach::servers(name, &sweep.attach, matches)? {
                Some(servers) => Arms::Attach(attach::request(servers, name, &sweep.attach)),
                None => Arms::Spawn { specs, engine: sweep.run.engine.clone() },
            };
            (plan(arms, None, sweep, matches)?, None)
        }
    };
    if sweep.run.dry_run {
        return dry_run::show(&plan, sweep.run.json);
    }
    if let Some(runs) = &resumed
        && let Some(done) = resume::complete(&plan, runs)?
    {
        return present::alone(&done, &plan, sweep.run.json);
    }
    let measured = measure(plan.clone(), resumed, Showing::session(sweep.run.json, sweep.run.live))?;
    let shown = present::alone(&measured.runs, &plan, sweep.run.json);
    measured.settle(shown)
}

pub(super) fn plan(
    arms: Arms,
    order: Option<Order>,
    sweep: &SweepArgs,
    matches: &ArgMatches,
) -> Result<Plan, CliError> {
    let (mut workload, mut load) = (sweep.workload.clone(), sweep.load.clone());
    if let Some(name) = &sweep.run.preset {
        preset::apply(name, &mut workload, &mut load)?;
    }
    Ok(plan_of(arms, order, (workload, load, preset::slo(sweep)?), sweep, matches)?)
}

/// Why there is no plan: a grid goes on without a cell that the model's context refuses.
pub(super) enum Unplanned {
    Plan(PlanError),
    Other(CliError),
}

impl From<Unplanned> for CliError {
    fn from(unplanned: Unplanned) -> CliError {
        match unplanned {
            Unplanned::Plan(error) => error.into(),
            Unplanned::Other(error) => error,
        }
    }
}

impl From<PlanError> for Unplanned {
    fn from(error: PlanError) -> Unplanned {
        Unplanned::Plan(error)
    }
}

impl From<CliError> for Unplanned {
    fn from(error: CliError) -> Unplanned {
        Unplanned::Other(error)
    }
}

/// A plan of this workload, load and SLO, whatever the flags say of them.
pub(super) fn plan_of(
    arms: Arms,
    order: Option<Order>,
    (workload, load, limits): (WorkloadOptions, LoadOptions, SloOptions),
    sweep: &SweepArgs,
    matches: &ArgMatches,
) -> Result<Plan, Unplanned> {
    let env = Environment::of_process()?;
    let (slo, target) = slo::resolve(&limits, matches, &env)?;
    let request = PlanRequest { arms, workload, load, slo, target, run: run_options(order, sweep)? };
    let plan = build::build(&request, &env, || gpu_pool::of(&env, &Gpus::detect().list()))?;
    check_commands(&plan)?;
    Ok(plan)
}

/// What the rooms below would refuse when they come to it, refused before anything is started or written: arguments that
/// fight with ours, policies that the proxy doesn't know.
fn check_commands(plan: &Plan) -> Result<(), CliError> {
    for arm in &plan.arms {
        if let Deployment::Spawn(fleet) = &arm.deployment
            && let Err(error @ LaunchError::Argv(_)) = launch::plan_commands(fleet, None, None)
        {
            return Err(CliError::usage(format!("{}: {error}", arm.label)));
        }
        for policy in arm.topology.iter().flat_map(|t| [&t.proxy.prefill_policy, &t.proxy.decode_policy]) {
            policy.parse::<Policy>().map_err(|e| CliError::usage(format!("{}, [proxy]: {e}", arm.label)))?;
        }
        if let Deployment::Attach(servers) = &arm.deployment
            && servers.urls().any(|url| url.starts_with("https:"))
            && let Err(error @ TlsError::CertificateFile { .. }) = tls::client_config(servers.access.insecure)
        {
            return Err(certificate_file(&error));
        }
    }
    Ok(())
}

/// `SSL_CERT_FILE` names what can't be used.
pub(super) fn certificate_file(error: &TlsError) -> CliError {
    CliError::usage(format!("{error}\nhint: give a file of certificates in PEM, or unset it"))
}

fn run_options(order: Option<Order>, sweep: &SweepArgs) -> Result<RunOptions, CliError> {
    let flags = &sweep.run;
    let secs = |flag: &str, secs: f64| {
        Duration::try_from_secs_f64(secs)
            .ok()
            .filter(|d| !d.is_zero())
            .ok_or_else(|| CliError::usage(format!("invalid value `{secs}` for {flag}\nhint: give seconds above 0")))
    };
    Ok(RunOptions {
        order,
        result_dir: flags.result_dir.clone(),
        name: flags.name.clone(),
        gate: flags.gate,
        window: sweep.slo.window,
        goodput_per: sweep.slo.goodput_per.unwrap_or_default(),
        on_failure: flags.on_failure,
        profile: flags.profile,
        metadata: flags.metadata.iter().map(|word| (word.key.clone(), word.value.clone())).collect(),
        metrics: MetricChoice {
            metrics: flags.percentile_metrics.clone(),
            percentiles: flags.metric_percentiles.clone(),
        },
        engine_args: flags.engine_arg.iter().chain(&sweep.engine_tail).cloned().collect(),
        through_proxy: flags.through_proxy,
        job: launcher::job(flags.launcher)?,
        ready_timeout: secs("--ready-timeout", flags.ready_timeout)?,
        timeouts: Timeouts {
            first_token: secs("--first-token-timeout", flags.first_token_timeout)?,
            idle: secs("--idle-timeout", flags.idle_timeout)?,
            drain: secs("--drain-timeout", flags.drain_timeout)?,
        },
    })
}

/// Runs that were measured, and how the session ended.
pub(super) struct MeasuredRuns {
    pub(super) runs: Vec<ArmRun>,
    ended: Result<(), SessionError>,
    /// Hears the signals that would otherwise be lost while results are shown.
    _signals: tokio::runtime::Runtime,
    /// Its page can be read until results were shown.
    _live: Option<LiveServer>,
}

impl MeasuredRuns {
    /// The session's error, told after what was measured is shown.
    pub(super) fn settle(self, shown: Result<Exit, CliError>) -> Result<Exit, CliError> {
        let Err(error) = self.ended else { return shown };
        if let Err(failure) = shown {
            out::note(format!("error: {}", failure.message));
        }
        Err(failure(&error))
    }
}

pub(super) fn failure(error: &SessionError) -> CliError {
    use SessionError as E;
    let exit = match error {
        E::Workload(_) | E::Context { .. } | E::TraceChanged { .. } => Exit::Usage,
        E::Record(RecordError::Busy { .. } | RecordError::Manifest { .. } | RecordError::Journal { .. }) => Exit::Usage,
        E::Launch { .. }
        | E::Proxy { .. }
        | E::Identity { .. }
        | E::Metrics { .. }
        | E::Smoke { .. }
        | E::NoKvTransfer { .. }
        | E::DiedWarmingUp { .. } => Exit::LaunchFailed,
        E::EngineLost { .. } | E::EngineLostAgain { .. } => Exit::PointDoubtful,
        E::Record(RecordError::Write { .. }) | E::Record(_) | E::Drive(_) | E::System { .. } => Exit::Internal,
        E::Interrupted => Exit::Interrupted,
    };
    CliError::new(exit, error)
}

pub(super) fn measure(
    mut plan: Plan,
    resumed: Option<Vec<PathBuf>>,
    showing: Showing,
) -> Result<MeasuredRuns, CliError> {
    let workload = prepare::workload(&plan)?;
    plan.warnings.extend(prepare::warnings(&plan, &workload)?);
    threads::check(&plan)?;
    let fresh = resumed.is_none();
    let command = masked_words(&given::command_line());
    on_runtime(showing, async |events, stop| {
        let session = match resumed {
            Some(runs) => Session::resume(plan, workload, runs, events, stop),
            None => Session::create(plan, workload, command, events, stop),
        };
        let session = session.map_err(|e| match e {
            // Nothing was measured yet: a place that can't be written to is the command line's slip.
            SessionError::Record(error @ RecordError::Write { .. }) if fresh => CliError::usage(error),
            error => failure(&error),
        })?;
        Ok(session.run().await)
    })
}

/// What sessions leave: their runs, and how the last of them ended.
type Sessions = (Vec<ArmRun>, Result<(), SessionError>);

/// Carries out sessions, with progress shown as the flags say and with ears for signals.
pub(super) fn on_runtime(
    showing: Showing,
    sessions: impl AsyncFnOnce(EventSink, Stop) -> Result<Sessions, CliError>,
) -> Result<MeasuredRuns, CliError> {
    let (events, live) = showing.start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CliError::new(Exit::Internal, format!("cannot start the runtime: {e}")))?;
    let (runs, ended) = runtime.block_on(async {
        let stop = Stop::on_signals(events.clone())
            .map_err(|e| CliError::new(Exit::Internal, format!("cannot listen to signals: {e}")))?;
        let over = stop.over.clone();
        let measured = sessions(events, stop).await;
        over.cancel();
        measured
    })?;
    Ok(MeasuredRuns { runs, ended, _signals: runtime, _live: live })
}
