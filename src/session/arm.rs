//! One arm of the plan: its run directory, its launches, and its fleet while it is up.

use super::context::SessionContext;
use super::error::SessionError;
use super::events::{EventSink, SessionEvent, Warnings};
use super::live::LiveArm;
use super::loss::Loss;
use super::point::{Measurement, PointEnd};
use super::sampling::{self, Samplers};
use super::warm::WarmUp;
use crate::analyse::ArmInput;
use crate::launch::InstanceExit;
use crate::observe::gpu::GpuInfo;
use crate::outcome::{PointKey, RunStatus};
use crate::plan::{ArmPlan, OnFailure};
use crate::record::manifest::{InstanceRecord, Manifest};
use crate::record::{RecordedPoint, RecordedRun, RunWriter, SentBefore};
use crate::strategy::{ArmProgress, PointOrder};
use chrono::Local;
use std::path::PathBuf;
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

/// An arm and its run.
pub(super) struct Arm {
    plan: ArmPlan,
    writer: RunWriter,
    /// When the run began, as its manifest has it; a resumed run began in another process.
    epoch: Instant,
    /// How often its fleet was launched; servers of others count once, until they are seen to have restarted.
    launches: u32,
    /// How often it lost an engine.
    losses: u32,
    /// Whether a step asked for its fleet, and none since asked for others only.
    wanted: bool,
    /// `None` also where an engine was lost, until the next point.
    running: Option<Running>,
    /// Its points with their requests, where the strategy looks at them.
    judged: Option<ArmInput>,
    /// How long the latest launch took until it was warm.
    launch_secs: Option<f64>,
    /// A fleet that another session left up; the first launch takes it over.
    kept: Option<LiveArm>,
    /// Why nothing more is measured on it, where its engines failed and the session went on without it.
    out: Option<String>,
}

/// A fleet that is up and warm.
struct Running {
    live: LiveArm,
    samplers: Samplers,
    sent_before: SentBefore,
}

impl Arm {
    /// `judging`: the strategy looks at requests.
    pub(super) fn new(plan: ArmPlan, writer: RunWriter, judging: bool) -> Result<Arm, SessionError> {
        let manifest = writer.manifest();
        let of_instances = manifest.instances.iter().map(|i| i.launch);
        let judged = if judging { Some(judged(&plan, &writer)?) } else { None };
        Ok(Arm {
            epoch: sampling::epoch(&manifest.created_at),
            launches: of_instances.chain(manifest.points.iter().map(|p| p.launch)).max().unwrap_or(0),
            losses: 0,
            wanted: false,
            running: None,
            judged,
            launch_secs: None,
            kept: None,
            out: None,
            plan,
            writer,
        })
    }

    pub(super) fn progress<'a>(&'a self, nothing: &'a ArmInput) -> ArmProgress<'a> {
        ArmProgress {
            points: &self.manifest().points,
            launch: self.wanted.then_some(self.launches),
            judged: self.judged.as_ref().unwrap_or(nothing),
            launch_secs: self.launch_secs,
            is_out: self.out.is_some(),
        }
    }

    /// Writes down how long engines of the session have been up.
    pub(super) fn note_engine_secs(&mut self, secs: f64) -> Result<(), SessionError> {
        Ok(self.writer.update(|m| m.engine_secs = Some(secs))?)
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.writer.manifest()
    }

    /// Takes over a fleet that is up and warm, in the place of the first launch.
    pub(super) fn adopt(&mut self, live: LiveArm) {
        self.kept = Some(live);
    }

    /// The fleet, if it is up, for another session of this deployment. No session owns it until then.
    pub(super) fn release(&mut self) -> Result<Option<LiveArm>, SessionError> {
        self.wanted = false;
        let launch = self.launches;
        let Some(Running { live, samplers, .. }) = self.running.take() else { return Ok(self.kept.take()) };
        drop(samplers);
        if live.fleet.is_some() {
            self.writer.update(|m| {
                let of_launch = m.instances.iter_mut().filter(|i| i.launch == launch);
                of_launch.for_each(|instance| instance.exit = Some("left up for the next run".to_string()));
            })?;
        }
        Ok(Some(live))
    }

