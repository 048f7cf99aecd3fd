//! Walks the stages: fleets up, warmed, measured point by point, and down again, whatever happens.

use super::error::SessionError;
use super::events::{Event, Sink, Warnings};
use super::live::LiveArm;
use super::loss::Loss;
use super::point::{Ended, Measurement};
use super::stop::Stop;
use super::warm::WarmUp;
use super::watch::{self, Watch};
use crate::launch::InstanceExit;
use crate::observe::gpu::Gpus;
use crate::outcome::{PointKey, RunStatus};
use crate::plan::load::Dataset;
use crate::plan::strategy::{self, Stage};
use crate::plan::workload::PreparedWorkload;
use crate::plan::{OnFailure, Plan};
use crate::record::host::HostFacts;
use crate::record::manifest::{self, Manifest};
use crate::record::{RunWriter, SentBefore, dir, export};
use chrono::Local;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// With `--on-failure skip`, how often in a row a fleet that came up once is tried again.
const RELAUNCHES: u32 = 3;

/// A run of one arm, as it was left.
#[derive(Debug)]
pub struct ArmRun {
    pub label: String,
    pub dir: PathBuf,
    pub status: RunStatus,
}

/// One plan being carried out.
pub struct Session {
    plan: Plan,
    workload: Arc<PreparedWorkload>,
    events: Sink,
    stop: Stop,
    writers: Vec<RunWriter>,
    /// Unique to this session: part of every request id.
    nonce: String,
    /// When each arm's run began, as its manifest has it: resumed, that was in another process.
    epochs: Vec<Instant>,
    /// How often each arm's fleet was brought up.
    launches: Vec<u32>,
    /// How often each arm lost an engine.
    losses: Vec<u32>,
    done: usize,
    total: usize,
}

/// An arm that is up, with the eyes on it.
struct Up {
    arm: usize,
    live: LiveArm,
    watch: Watch,
    sent_before: SentBefore,
}

impl Session {
    /// Makes the run directories and writes their manifests, before anything is started.
    pub fn create(
        plan: Plan,
        workload: PreparedWorkload,
        command: Vec<String>,
        events: Sink,
        stop: Stop,
    ) -> Result<Session, SessionError> {
        let now = Local::now();
        let writers = (0..plan.arms.len())
            .map(|arm| {
                let group = plan.sweep.workload.dataset.name();
                let run = dir::create(&plan.result_dir, group, &plan.arms[arm].name, now)?;
                let writer = RunWriter::create(run, first_manifest(&plan, arm, &command))?;
                events(Event::RunCreated { arm: plan.arms[arm].label.clone(), dir: writer.dir().to_path_buf() });
                Ok(writer)
            })
            .collect::<Result<Vec<_>, SessionError>>()?;
        Ok(Session::with(plan, workload, writers, events, stop))
    }

    /// Goes on with one interrupted run. Before anything is touched, the traces that the run recorded are made again: a
    /// point sent from another trace would not belong to it.
    pub fn resume(
        plan: Plan,
        workload: PreparedWorkload,
        run: PathBuf,
        events: Sink,
        stop: Stop,
    ) -> Result<Session, SessionError> {
        check_traces(&Manifest::read(&run)?, &workload)?;
        let mut writer = RunWriter::resume(run)?;
        export::write_missing(writer.dir(), writer.manifest())?;
        writer.update(|m| {
            m.status = RunStatus::Incomplete;
            m.reason = None;
            m.finished_at = None;
        })?;
        events(Event::RunCreated { arm: plan.arms[0].label.clone(), dir: writer.dir().to_path_buf() });
        Ok(Session::with(plan, workload, vec![writer], events, stop))
    }

    fn with(plan: Plan, workload: PreparedWorkload, writers: Vec<RunWriter>, events: Sink, stop: Stop) -> Session {
        let arms = plan.arms.len();
        let launches =
            writers.iter().map(|w| w.manifest().instances.iter().map(|i| i.launch).max().unwrap_or(0)).collect();
        Session {
            workload: Arc::new(workload),
            events,
            stop,
            nonce: format!("{:08x}", rand::random::<u32>()),
            epochs: writers.iter().map(|w| watch::epoch(&w.manifest().created_at)).collect(),
            launches,
            losses: vec![0; arms],
            done: 0,
            total: 0,
            writers,
            plan,
        }
    }

