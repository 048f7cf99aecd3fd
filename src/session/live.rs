//! A deployment that is up: its engines, and the proxy in front of them where one is needed.

use super::attach::{self, Attached};
use super::error::SessionError;
use super::events::{EventSink, SessionEvent};
use super::front::{Front, front};
use super::loss::{DEATH_NOTICE, Loss, how_it_ended};
use super::stop::Stop;
use crate::drive::Destination;
use crate::launch::argv::{EngineCommand, PROFILER_DIR};
use crate::launch::{
    Death, EngineState, Fleet, Instance, InstanceExit, InstancePart, LaunchError, LaunchEvent, LaunchOptions,
};
use crate::observe::fleet::EngineTarget;
use crate::observe::scrape::Scraper;
use crate::plan::access::Access;
use crate::plan::deployment::{AttachPlan, Deployment, FleetPlan};
use crate::plan::topology::{ProxyPolicies, Role, Topology};
use crate::plan::workload::Tokenizer;
use crate::plan::{ArmPlan, Sweep};
use crate::record::dir;
use crate::record::host::HostFacts;
use crate::record::manifest::{InstanceRecord, PartRecord};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use topobench_proxy::ProxyHandle;

/// How long the proxy may finish what it carries when an arm is taken down.
const PROXY_GRACE: Duration = Duration::from_secs(2);

/// Engines that answer, with whatever stands between them and the load.
pub(super) struct LiveArm {
    pub(super) label: String,
    /// Where the load goes.
    pub(super) target: Destination,
    pub(super) engines: Vec<EngineTarget>,
    pub(super) scraper: Scraper,
    /// Counts answers that the server doesn't count; `None` where it does, or nothing can.
    pub(super) counter: Option<Arc<Tokenizer>>,
    pub(super) proxy: Option<ProxyHandle>,
    /// `None` when attached.
    pub(super) fleet: Option<Fleet>,
    /// Tokens of prompt and output together that every engine takes.
    pub(super) max_model_len: Option<u32>,
    pub(super) records: Vec<InstanceRecord>,
    /// Answers without sampling, of a deployment whose settings are to be compared with others'.
    pub(super) greedy: Vec<String>,
}

impl LiveArm {
    /// Starts or finds the arm's engines. Whatever was started is gone again when this fails.
    pub(super) async fn bring_up(
        arm: &ArmPlan,
        sweep: &Sweep,
        logs: &Path,
        events: &EventSink,
        stop: &Stop,
    ) -> Result<LiveArm, SessionError> {
        let began = Instant::now();
        let live = match &arm.deployment {
            Deployment::Spawn(plan) if sweep.profile => {
                spawn(arm, &profiled(plan, logs)?, sweep, logs, events, stop).await?
            }
            Deployment::Spawn(plan) => spawn(arm, plan, sweep, logs, events, stop).await?,
            Deployment::Attach(plan) => attach(arm, plan, sweep, events).await?,
        };
        events(SessionEvent::Ready { arm: arm.label.clone(), secs: began.elapsed().as_secs_f64() });
        Ok(live)
    }

    /// Whether counters of decode engines are read, wherever those are.
    pub(super) fn is_prefill_decode(&self) -> bool {
        self.scraper.reads(Role::Decode)
    }

    /// Whether requests find their way to its engines without us: somebody else's front sends them.
    pub(super) fn is_behind_a_front(&self) -> bool {
        self.records.iter().any(|record| record.watched) && !self.engines.iter().any(|e| e.role == Role::Decode)
    }

    pub(super) fn of_role(&self, role: Role) -> impl Iterator<Item = &EngineTarget> {
        self.engines.iter().filter(move |e| e.role == role)
    }

    /// Queues of a role: one each data-parallel rank.
    pub(super) fn ranks(&self, role: Role) -> usize {
        self.of_role(role).map(|e| e.ranks as usize).sum()
    }

    /// Where the engines run, as far as it is known: this machine, or where the first attached server is.
    pub(super) fn host(&self) -> Option<String> {
        if let Some(node) = self.records.first().and_then(|record| record.node.clone()) {
            return Some(node);
        }
        let url = self.engines.first().and_then(|e| reqwest::Url::parse(&e.base_url).ok())?;
        let host = url.host_str()?;
        match host {
            "localhost" | "127.0.0.1" | "[::1]" => HostFacts::of_this_machine().hostname,
            host => Some(host.to_string()),
        }
    }