    /// Starts the arm's fleet and warms it, or takes over the one that was left up for it. Nothing is left running when
    /// this fails.
    pub(super) async fn launch(&mut self, context: &SessionContext) -> Result<(), SessionError> {
        self.wanted = true;
        let began = Instant::now();
        let warnings = Warnings::default();
        let events = warnings.kept_from(&context.events);
        let is_warm = self.kept.is_some();
        let live = match self.kept.take() {
            Some(live) => Ok(live),
            None => LiveArm::bring_up(&self.plan, &context.sweep, &self.writer.logs(), &events, &context.stop).await,
        };
        let noted = self.note(&warnings);
        let live = live?;
        let node_gpus = match &live.fleet {
            Some(fleet) if fleet.hosts().are_nodes() => fleet.hosts().gpus().await,
            _ => Vec::new(),
        };
        let listed = noted.and_then(|()| self.list(&live, &node_gpus));
        let samplers = match listed {
            Ok(()) => Samplers::start(&live, self.writer.dir(), self.epoch).await,
            Err(error) => Err(error),
        };
        let samplers = match samplers {
            Ok(samplers) => samplers,
            Err(error) => {
                live.take_down(&context.events, &context.stop).await;
                return Err(error);
            }
        };
        let sent_before = self.sent_before(&live, context);
        let running = self.running.insert(Running { live, samplers, sent_before });
        if is_warm {
            return Ok(());
        }
        let warnings = Warnings::default();
        let events = warnings.kept_from(&context.events);
        let warm_up = WarmUp {
            live: &mut running.live,
            context,
            nonce: &format!("{}-{}", context.nonce, self.launches),
            logs: &self.writer.logs(),
            events: &events,
        };
        let warm = tokio::select! {
            warm = warm_up.run() => warm,
            () = context.stop.politely.cancelled() => Err(SessionError::Interrupted),
        };
        let Err(error) = warm else {
            self.launch_secs = Some(began.elapsed().as_secs_f64());
            let answers = std::mem::take(&mut running.live.greedy);
            let fitted = context.workload.fitted();
            if self.manifest().fitted_to != fitted {
                self.writer.update(|m| m.fitted_to = fitted)?;
            }
            if !answers.is_empty() {
                self.writer.update(|m| m.greedy_answers = answers)?;
            }
            return self.note(&warnings);
        };
        let error = running.live.reason_of(error).await;
        // The first error is the one to report.
        let _ = self.take_down(context).await;
        Err(error)
    }

    /// Gives the arm up: the session goes on without it.
    pub(super) async fn drop_out(&mut self, why: &SessionError, context: &SessionContext) -> Result<(), SessionError> {
        let text = format!("{why}");
        (context.events)(SessionEvent::Warning { text: format!("the race goes on without it: {text}") });
        self.out = Some(text);
        self.retire(context).await
    }

    /// Counts the launch and writes down its instances, and the GPUs of its nodes where they are not this machine's.
    fn list(&mut self, live: &LiveArm, node_gpus: &[GpuInfo]) -> Result<(), SessionError> {
        if live.fleet.is_none() && self.launches > 0 && !self.has_restarted(live) {
            return Ok(());
        }
        self.launches += 1;
        let launch = self.launches;
        let instances: Vec<_> = live.records.iter().cloned().map(|r| InstanceRecord { launch, ..r }).collect();
        Ok(self.writer.update(|m| {
            m.instances.extend(instances);
            if !node_gpus.is_empty() {
                m.gpus = node_gpus.iter().filter_map(|gpu| serde_json::to_value(gpu).ok()).collect();
            }
        })?)
    }

