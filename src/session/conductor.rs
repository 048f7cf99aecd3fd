//! Walks the strategy's steps: fleets launched and warmed, points measured, and everything down again, whatever happens.

use super::arm::{Arm, ArmRun};
use super::context::SessionContext;
use super::error::SessionError;
use super::events::{EventSink, SessionEvent};
use super::fitted::{FittedWorkload, refitted};
use super::kept::KeptFleet;
use super::stop::Stop;
use crate::analyse::ArmInput;
use crate::observe::gpus::Gpus;
use crate::outcome::RunStatus;
use crate::plan::dataset::Dataset;
use crate::plan::strategy::StrategyPlan;
use crate::plan::workload::{PlannedPoint, PreparedWorkload};
use crate::plan::{ArmPlan, Plan};
use crate::record::host::HostFacts;
use crate::record::manifest::{self, Manifest, TraceRecord};
use crate::record::{RunWriter, dir, export, links};
use crate::strategy::{ArmProgress, PointOrder, SessionProgress, Step, Strategy};
use chrono::Local;
use std::path::PathBuf;
use std::time::Instant;

/// One plan being carried out.
pub struct Session {
    context: SessionContext,
    strategy: Strategy,
    /// In the plan's order.
    arms: Vec<Arm>,
    /// Warnings of the plan itself.
    warnings: Vec<String>,
    clock: EngineClock,
}

/// Wall time with any engine up, or starting.
#[derive(Debug, Default)]
struct EngineClock {
    /// Of earlier processes of an interrupted session.
    before: f64,
    since: Option<Instant>,
}

impl EngineClock {
    fn secs(&self) -> f64 {
        self.before + self.since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}

impl Session {
    /// Makes the run directories and writes their manifests, before anything is started.
    pub fn create(
        plan: Plan,
        workload: PreparedWorkload,
        command: Vec<String>,
        events: EventSink,
        stop: Stop,
    ) -> Result<Session, SessionError> {
        let now = Local::now();
        let group = plan.sweep.workload.dataset.name();
        let create = |arm: &ArmPlan| {
            let run = match plan.sweep.strategy {
                // Many arms share a name, and none of them is a run of its own.
                StrategyPlan::Race(_) => dir::create_named(&plan.result_dir, &arm.label)?,
                _ => dir::create(&plan.result_dir, group, &arm.name, now)?,
            };
            let writer = RunWriter::create(run, first_manifest(&plan, arm, &command))?;
            if !matches!(plan.sweep.strategy, StrategyPlan::Race(_)) {
                events(SessionEvent::RunCreated { arm: arm.label.clone(), dir: writer.dir().to_path_buf() });
            }
            Ok(writer)
        };
        let mut writers = plan.arms.iter().map(create).collect::<Result<Vec<_>, SessionError>>()?;
        if writers.len() > 1 {
            let session: Vec<String> = writers.iter().map(RunWriter::name).collect();
            writers.iter_mut().try_for_each(|w| w.update(|m| m.session = session.clone()))?;
        }
        Session::with(plan, FittedWorkload::new(workload, None), writers, events, stop)
    }

    /// Goes on with an interrupted session: the run directories of its arms, in the plan's order. Before anything is
    /// touched, the traces that the runs recorded are made again: a point sent from another trace would not belong to
    /// them.
    pub fn resume(
        plan: Plan,
        workload: PreparedWorkload,
        runs: Vec<PathBuf>,
        events: EventSink,
        stop: Stop,
    ) -> Result<Session, SessionError> {
        let manifests = runs.iter().map(|run| Manifest::read(run)).collect::<Result<Vec<_>, _>>()?;
        let fitted = manifests.iter().find_map(|manifest| manifest.fitted_to);
        let fits = fitted.map(|context| refitted(&workload, &plan.sweep, context)).transpose()?;
        let workload = fits.flatten().unwrap_or(workload);
        manifests.iter().try_for_each(|manifest| check_traces(manifest, &workload))?;
        let resume = |(run, arm): (PathBuf, &ArmPlan)| {
            let mut writer = RunWriter::resume(run)?;
            export::write_missing(writer.dir(), writer.manifest())?;
            writer.update(|m| {
                m.status = RunStatus::Incomplete;
                m.reason = None;
                m.finished_at = None;
            })?;
            events(SessionEvent::RunCreated { arm: arm.label.clone(), dir: writer.dir().to_path_buf() });
            Ok(writer)
        };
        let writers = runs.into_iter().zip(&plan.arms).map(resume).collect::<Result<Vec<_>, SessionError>>()?;
        Session::with(plan, FittedWorkload::new(workload, fitted), writers, events, stop)
    }

