//! The fleet: every engine of one arm, launched together, watched together, brought down together.
//!
//! A launch either returns a fleet whose every instance has proved itself, or an error with everything gone again.
//! A fleet that is dropped without [`Fleet::shutdown`] is killed by its guardians, without grace.

use super::argv::EngineCommand;
use super::error::LaunchError;
use super::events::{EngineState, InstanceExit, LaunchEvent};
use super::gpu_memory::GpuBaseline;
use super::hosts::Hosts;
use super::instance::{Death, Instance, InstancePart};
use super::member::FleetMember;
use super::part::{EnginePart, EngineParts};
use super::planned::{PlannedInstance, lanes, plan_on};
use super::ports::{PortLeases, Ports};
use super::preflight::{self, PreflightError, Warning};
use super::process::EngineProcess;
use super::program::{self, Program};
use super::readiness::StartingInstance;
use super::version::EngineVersion;
use crate::observe::http;
use crate::plan::deployment::{FleetPlan, JobNode};
use futures_util::future::{join_all, select_all};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How to launch, beside what.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// Gets `<instance>.log`; made if missing.
    pub log_dir: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// HTTP port of the first instance; the others follow.
    pub http_port: Option<u16>,
    /// Spares the run of `PROGRAM --version`, e.g. for the second fleet of the same engine.
    pub version: Option<EngineVersion>,
    /// Start on GPUs that somebody else is using.
    pub allow_busy_gpus: bool,
    /// The program with the guardian's hidden mode: this one, unless a test says otherwise.
    pub guardian: PathBuf,
}

impl LaunchOptions {
    pub fn new(log_dir: impl Into<PathBuf>) -> Self {
        LaunchOptions {
            log_dir: log_dir.into(),
            grace: Duration::from_secs(5),
            http_port: None,
            version: None,
            allow_busy_gpus: false,
            guardian: program::THIS.into(),
        }
    }
}

/// Running engines of one arm.
pub struct Fleet {
    members: Vec<FleetMember>,
    instances: Vec<Instance>,
    hosts: Hosts,
    gpu_baseline: GpuBaseline,
    grace: Duration,
    events: Events,
    _leases: Option<PortLeases>,
}

type Events = Arc<dyn Fn(LaunchEvent) + Send + Sync>;

impl Fleet {
    /// Starts every instance of the plan and returns when all have proved themselves. Instances that share a GPU start
    /// one after another (vLLM's memory profiling is disturbed by a neighbour that is allocating), all others side by
    /// side.
    pub async fn launch(
        plan: &FleetPlan,
        options: &LaunchOptions,
        events: impl Fn(LaunchEvent) + Send + Sync + 'static,
        cancel: &CancellationToken,
    ) -> Result<Fleet, LaunchError> {
        let events: Events = Arc::new(events);
        let checked = tokio::select! {
            checked = check(plan, options, &events) => checked?,
            () = cancel.cancelled() => return Err(LaunchError::Cancelled),
        };
        let plan = &FleetPlan { program: checked.program.to_string(), ..plan.clone() };
        let Checked { hosts, gpu_baseline, version, .. } = checked;
        let (planned, leases) = plan_on(&hosts, plan, options.http_port, version).await?;
        let stop = cancel.child_token();
        let launch = Launch { plan, options, hosts: &hosts, planned: &planned, events: &events, stop };
        let members = match launch.all().await {
            Ok(members) => members,
            Err(error) => {
                for held in gpu_baseline.not_given_back().await {
                    events(LaunchEvent::Warning { warning: Warning::GpuMemoryHeld(held) });
                }
                return Err(error);
            }
        };
        let instances = members.iter().map(|member| member.instance.clone()).collect();
        Ok(Fleet { members, instances, hosts, gpu_baseline, grace: options.grace, events, _leases: leases })
    }

    /// In the plan's order.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// What its GPUs held before the start, to be compared with after [`Fleet::shutdown`].
    pub fn gpu_baseline(&self) -> &GpuBaseline {
        &self.gpu_baseline
    }

    /// The machines that its engines run on.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The state of each instance's process at this moment, in the plan's order.
    pub fn states(&self) -> Vec<EngineState> {
        self.members.iter().map(FleetMember::state).collect()
    }