    /// Whether a server of others has started since it was last listed, as far as its metrics tell.
    fn has_restarted(&self, live: &LiveArm) -> bool {
        let listed = &self.manifest().instances;
        live.records.iter().any(|now| {
            let before =
                listed.iter().rfind(|i| i.url == now.url && i.name == now.name).and_then(|i| i.process_started);
            before.zip(now.process_started).is_some_and(|(before, now)| before != now)
        })
    }

    /// Engines of our own are new; servers of others live on between runs.
    fn sent_before(&self, live: &LiveArm, context: &SessionContext) -> SentBefore {
        match live.fleet {
            Some(_) => SentBefore::default(),
            None => SentBefore::to(&live.records, &context.result_dir, self.writer.dir()),
        }
    }

    /// Measures a point. `number` is its position among all points, and how many there are.
    pub(super) async fn measure(
        &mut self,
        order: PointOrder,
        earlier: Vec<u64>,
        number: (usize, Option<usize>),
        context: &SessionContext,
    ) -> Result<(), SessionError> {
        self.replace_dead(context).await?;
        if self.running.is_none() {
            self.relaunch(context).await?;
        }
        let Some(Running { live, samplers, sent_before }) = &self.running else { return Ok(()) };
        let (writer, launch) = (&mut self.writer, self.launches);
        let measurement = Measurement { live, writer, samplers, sent_before, launch, number, context };
        let start = measurement.writer.journal_len()?;
        match measurement.run(order, earlier).await? {
            PointEnd::Measured => self.look_at(order.key, start),
            PointEnd::Interrupted => Err(SessionError::Interrupted),
            PointEnd::Lost(loss) => {
                self.look_at(order.key, start)?;
                self.give_up(&loss, context).await
            }
        }
    }

    /// Reads a point's requests back for the strategy; they lie in the journal from byte `start` on.
    fn look_at(&mut self, key: PointKey, start: u64) -> Result<(), SessionError> {
        let Some(judged) = &mut self.judged else { return Ok(()) };
        let manifest = self.writer.manifest();
        let Some(facts) = manifest.point(key) else { return Ok(()) };
        judged.add(RecordedPoint::read(self.writer.dir(), facts.clone(), start)?.input());
        judged.identity.traces = manifest.traces.iter().map(|t| (t.key, t.sha256.clone())).collect();
        Ok(())
    }

    /// An engine may die between two points: no point is to blame, and none is measured without it.
    async fn replace_dead(&mut self, context: &SessionContext) -> Result<(), SessionError> {
        let Some(running) = &self.running else { return Ok(()) };
        match running.live.fallen().await {
            Some(death) => self.give_up(&Loss::from(&death), context).await,
            None => Ok(()),
        }
    }

    /// Takes down a fleet that lost an engine. An error where the run must not go on after that.
    async fn give_up(&mut self, loss: &Loss, context: &SessionContext) -> Result<(), SessionError> {
        let log = loss.log.clone().unwrap_or_else(|| self.log_of(&loss.instance)).display().to_string();
        self.take_down(context).await?;
        self.losses += 1;
        let (arm, instance, how) = (self.plan.label.clone(), loss.instance.clone(), loss.how.clone());
        match context.sweep.on_failure {
            OnFailure::Stop => Err(SessionError::EngineLost { arm, instance, how, log }),
            OnFailure::Restart if self.losses > 1 => Err(SessionError::EngineLostAgain { arm, instance, how, log }),
            OnFailure::Restart | OnFailure::Skip => Ok(()),
        }
    }

    /// The log of an instance that is up; a fleet that was taken over writes where it was started.
    fn log_of(&self, instance: &str) -> PathBuf {
        let fleet = self.running.as_ref().and_then(|running| running.live.fleet.as_ref());
        let found =
            fleet.and_then(|fleet| fleet.instances().iter().find(|i| i.name == instance).map(|i| i.log.clone()));
        found.unwrap_or_else(|| self.writer.logs().join(format!("{instance}.log")))
    }

