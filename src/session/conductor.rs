//! Walks the strategy's steps: fleets launched and warmed, points measured, and everything down again, whatever happens.

use super::arm::{Arm, ArmRun};
use super::context::SessionContext;
use super::error::SessionError;
use super::events::{EventSink, SessionEvent};
use super::stop::Stop;
use crate::observe::gpu::Gpus;
use crate::outcome::{PointKey, RunStatus};
use crate::plan::load::Dataset;
use crate::plan::workload::PreparedWorkload;
use crate::plan::{ArmPlan, Plan};
use crate::record::host::HostFacts;
use crate::record::manifest::{self, Manifest};
use crate::record::{RunWriter, dir, export, links};
use crate::strategy::{ArmProgress, Grid, Step, Strategy};
use chrono::Local;
use std::path::PathBuf;
use std::sync::Arc;

/// One plan being carried out.
pub struct Session {
    context: SessionContext,
    strategy: Strategy,
    /// In the plan's order.
    arms: Vec<Arm>,
    /// Warnings of the plan itself.
    warnings: Vec<String>,
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
            let run = dir::create(&plan.result_dir, group, &arm.name, now)?;
            let writer = RunWriter::create(run, first_manifest(&plan, arm, &command))?;
            events(SessionEvent::RunCreated { arm: arm.label.clone(), dir: writer.dir().to_path_buf() });
            Ok(writer)
        };
        let writers = plan.arms.iter().map(create).collect::<Result<Vec<_>, SessionError>>()?;
        Ok(Session::with(plan, workload, writers, events, stop))
    }

    /// Goes on with one interrupted run. Before anything is touched, the traces that the run recorded are made again: a
    /// point sent from another trace would not belong to it.
    pub fn resume(
        plan: Plan,
        workload: PreparedWorkload,
        run: PathBuf,
        events: EventSink,
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
        events(SessionEvent::RunCreated { arm: plan.arms[0].label.clone(), dir: writer.dir().to_path_buf() });
        Ok(Session::with(plan, workload, vec![writer], events, stop))
    }

    fn with(plan: Plan, workload: PreparedWorkload, writers: Vec<RunWriter>, events: EventSink, stop: Stop) -> Session {
        let strategy = Strategy::Grid(Grid::of(&plan));
        let context = SessionContext {
            sweep: plan.sweep,
            workload: Arc::new(workload),
            result_dir: plan.result_dir,
            nonce: format!("{:08x}", rand::random::<u32>()),
            events,
            stop,
        };
        let arms = plan.arms.into_iter().zip(writers).map(|(plan, writer)| Arm::new(plan, writer)).collect();
        Session { context, strategy, arms, warnings: plan.warnings }
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

    async fn walk(&mut self) -> Result<(), SessionError> {
        while let Some(step) = self.next_step() {
            if self.context.stop.politely.is_cancelled() {
                return Err(SessionError::Interrupted);
            }
            match step {
                Step::Launch(arms) => self.launch(&arms).await?,
                Step::Measure { arm, key } => self.measure(arm, key).await?,
            }
        }
        Ok(())
    }

    fn next_step(&self) -> Option<Step> {
        let arms: Vec<ArmProgress<'_>> = self.arms.iter().map(Arm::progress).collect();
        self.strategy.next(&arms)
    }

    async fn launch(&mut self, arms: &[usize]) -> Result<(), SessionError> {
        for arm in &mut self.arms {
            arm.retire(&self.context).await?;
        }
        for &arm in arms {
            self.arms[arm].launch(&self.context).await?;
        }
        Ok(())
    }

    async fn measure(&mut self, arm: usize, key: PointKey) -> Result<(), SessionError> {
        let measured: usize = self.arms.iter().map(|arm| arm.manifest().points.len()).sum();
        self.arms[arm].measure(key, (measured + 1, self.strategy.total()), &self.context).await
    }

    /// Writes how every run ended.
    fn close(&mut self, result: &Result<(), SessionError>) -> (Vec<ArmRun>, Result<(), SessionError>) {
        let mut written = Ok(());
        let mut runs = Vec::new();
        for (i, arm) in self.arms.iter_mut().enumerate() {
            let complete = self.strategy.is_complete(i, &arm.manifest().points);
            let (run, closed) = arm.close(complete, result, &self.context.events);
            runs.push(run);
            written = written.and(closed);
        }
        (runs, written)
    }
}

/// Whether every point of an arm has been measured.
pub fn is_complete(plan: &Plan, arm: usize, manifest: &Manifest) -> bool {
    Strategy::Grid(Grid::of(plan)).is_complete(arm, &manifest.points)
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
    }
}