    fn with(
        plan: Plan,
        workload: FittedWorkload,
        writers: Vec<RunWriter>,
        events: EventSink,
        stop: Stop,
    ) -> Result<Session, SessionError> {
        let strategy = Strategy::of(&plan);
        let context = SessionContext {
            sweep: plan.sweep,
            workload,
            result_dir: plan.result_dir,
            nonce: format!("{:08x}", rand::random::<u32>()),
            events,
            stop,
        };
        let before = writers.iter().filter_map(|w| w.manifest().engine_secs).fold(0.0, f64::max);
        let arms = plan.arms.into_iter().zip(writers);
        let arms = arms.map(|(plan, writer)| Arm::new(plan, writer, strategy.wants_requests()));
        let arms = arms.collect::<Result<Vec<_>, _>>()?;
        let clock = EngineClock { before, since: None };
        Ok(Session { context, strategy, arms, warnings: plan.warnings, clock })
    }

    /// Measures every point of every arm. Run directories are complete and consistent whatever this returns.
    pub async fn run(mut self) -> (Vec<ArmRun>, Result<(), SessionError>) {
        for text in std::mem::take(&mut self.warnings) {
            (self.context.events)(SessionEvent::Warning { text });
        }
        let mut result = self.walk().await;
        for arm in &mut self.arms {
            let retired = arm.retire(&self.context).await;
            result = result.and(retired);
        }
        let (runs, closed) = self.close(&result);
        (runs, result.and(closed))
    }

    /// Measures on the fleet that another session of the same deployment left up, instead of starting one.
    pub fn on(mut self, fleet: KeptFleet) -> Session {
        if let Some(arm) = self.arms.first_mut() {
            arm.adopt(fleet.live);
        }
        self
    }