    /// Launches a fleet that came up before, as often as the plan allows.
    async fn relaunch(&mut self, context: &SessionContext) -> Result<(), SessionError> {
        let attempts = if context.sweep.on_failure == OnFailure::Skip { RELAUNCHES } else { 1 };
        for _ in 1..attempts {
            match self.launch(context).await {
                Err(error) if error.may_pass() => {
                    (context.events)(SessionEvent::Warning { text: format!("starting the fleet once more: {error}") });
                }
                ended => return ended,
            }
        }
        self.launch(context).await
    }

    /// Takes down the arm's fleet because others are to be up.
    pub(super) async fn retire(&mut self, context: &SessionContext) -> Result<(), SessionError> {
        self.wanted = false;
        self.take_down(context).await
    }

    async fn take_down(&mut self, context: &SessionContext) -> Result<(), SessionError> {
        let Some(Running { live, samplers, .. }) = self.running.take() else { return Ok(()) };
        drop(samplers);
        let warnings = Warnings::default();
        let exits = live.take_down(&warnings.kept_from(&context.events), &context.stop).await;
        let launch = self.launches;
        self.writer.update(|m| {
            for instance in m.instances.iter_mut().filter(|i| i.launch == launch) {
                instance.exit = exits.iter().find(|e| e.name == instance.name).map(exit_words);
            }
        })?;
        self.note(&warnings)
    }

    /// Copies warnings into the manifest, each once.
    fn note(&mut self, warnings: &Warnings) -> Result<(), SessionError> {
        let mut new = warnings.take();
        new.retain(|text| !self.manifest().warnings.contains(text));
        if new.is_empty() {
            return Ok(());
        }
        Ok(self.writer.update(|m| m.warnings.append(&mut new))?)
    }

    /// Writes how the run ended.
    pub(super) fn close(
        &mut self,
        complete: bool,
        result: &Result<(), SessionError>,
        events: &EventSink,
    ) -> (ArmRun, Result<(), SessionError>) {
        let status = match result {
            _ if self.out.is_some() => RunStatus::Failed,
            _ if complete => RunStatus::Completed,
            Ok(()) => RunStatus::Incomplete,
            Err(SessionError::Interrupted) => RunStatus::Cancelled,
            Err(_) => RunStatus::Failed,
        };
        let failure = result.as_ref().err().filter(|_| !complete).map(ToString::to_string);
        let reason = self.out.clone().or(failure);
        let written = self.writer.update(|m| {
            m.status = status;
            m.reason = reason;
            m.finished_at = Some(Local::now().to_rfc3339());
        });
        let (label, dir) = (self.plan.label.clone(), self.writer.dir().to_path_buf());
        // Of an arm that was never launched there is nothing to tell.
        if !self.manifest().instances.is_empty() || self.out.is_some() {
            events(SessionEvent::RunFinished { arm: label.clone(), dir: dir.clone(), status });
        }
        (ArmRun { label, dir, status }, written.map_err(SessionError::from))
    }
}

/// What was measured before, for a strategy that looks at requests.
fn judged(plan: &ArmPlan, writer: &RunWriter) -> Result<ArmInput, SessionError> {
    let mut judged =
        ArmInput { label: plan.label.clone(), gpus: Some(plan.gpus).filter(|&n| n > 0), ..ArmInput::default() };
    let manifest = writer.manifest();
    if !manifest.points.is_empty() {
        RecordedRun::read(writer.dir())?.points.iter().for_each(|point| judged.add(point.input()));
        judged.identity.traces = manifest.traces.iter().map(|t| (t.key, t.sha256.clone())).collect();
    }
    Ok(judged)
}

fn exit_words(exit: &InstanceExit) -> String {
    let asked = if exit.unasked { "ended by itself" } else { "stopped" };
    let force = if exit.forced { ", by SIGKILL" } else { "" };
    let swept =
        if exit.killed > 0 { format!(", {} processes it left behind were killed", exit.killed) } else { String::new() };
    let place = exit.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    format!("{asked}{place} ({}){force}{swept}", exit.status)
}