    /// Waits for the next engine to end that nobody had asked to, whatever its exit code. Each death is told once; a
    /// call that is dropped loses none.
    pub async fn next_death(&self) -> Death {
        let waiting: Vec<_> = self.members.iter().filter(|m| !m.death_was_told()).map(|m| Box::pin(m.died())).collect();
        if waiting.is_empty() {
            return std::future::pending().await;
        }
        let (member, _, _) = select_all(waiting).await;
        let death = member.death().await;
        let (instance, node) = (death.instance.clone(), death.node.clone());
        (self.events)(LaunchEvent::Died { instance, node, status: death.status });
        death
    }

    /// Brings every engine down and reports how each ended, in the plan's order. Dropping the future kills what is
    /// left at once.
    pub async fn shutdown(self) -> Vec<InstanceExit> {
        tear_down(&self.members, self.grace, &self.events).await
    }
}

struct Checked {
    program: Program,
    hosts: Hosts,
    version: Option<EngineVersion>,
    gpu_baseline: GpuBaseline,
}

async fn check(plan: &FleetPlan, options: &LaunchOptions, events: &Events) -> Result<Checked, LaunchError> {
    let program = Program::find(&plan.program).map_err(PreflightError::from)?;
    let log_dir = |source| PreflightError::LogDir { path: options.log_dir.clone(), source };
    std::fs::create_dir_all(&options.log_dir).map_err(log_dir)?;
    let hosts = Hosts::reach(&plan.instances, &options.guardian).await?;
    preflight::check_gpus(plan, &hosts, options.allow_busy_gpus).await?;
    if let Some(warning) = preflight::check_shared_memory(plan, &hosts).await {
        events(LaunchEvent::Warning { warning });
    }
    let version = match options.version {
        Some(version) => Some(version),
        None => match preflight::probe_version_on(&hosts.first(), &program, &plan.env, &options.guardian).await? {
            Ok(version) => Some(version),
            Err(warning) => {
                events(LaunchEvent::Warning { warning });
                None
            }
        },
    };
    let gpu_baseline = GpuBaseline::of(&plan.instances, &hosts).await;
    Ok(Checked { program, hosts, version, gpu_baseline })
}

/// A launch under way.
struct Launch<'a> {
    plan: &'a FleetPlan,
    options: &'a LaunchOptions,
    hosts: &'a Hosts,
    planned: &'a [PlannedInstance],
    events: &'a Events,
    /// Set by the caller, or by the first instance that fails.
    stop: CancellationToken,
}