    /// Measures every point of every arm. Run directories are complete and consistent whatever this returns.
    pub async fn run(mut self) -> (Vec<ArmRun>, Result<(), SessionError>) {
        for text in self.plan.warnings.clone() {
            (self.events)(Event::Warning { text });
        }
        let stages = strategy::stages(self.plan.arms.len(), &self.plan.sweep.load, self.plan.order);
        self.total = stages.iter().map(|s| s.points.len()).sum();
        let mut result = Ok(());
        for stage in &stages {
            result = self.stage(stage).await;
            if result.is_err() {
                break;
            }
        }
        let closed = self.close(&result);
        (closed.0, result.and(closed.1))
    }

    async fn stage(&mut self, stage: &Stage) -> Result<(), SessionError> {
        let missing = |&(arm, key): &(usize, PointKey)| self.writers[arm].manifest().point(key).is_none();
        let points: Vec<_> = stage.points.iter().copied().filter(missing).collect();
        self.done += stage.points.len() - points.len();
        let mut up: Vec<Up> = Vec::new();
        let mut result = Ok(());
        for &arm in stage.arms.iter().filter(|arm| points.iter().any(|(a, _)| a == *arm)) {
            match self.bring_up(arm).await {
                Ok(arm) => up.push(arm),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if result.is_ok() {
            result = self.measure_all(&points, &mut up).await;
        }
        for arm in up {
            let torn = self.take_down(arm).await;
            result = result.and(torn);
        }
        result
    }

    async fn bring_up(&mut self, arm: usize) -> Result<Up, SessionError> {
        let logs = self.writers[arm].logs();
        let plan = &self.plan.arms[arm];
        let warnings = Warnings::default();
        let events = warnings.heard_by(&self.events);
        let live = LiveArm::bring_up(plan, &self.plan.sweep, &logs, &events, &self.stop).await;
        let noted = self.note(arm, &warnings);
        let live = live?;
        self.launches[arm] += 1;
        let launch = self.launches[arm];
        let instances: Vec<_> =
            live.records.iter().cloned().map(|r| manifest::InstanceRecord { launch, ..r }).collect();
        let listed = self.writers[arm].update(|m| m.instances.extend(instances)).map_err(SessionError::from);
        let watch = noted.and(listed).and_then(|()| Watch::start(&live, self.writers[arm].dir(), self.epochs[arm]));
        let sent_before = self.sent_before(arm, &live);
        let mut up = match watch {
            Ok(watch) => Up { arm, live, watch, sent_before },
            Err(error) => {
                live.take_down(&self.events, &self.stop).await;
                return Err(error);
            }
        };
        match self.warm(&mut up, &logs).await {
            Ok(()) => Ok(up),
            Err(error) => {
                let error = up.live.reason_of(error).await;
                // The first error is the one to tell.
                let _ = self.take_down(up).await;
                Err(error)
            }
        }
    }

    /// Engines of our own are new; servers of others live on between runs.
    fn sent_before(&self, arm: usize, live: &LiveArm) -> SentBefore {
        match live.fleet {
            Some(_) => SentBefore::default(),
            None => SentBefore::to(&live.records, &self.plan.result_dir, self.writers[arm].dir()),
        }
    }

    async fn warm(&self, up: &mut Up, logs: &std::path::Path) -> Result<(), SessionError> {
        let warm_up = WarmUp {
            live: &mut up.live,
            sweep: &self.plan.sweep,
            workload: &self.workload,
            nonce: &format!("{}-{}", self.nonce, self.launches[up.arm]),
            logs,
            events: &self.events,
        };
        tokio::select! {
            warm = warm_up.run() => warm,
            () = self.stop.politely.cancelled() => Err(SessionError::Interrupted),
        }
    }

    async fn measure_all(&mut self, points: &[(usize, PointKey)], up: &mut Vec<Up>) -> Result<(), SessionError> {
        for (i, &(arm, key)) in points.iter().enumerate() {
            if self.stop.politely.is_cancelled() {
                return Err(SessionError::Interrupted);
            }
            self.done += 1;
            self.replace_fallen(arm, up).await?;
            let Some(position) = up.iter().position(|u| u.arm == arm) else { continue };
            let Up { live, watch, sent_before, .. } = &mut up[position];
            let measurement = Measurement {
                live,
                writer: &mut self.writers[arm],
                sweep: &self.plan.sweep,
                workload: &self.workload,
                watch,
                sent_before,
                nonce: &self.nonce,
                events: &self.events,
                stop: &self.stop,
                launch: self.launches[arm],
                number: (self.done, self.total),
            };
            match measurement.run(key).await? {
                Ended::Measured => {}
                Ended::Interrupted => return Err(SessionError::Interrupted),
                Ended::Lost(loss) => {
                    let lost = up.swap_remove(position);
                    let more = points[i + 1..].iter().any(|(other, _)| *other == arm);
                    up.extend(self.replace(lost, &loss, more).await?);
                }
            }
        }
        Ok(())
    }

    /// An engine may end between two points: no point is to blame, and none is measured without it.
    async fn replace_fallen(&mut self, arm: usize, up: &mut Vec<Up>) -> Result<(), SessionError> {
        let Some(position) = up.iter().position(|u| u.arm == arm) else { return Ok(()) };
        let Some(death) = up[position].live.fallen().await else { return Ok(()) };
        let lost = up.swap_remove(position);
        up.extend(self.replace(lost, &Loss::from(&death), true).await?);
        Ok(())
    }

    /// Takes down a fleet that lost an engine and brings it up anew, if the plan allows and there is more to measure.
    async fn replace(&mut self, lost: Up, loss: &Loss, more: bool) -> Result<Option<Up>, SessionError> {
        let (arm, label) = (lost.arm, lost.live.label.clone());
        self.take_down(lost).await?;
        self.after_loss(arm, label, loss)?;
        if !more {
            return Ok(None);
        }
        let mut failures = 0;
        loop {
            match self.bring_up(arm).await {
                Ok(up) => return Ok(Some(up)),
                Err(error) => {
                    failures += 1;
                    let skip = self.plan.sweep.on_failure == OnFailure::Skip;
                    if !skip || failures == RELAUNCHES || !error.may_pass() {
                        return Err(error);
                    }
                    (self.events)(Event::Warning { text: format!("starting the fleet once more: {error}") });
                }
            }
        }
    }

    /// Whether the sweep goes on after an engine was lost.
    fn after_loss(&mut self, arm: usize, label: String, loss: &Loss) -> Result<(), SessionError> {
        self.losses[arm] += 1;
        let log = self.writers[arm].logs().join(format!("{}.log", loss.instance)).display().to_string();
        let (instance, how) = (loss.instance.clone(), loss.how.clone());
        match self.plan.sweep.on_failure {
            OnFailure::Stop => Err(SessionError::EngineLost { arm: label, instance, how, log }),
            OnFailure::Restart if self.losses[arm] > 1 => {
                Err(SessionError::EngineLostAgain { arm: label, instance, how, log })
            }
            OnFailure::Restart | OnFailure::Skip => Ok(()),
        }
    }

    async fn take_down(&mut self, up: Up) -> Result<(), SessionError> {
        drop(up.watch);
        let warnings = Warnings::default();
        let exits = up.live.take_down(&warnings.heard_by(&self.events), &self.stop).await;
        let launch = self.launches[up.arm];
        self.writers[up.arm].update(|m| {
            for instance in m.instances.iter_mut().filter(|i| i.launch == launch) {
                instance.exit = exits.iter().find(|e| e.name == instance.name).map(exit_words);
            }
        })?;
        self.note(up.arm, &warnings)
    }

    /// What was warned of goes into the manifest, each once.
    fn note(&mut self, arm: usize, warnings: &Warnings) -> Result<(), SessionError> {
        let mut heard = warnings.take();
        heard.retain(|text| !self.writers[arm].manifest().warnings.contains(text));
        if heard.is_empty() {
            return Ok(());
        }
        Ok(self.writers[arm].update(|m| m.warnings.append(&mut heard))?)
    }

    /// Writes how every run ended.
    fn close(&mut self, result: &Result<(), SessionError>) -> (Vec<ArmRun>, Result<(), SessionError>) {
        let mut written = Ok(());
        let runs = (0..self.writers.len())
            .map(|arm| {
                let complete = self.is_complete(arm);
                let status = match result {
                    _ if complete => RunStatus::Completed,
                    Ok(()) => RunStatus::Incomplete,
                    Err(SessionError::Interrupted) => RunStatus::Cancelled,
                    Err(_) => RunStatus::Failed,
                };
                let reason = result.as_ref().err().filter(|_| !complete).map(ToString::to_string);
                let writer = &mut self.writers[arm];
                let update = writer.update(|m| {
                    m.status = status;
                    m.reason = reason;
                    m.finished_at = Some(Local::now().to_rfc3339());
                });
                if let Err(error) = update {
                    written = Err(error.into());
                }
                let (label, dir) = (self.plan.arms[arm].label.clone(), writer.dir().to_path_buf());
                (self.events)(Event::RunFinished { arm: label.clone(), dir: dir.clone(), status });
                ArmRun { label, dir, status }
            })
            .collect();
        (runs, written)
    }

    fn is_complete(&self, arm: usize) -> bool {
        is_complete(&self.plan, arm, self.writers[arm].manifest())
    }
}

/// Whether every point of an arm has been measured.
pub fn is_complete(plan: &Plan, arm: usize, manifest: &Manifest) -> bool {
    let stages = strategy::stages(plan.arms.len(), &plan.sweep.load, plan.order);
    stages.iter().flat_map(|s| &s.points).filter(|(a, _)| *a == arm).all(|(_, key)| manifest.point(*key).is_some())
}

fn check_traces(manifest: &Manifest, workload: &PreparedWorkload) -> Result<(), SessionError> {
    for trace in &manifest.traces {
        let schedule = workload.schedule(trace.key.rate, trace.key.attempt)?;
        if workload.trace_hash(&schedule) != trace.sha256 {
            let dataset = match &manifest.sweep.workload.dataset {
                Dataset::Random { .. } => "its generator of random prompts".to_string(),
                dataset => format!("dataset {}", dataset.name()),
            };
            return Err(SessionError::TraceChanged { dataset, rate: trace.key.rate, attempt: trace.key.attempt });
        }
    }
    Ok(())
}

fn exit_words(exit: &InstanceExit) -> String {
    let asked = if exit.unasked { "ended by itself" } else { "stopped" };
    let force = if exit.forced { ", by SIGKILL" } else { "" };
    let swept =
        if exit.killed > 0 { format!(", {} processes it left behind were killed", exit.killed) } else { String::new() };
    format!("{asked} ({}){force}{swept}", exit.status)
}

fn first_manifest(plan: &Plan, arm: usize, command: &[String]) -> Manifest {
    let now = Local::now().to_rfc3339();
    Manifest {
        version: manifest::VERSION,
        status: RunStatus::Incomplete,
        reason: None,
        created_at: now,
        finished_at: None,
        topobench: env!("CARGO_PKG_VERSION").to_string(),
        command: command.to_vec(),
        arm: plan.arms[arm].clone(),
        sweep: plan.sweep.clone(),
        order: plan.order,
        warnings: plan.warnings.clone(),
        host: HostFacts::of_this_machine(),
        gpus: Gpus::detect().list().iter().filter_map(|g| serde_json::to_value(g).ok()).collect(),
        instances: Vec::new(),
        traces: Vec::new(),
        points: Vec::new(),
    }
}