    /// Never returns for servers that are not ours.
    pub(super) async fn next_death(&self) -> Death {
        match &self.fleet {
            Some(fleet) => fleet.next_death().await,
            None => std::future::pending().await,
        }
    }

    /// An engine that has ended, if there is one.
    pub(super) async fn fallen(&self) -> Option<Death> {
        let states = self.fleet.as_ref().map(Fleet::states)?;
        match states.contains(&EngineState::Exited) {
            // The notice may have been given before; then nothing more would come.
            true => timeout(DEATH_NOTICE * 4, self.next_death()).await.ok(),
            false => None,
        }
    }

    /// A request that failed during the warm-up may be the first sign of an engine's death, which explains more.
    pub(super) async fn reason_of(&self, error: SessionError) -> SessionError {
        if !matches!(error, SessionError::Smoke { .. } | SessionError::NoKvTransfer { .. }) {
            return error;
        }
        let Ok(death) = timeout(DEATH_NOTICE, self.next_death()).await else { return error };
        let Loss { instance, how, .. } = Loss::from(&death);
        let log = death.log.display().to_string();
        SessionError::DiedWarmingUp { arm: self.label.clone(), instance, how, log, tail: death.log_tail }
    }

    /// Stops proxy and engines. On `stop.at_once` the engines are killed without grace.
    pub(super) async fn take_down(mut self, events: &EventSink, stop: &Stop) -> Vec<InstanceExit> {
        let began = Instant::now();
        events(SessionEvent::TearingDown { arm: self.label.clone() });
        if let Some(proxy) = &mut self.proxy {
            tokio::select! {
                _ = proxy.shutdown(PROXY_GRACE) => {}
                () = stop.at_once.cancelled() => {}
            }
        }
        let Some(fleet) = self.fleet else { return Vec::new() };
        let gpus = fleet.gpu_baseline().clone();
        let exits = tokio::select! {
            exits = fleet.shutdown() => exits,
            () = stop.at_once.cancelled() => Vec::new(),
        };
        let held = tokio::select! {
            held = gpus.not_given_back() => held,
            () = stop.at_once.cancelled() => Vec::new(),
        };
        for held in held {
            events(SessionEvent::Warning { text: format!("{}: {held}", self.label) });
        }
        let left = exits.iter().filter(|e| !e.is_clean()).map(leftovers).collect();
        events(SessionEvent::TornDown { arm: self.label, secs: began.elapsed().as_secs_f64(), left });
        exits
    }
}

/// The fleet with a place for its profiler's traces, in the run's directory.
fn profiled(plan: &FleetPlan, logs: &Path) -> Result<FleetPlan, SessionError> {
    let traces = logs.with_file_name(dir::PROFILE);
    let made = std::fs::create_dir_all(&traces).and_then(|()| traces.canonicalize());
    let traces = made.map_err(|source| SessionError::System { what: "make the directory of traces", source })?;
    let mut plan = plan.clone();
    plan.env.insert(PROFILER_DIR, &traces.display().to_string());
    Ok(plan)
}

fn leftovers(exit: &InstanceExit) -> String {
    let pids = exit.survivors.iter().map(|pid| format!("pid {pid}"));
    let ports = exit.ports_held.iter().map(|port| format!("port {port}"));
    format!("{} ({})", exit.name, pids.chain(ports).collect::<Vec<_>>().join(", "))
}