    /// As [`Session::run`] for a plan of one arm, and leaves its fleet up where all went well.
    pub async fn run_and_keep(mut self) -> (Vec<ArmRun>, Result<(), SessionError>, Option<KeptFleet>) {
        for text in std::mem::take(&mut self.warnings) {
            (self.context.events)(SessionEvent::Warning { text });
        }
        let mut result = self.walk().await;
        let mut kept = None;
        for arm in &mut self.arms {
            match arm.release().map(|live| live.map(|live| KeptFleet { live })) {
                Ok(Some(fleet)) if result.is_ok() => kept = Some(fleet),
                Ok(Some(fleet)) => fleet.take_down(&self.context.events, &self.context.stop).await,
                Ok(None) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        let (runs, closed) = self.close(&result);
        (runs, result.and(closed), kept)
    }

    async fn walk(&mut self) -> Result<(), SessionError> {
        while let Some(step) = self.next_step() {
            if self.context.stop.politely.is_cancelled() {
                return Err(SessionError::Interrupted);
            }
            match step {
                Step::Launch(arms) => self.launch(&arms).await?,
                Step::Measure { arm, point } => {
                    self.measure(arm, point).await?;
                    self.tell_known();
                }
            }
        }
        Ok(())
    }

    fn next_step(&self) -> Option<Step> {
        self.with_progress(|progress| self.strategy.next(progress))
    }

    fn with_progress<T>(&self, ask: impl FnOnce(&SessionProgress<'_>) -> T) -> T {
        let nothing = ArmInput::default();
        let arms: Vec<ArmProgress<'_>> = self.arms.iter().map(|arm| arm.progress(&nothing)).collect();
        ask(&SessionProgress { arms: &arms, engine_secs: self.clock.secs() })
    }

    /// What is known by now, for people who wait.
    fn tell_known(&self) {
        let known = self.with_progress(|progress| self.strategy.known(progress));
        let Some(budget) = self.context.sweep.strategy.budget() else { return };
        let left_secs = (budget.as_secs_f64() - self.clock.secs()).max(0.0);
        known.into_iter().for_each(|text| (self.context.events)(SessionEvent::Known { text, left_secs }));
    }

    async fn launch(&mut self, arms: &[usize]) -> Result<(), SessionError> {
        for arm in &mut self.arms {
            arm.retire(&self.context).await?;
        }
        self.clock.since.get_or_insert_with(Instant::now);
        for &arm in arms {
            let launched = self.arms[arm].launch(&self.context).await;
            self.outlive(arm, launched).await?;
        }
        Ok(())
    }

    /// Goes on without an arm whose engines failed, where the strategy can.
    async fn outlive(&mut self, arm: usize, ended: Result<(), SessionError>) -> Result<(), SessionError> {
        match ended {
            Err(error) if self.strategy.outlives_its_arms() && error.is_of_an_arm() => {
                self.arms[arm].drop_out(&error, &self.context).await
            }
            ended => ended,
        }
    }

    async fn measure(&mut self, arm: usize, point: PointOrder) -> Result<(), SessionError> {
        let measured: usize = self.arms.iter().map(|arm| arm.manifest().points.len()).sum();
        let number = (measured + 1, self.strategy.total());
        let earlier = self.earlier(point)?;
        let measured = self.arms[arm].measure(point, earlier, number, &self.context).await;
        let ended = self.outlive(arm, measured).await;
        let secs = self.clock.secs();
        self.arms.iter_mut().try_for_each(|arm| arm.note_engine_secs(secs)).and(ended)
    }

    /// Requests of the points before this one, where those use up a dataset. A grid knows its points beforehand; else
    /// they follow one another as they were first measured on any arm.
    fn earlier(&self, point: PointOrder) -> Result<Vec<u64>, SessionError> {
        if self.strategy.total().is_some() {
            return Ok(self.context.workload.current().earlier(point.key)?);
        }
        if !self.context.workload.current().is_used_up() {
            return Ok(Vec::new());
        }
        let mut traces: Vec<&TraceRecord> = self.arms.iter().flat_map(|arm| &arm.manifest().traces).collect();
        if let Some(twin) = traces.iter().find(|t| t.key == point.key) {
            return Ok(twin.earlier.clone());
        }
        traces.sort_by_key(|t| t.earlier.len());
        traces.dedup_by_key(|t| t.earlier.len());
        Ok(traces.iter().map(|t| u64::from(t.requests)).collect())
    }

    /// Writes how every run ended.
    fn close(&mut self, result: &Result<(), SessionError>) -> (Vec<ArmRun>, Result<(), SessionError>) {
        let mut written = Ok(());
        let mut runs = Vec::new();
        for (i, arm) in self.arms.iter_mut().enumerate() {
            let complete = self.strategy.is_complete(i, &arm.manifest().points, result.is_ok());
            let (run, closed) = arm.close(complete, result, &self.context.events);
            runs.push(run);
            written = written.and(closed);
        }
        (runs, written)
    }
}

/// Whether every point of an arm has been measured.
pub fn is_complete(plan: &Plan, arm: usize, manifest: &Manifest) -> bool {
    Strategy::of(plan).is_complete(arm, &manifest.points, manifest.status == RunStatus::Completed)
}

fn check_traces(manifest: &Manifest, workload: &PreparedWorkload) -> Result<(), SessionError> {
    for trace in &manifest.traces {
        let schedule = match trace.extent {
            Some(extent) => {
                workload.schedule_of(&PlannedPoint { key: trace.key, extent, earlier: trace.earlier.clone() })?
            }
            None => workload.schedule(trace.key.rate, trace.key.attempt)?,
        };
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

fn first_manifest(plan: &Plan, arm: &ArmPlan, command: &[String]) -> Manifest {
    let gpus = Gpus::detect().list();
    let uuids: Vec<String> = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    Manifest {
        version: manifest::VERSION,
        status: RunStatus::Incomplete,
        reason: None,
        created_at: Local::now().to_rfc3339(),
        finished_at: None,
        topobench: env!("CARGO_PKG_VERSION").to_string(),
        command: command.to_vec(),
        arm: arm.clone(),
        sweep: plan.sweep.clone(),
        order: plan.order,
        warnings: plan.warnings.clone(),
        host: HostFacts { kv_link_bytes_per_sec: links::slowest(&uuids), ..HostFacts::of_this_machine() },
        gpus: gpus.iter().filter_map(|g| serde_json::to_value(g).ok()).collect(),
        instances: Vec::new(),
        traces: Vec::new(),
        points: Vec::new(),
        engine_secs: None,
        session: Vec::new(),
        fitted_to: None,
        greedy_answers: Vec::new(),
    }
}