impl Launch<'_> {
    async fn all(&self) -> Result<Vec<FleetMember>, LaunchError> {
        let lanes = lanes(self.planned);
        let mut members: Vec<(usize, FleetMember)> = Vec::new();
        let mut failure = None;
        for (started, outcome) in join_all(lanes.iter().map(|lane| self.lane(lane))).await {
            members.extend(started);
            // A cancelled lane is a consequence; the cause is the lane that failed.
            failure = match (failure, outcome) {
                (None | Some(LaunchError::Cancelled), Err(error)) => Some(error),
                (failure, _) => failure,
            };
        }
        members.sort_by_key(|(position, _)| *position);
        let members: Vec<FleetMember> = members.into_iter().map(|(_, member)| member).collect();
        match failure {
            None => Ok(members),
            Some(error) => {
                tear_down(&members, self.options.grace, self.events).await;
                Err(error)
            }
        }
    }

    /// Starts these instances one after another; gives all that were started, ready or not.
    async fn lane(&self, lane: &[usize]) -> (Vec<(usize, FleetMember)>, Result<(), LaunchError>) {
        let mut started = Vec::new();
        for &position in lane {
            if self.stop.is_cancelled() {
                return (started, Err(LaunchError::Cancelled));
            }
            let outcome = self.instance(&self.planned[position]).await;
            let result = match outcome {
                Ok((member, result)) => {
                    started.push((position, member));
                    result
                }
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.stop.cancel();
                return (started, Err(error));
            }
        }
        (started, Ok(()))
    }

    /// Starts one instance and waits for its proof. The outer error: it could not even be started.
    async fn instance(&self, planned: &PlannedInstance) -> Result<(FleetMember, Result<(), LaunchError>), LaunchError> {
        let started = Instant::now();
        let parts = self.spawn_all(planned).await?;
        let mut member = FleetMember::new(self.describe(planned, &parts), parts);
        let proof = tokio::select! {
            proof = self.prove(&member, started) => proof,
            () = self.stop.cancelled() => Err(LaunchError::Cancelled),
        };
        let result = match proof {
            Ok(proof) => {
                member.ready(proof, started.elapsed()).await;
                let (name, base_url) = (planned.name.clone(), member.instance.base_url.clone());
                (self.events)(LaunchEvent::Ready { instance: name, base_url, after: started.elapsed() });
                Ok(())
            }
            Err(error) => Err(error),
        };
        Ok((member, result))
    }

    /// All parts of an instance at once, since they wait for each other. If one can't be started, the others end again.
    async fn spawn_all(&self, planned: &PlannedInstance) -> Result<EngineParts, LaunchError> {
        let node = planned.node.as_ref().filter(|_| !planned.more_parts.is_empty());
        let first = self.spawn(&planned.name, planned.node.as_ref(), node, planned.ports, &planned.command);
        let more = planned.more_parts.iter();
        let more =
            more.map(|part| self.spawn(&part.name, Some(&part.node), Some(&part.node), part.ports, &part.command));
        let (first, more) = tokio::join!(first, join_all(more));
        let (mut started, mut failure) = (Vec::new(), None);
        for part in std::iter::once(first).chain(more) {
            match part {
                Ok(part) => started.push(part),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            join_all(started.iter().map(|part| part.process.stop(Duration::ZERO))).await;
            return Err(error);
        }
        let first = started.remove(0);
        Ok(EngineParts::new(first, started))
    }

    /// `told`: the node, if the instance has parts on several.
    async fn spawn(
        &self,
        name: &str,
        node: Option<&JobNode>,
        told: Option<&JobNode>,
        ports: Ports,
        command: &EngineCommand,
    ) -> Result<EnginePart, LaunchError> {
        let log = self.options.log_dir.join(format!("{name}.log"));
        let host = self.hosts.named(node);
        let process = EngineProcess::spawn(&host, name, command, &self.options.guardian, Some(&log))
            .await
            .map_err(|source| LaunchError::Spawn { instance: name.to_string(), source })?;
        (self.events)(LaunchEvent::Started {
            instance: name.to_string(),
            pid: process.pid(),
            command: command.shell_line(),
            log: log.clone(),
        });
        Ok(EnginePart { name: name.to_string(), node: told.map(|node| node.name.clone()), process, log, ports })
    }

    async fn prove(&self, member: &FleetMember, started: Instant) -> Result<super::readiness::Proof, LaunchError> {
        let instance = &member.instance;
        let http = http::client(self.plan.ready_timeout, false).map_err(|error| LaunchError::Spawn {
            instance: instance.name.clone(),
            source: std::io::Error::other(error).into(),
        })?;
        let candidate = StartingInstance {
            parts: &member.parts,
            base_url: &instance.base_url,
            model: &self.plan.served_model_name,
            api_key: self.plan.api_key.as_ref(),
            started,
            patience: self.plan.ready_timeout,
        };
        let on_phase = |phase| (self.events)(LaunchEvent::Phase { instance: instance.name.clone(), phase });
        candidate.prove(&http, on_phase).await.map_err(LaunchError::Start)
    }

    fn describe(&self, planned: &PlannedInstance, parts: &EngineParts) -> Instance {
        let first = parts.first();
        let more = planned.more_parts.iter().zip(&parts.all()[1..]);
        let more = more.map(|(planned, part)| InstancePart {
            name: part.name.clone(),
            node: planned.node.name.clone(),
            pid: part.process.pid(),
            command: planned.command.clone(),
            log: part.log.clone(),
        });
        Instance {
            name: planned.name.clone(),
            role: planned.role,
            index: planned.index,
            parallelism: planned.parallelism,
            gpus: planned.gpus.clone(),
            node: planned.node.as_ref().map(|node| node.name.clone()),
            base_url: planned.base_url(),
            ports: planned.ports,
            pid: first.process.pid(),
            version: None,
            model: self.plan.served_model_name.clone(),
            max_model_len: None,
            command: planned.command.clone(),
            log: first.log.clone(),
            ready_after: Duration::ZERO,
            more_parts: more.collect(),
        }
    }
}

/// All at once, each with its own grace.
async fn tear_down(members: &[FleetMember], grace: Duration, events: &Events) -> Vec<InstanceExit> {
    join_all(members.iter().map(|member| async {
        events(LaunchEvent::Stopping { instance: member.instance.name.clone() });
        let exit = member.stop(grace).await;
        events(LaunchEvent::Stopped(exit.clone()));
        exit
    }))
    .await
}