async fn spawn(
    arm: &ArmPlan,
    plan: &FleetPlan,
    sweep: &Sweep,
    logs: &Path,
    events: &EventSink,
    stop: &Stop,
) -> Result<LiveArm, SessionError> {
    events(SessionEvent::Launching { arm: arm.label.clone(), instances: plan.instances.len() });
    let options = LaunchOptions::new(logs);
    let launch = Fleet::launch(plan, &options, translate(arm.label.clone(), events), &stop.politely);
    let launched = tokio::select! {
        launched = launch => launched,
        // Dropped, the launch leaves its engines to their guardians, which kill them.
        () = stop.at_once.cancelled() => Err(LaunchError::Cancelled),
    };
    let fleet = launched.map_err(|source| match source {
        LaunchError::Cancelled => SessionError::Interrupted,
        source => SessionError::Launch { arm: arm.label.clone(), source: Box::new(source) },
    })?;
    let instances = fleet.instances();
    let engines: Vec<EngineTarget> = instances
        .iter()
        .map(|i| EngineTarget {
            name: i.name.clone(),
            role: i.role,
            base_url: i.base_url.clone(),
            ranks: i.parallelism.data_parallel,
            access: Access::with_key(plan.api_key.clone()),
        })
        .collect();
    let policies = arm.topology.as_ref().map(|t: &Topology| t.proxy.clone()).unwrap_or_default();
    let records = instances.iter().map(record).collect();
    let max_model_len = instances.iter().filter_map(|i| i.max_model_len).min();
    let front = front(arm, &engines, &policies);
    let ready = front.and_then(|front| Ok((front, Scraper::new(engines.clone()).map_err(attach::no_client)?)));
    let (Front { base_url, proxy }, scraper) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            fleet.shutdown().await;
            return Err(error);
        }
    };
    Ok(LiveArm {
        label: arm.label.clone(),
        target: target(base_url, &plan.served_model_name, Access::with_key(plan.api_key.clone()), sweep),
        scraper,
        counter: None,
        engines,
        proxy,
        fleet: Some(fleet),
        max_model_len,
        records,
        greedy: Vec::new(),
    })
}

async fn attach(arm: &ArmPlan, plan: &AttachPlan, sweep: &Sweep, events: &EventSink) -> Result<LiveArm, SessionError> {
    let Attached { engines, scraper, records } = attach::attach(&arm.label, plan, events).await?;
    let Front { base_url, proxy } = front(arm, &engines, &ProxyPolicies::default())?;
    Ok(LiveArm {
        label: arm.label.clone(),
        target: target(base_url, &plan.model, plan.access.clone(), sweep),
        scraper,
        counter: None,
        proxy,
        fleet: None,
        max_model_len: records.iter().filter_map(|r| r.max_model_len).min(),
        records,
        engines,
        greedy: Vec::new(),
    })
}

fn target(base_url: String, model: &str, access: Access, sweep: &Sweep) -> Destination {
    let mut target = Destination::new(base_url, model, &sweep.workload);
    target.access = access;
    target
}

fn record(instance: &Instance) -> InstanceRecord {
    let part = |part: &InstancePart| PartRecord {
        name: part.name.clone(),
        node: part.node.clone(),
        pid: u32::try_from(part.pid).ok(),
        argv: argv(&part.command),
        env: env(&part.command),
    };
    InstanceRecord {
        name: instance.name.clone(),
        launch: 0,
        url: instance.base_url.clone(),
        pid: u32::try_from(instance.pid).ok(),
        node: instance.node.clone(),
        gpus: instance.gpus.ids().to_vec(),
        argv: argv(&instance.command),
        env: env(&instance.command),
        more_parts: instance.more_parts.iter().map(part).collect(),
        engine_version: instance.version.clone(),
        max_model_len: instance.max_model_len,
        process_started: None,
        identity: None,
        watched: false,
        ready_secs: Some(instance.ready_after.as_secs_f64()),
        exit: None,
    }
}

fn argv(command: &EngineCommand) -> Vec<String> {
    std::iter::once(command.program.clone()).chain(command.args.iter().cloned()).collect()
}

/// Secrets are masked.
fn env(command: &EngineCommand) -> BTreeMap<String, String> {
    command.env.iter().map(|(k, v)| (k.clone(), v.masked().to_string())).collect()
}

fn translate(arm: String, events: &EventSink) -> impl Fn(LaunchEvent) + Send + Sync + 'static {
    let events = events.clone();
    move |event| match event {
        LaunchEvent::Warning { warning } => events(SessionEvent::Warning { text: format!("{arm}: {warning}") }),
        LaunchEvent::Phase { instance, phase } => {
            events(SessionEvent::EngineProgress { arm: arm.clone(), instance, phase: phase.words().to_string() });
        }
        LaunchEvent::Died { instance, node, status } => {
            let how = how_it_ended(node.as_deref(), status);
            events(SessionEvent::EngineDied { arm: arm.clone(), instance, how });
        }
        LaunchEvent::Started { .. }
        | LaunchEvent::Ready { .. }
        | LaunchEvent::Stopping { .. }
        | LaunchEvent::Stopped(_) => {}
    }
}
