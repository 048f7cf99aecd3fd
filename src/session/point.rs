//! One point: schedule, load, journal, counters before and after, and what is known when it is over.

use super::context::SessionContext;
use super::early_stop::{self, Lookout};
use super::error::SessionError;
use super::events::SessionEvent;
use super::live::LiveArm;
use super::loss::{AbortCell, Incident, Loss};
use super::recorder::{self, Recording, Tally};
use super::sampling::Samplers;
use super::watchdog::{Watchdog, first_unresponsive};
use crate::drive::{self, Deadlines, LoadReport, Pace, PointSpec, Progress};
use crate::observe::engine::{self, EngineWindow};
use crate::observe::fleet::FleetSnapshot;
use crate::observe::profiler;
use crate::outcome::{EarlyStop, PointFacts, PointKey, PointStatus, Request};
use crate::plan::workload::{PlannedPoint, Schedule, TraceHasher};
use crate::record::journal::LineHead;
use crate::record::{Repeats, RunWriter, SentBefore, dir, export, manifest::TraceRecord};
use crate::strategy::PointOrder;
use crate::words;
use chrono::{DateTime, Local};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use topobench_proxy::ProxyHandle;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);

/// What one point needs beside its key.
pub(super) struct Measurement<'a> {
    pub(super) live: &'a LiveArm,
    pub(super) writer: &'a mut RunWriter,
    pub(super) samplers: &'a Samplers,
    pub(super) sent_before: &'a SentBefore,
    /// Which launch of the arm's fleet this is, from 1.
    pub(super) launch: u32,
    /// Position among all points, from 1, and how many there are where that is known.
    pub(super) number: (usize, Option<usize>),
    pub(super) context: &'a SessionContext,
}

/// How a point ended.
pub(super) enum PointEnd {
    Measured,
    /// Cut short from outside: not a result.
    Interrupted,
    /// An engine died or hangs; the recorded facts say failed.
    Lost(Loss),
}

impl Measurement<'_> {
    pub(super) async fn run(mut self, order: PointOrder, earlier: Vec<u64>) -> Result<PointEnd, SessionError> {
        let key = order.key;
        let planned = PlannedPoint { key, extent: order.extent, earlier };
        let schedule = Arc::new(self.context.workload.current().schedule_of(&planned)?);
        self.check_context(&schedule)?;
        self.note_trace(planned, &schedule)?;
        let offered = u32::try_from(schedule.requests.len()).unwrap_or(u32::MAX);
        let (number, of) = self.number;
        (self.context.events)(SessionEvent::PointStarted { arm: self.live.label.clone(), key, offered, number, of });

        let journal_start = self.writer.journal_len()?;
        let before = self.counted().await;
        let began = self.samplers.mark().await;
        let profiled = self.start_profiler().await;
        let load = self.load(order, &schedule).await;
        if profiled {
            self.warn_of(profiler::stop(&self.live.engines).await);
        }
        let load = load?;
        self.writer.sync()?;
        let died = matches!(load.incident, Some(Incident::Died(_)));
        if !died && self.context.stop.politely.is_cancelled() {
            return Ok(PointEnd::Interrupted);
        }
        let after = self.counted().await;
        let ended = self.samplers.mark().await;
        let lost = self.lost(&load).await;
        let window = engine::between(&before, &after);
        let mut facts = facts(&self.head(key), &schedule, &load, &window, lost.as_ref());
        facts.pilot = order.pilot;
        facts.gpus = self.samplers.gpu_facts(began, ended);
        facts.profiled = profiled;
        facts.hand_over = self.samplers.hand_over_facts((began, &before), (ended, &after));
        self.finish(&facts, load.tally.completed, journal_start)?;
        Ok(lost.map_or(PointEnd::Measured, PointEnd::Lost))
    }

    /// What the engines counted up to now, however long that takes to be told.
    async fn counted(&self) -> FleetSnapshot {
        tokio::select! {
            settled = self.live.scraper.settled() => settled,
            () = self.context.stop.politely.cancelled() => self.live.scraper.snapshot().await,
        }
    }

    /// Whether the profiler runs now. On a part of the engines is no use: then it is stopped, and the point is an ordinary one.
    async fn start_profiler(&self) -> bool {
        if !self.context.sweep.profile {
            return false;
        }
        let problems = profiler::start(&self.live.engines).await;
        let started = problems.is_empty();
        if !started {
            profiler::stop(&self.live.engines).await;
        }
        self.warn_of(problems);
        started
    }

    fn warn_of(&self, problems: Vec<String>) {
        for text in problems {
            (self.context.events)(SessionEvent::Warning { text });
        }
    }

    fn head(&self, key: PointKey) -> LineHead {
        LineHead { key, launch: self.launch, host: self.live.host() }
    }

    /// The engine that nothing more can be measured on, if there is one.
    async fn lost(&self, load: &MeasuredLoad) -> Option<Loss> {
        if let Some(Incident::Died(death)) = &load.incident {
            return Some(Loss::from(death));
        }
        if load.incident.is_none() && !load.tally.is_suspicious() {
            return None;
        }
        let unresponsive = first_unresponsive(self.live, &self.context.nonce, self.context.sweep.timeouts);
        let lost = tokio::select! {
            lost = unresponsive => lost?,
            () = self.context.stop.politely.cancelled() => return None,
        };
        let (arm, instance, how) = (self.live.label.clone(), lost.instance.clone(), lost.how.clone());
        (self.context.events)(SessionEvent::EngineMute { arm, instance, how });
        Some(lost)
    }

    /// The engine knows its context for certain; the plan may have guessed.
    fn check_context(&self, schedule: &Schedule) -> Result<(), SessionError> {
        let Some(context) = self.live.max_model_len else { return Ok(()) };
        let longest =
            schedule.requests.iter().map(|r| r.prompt_tokens.get().saturating_add(r.output_tokens.get())).max();
        match longest.filter(|&tokens| tokens > context) {
            Some(tokens) => Err(SessionError::Context { arm: self.live.label.clone(), tokens, context }),
            None => Ok(()),
        }
    }

    fn note_trace(&mut self, planned: PlannedPoint, schedule: &Schedule) -> Result<(), SessionError> {
        let key = planned.key;
        let (mut hasher, mut repeats) = (TraceHasher::default(), Repeats::default());
        let workload = self.context.workload.current();
        let lines = workload.trace_lines(schedule).inspect(|line| {
            hasher.add(line);
            self.sent_before.count(line, &mut repeats);
        });
        self.writer.append_lines(dir::TRACE, lines)?;
        let trace = TraceRecord {
            key,
            extent: Some(planned.extent),
            earlier: planned.earlier,
            sha256: hasher.finish(),
            requests: u32::try_from(schedule.requests.len()).unwrap_or(u32::MAX),
        };
        let exhausted = (schedule.repeats > 0).then(|| {
            let (repeats, all, at) = (schedule.repeats, schedule.requests.len(), words::named(key.rate));
            format!("{repeats} of the {all} prompts at {at} had been sent before: the dataset is exhausted")
        });
        let again = self
            .sent_before
            .warning(&repeats, &words::named(key.rate), self.context.sweep.load.seed)
            .or_else(|| self.cut_short(key));
        again.iter().for_each(|text| (self.context.events)(SessionEvent::Warning { text: text.clone() }));
        self.writer.update(|m| {
            m.traces.retain(|t| t.key != key);
            m.traces.push(trace);
            for text in exhausted.into_iter().chain(again) {
                if !m.warnings.contains(&text) {
                    m.warnings.push(text);
                }
            }
        })?;
        Ok(())
    }

    /// A point that was begun and cut short had sent some of its prompts; a server of others' still knows them.
    fn cut_short(&self, key: PointKey) -> Option<String> {
        let begun = self.writer.manifest().traces.iter().any(|t| t.key == key);
        let told = || {
            format!(
                "the point at {} was cut short before: what was sent then may be answered from this server's \
                 prefix cache now; restart it, or measure anew with another --seed",
                words::named(key.rate)
            )
        };
        (begun && self.live.fleet.is_none()).then(told)
    }

    async fn load(&self, order: PointOrder, schedule: &Arc<Schedule>) -> Result<MeasuredLoad, SessionError> {
        let (key, sweep) = (order.key, &self.context.sweep);
        // When a turn will be due depends on answers: none is certain to miss before it is.
        let lookout = (order.may_stop && schedule.turns.is_empty()).then(|| Lookout::new(sweep.slo));
        let progress = Arc::new(Progress::default());
        let abort = AbortCell::default();
        let (records, finished) = tokio::sync::mpsc::unbounded_channel();
        let recording = Recording {
            head: Arc::new(self.head(key)),
            journal: self.writer.journal(),
            stamps: self.live.proxy.as_ref().map(ProxyHandle::stamp_reader),
            progress: Arc::clone(&progress),
            abort: Arc::clone(&abort),
            counter: self.live.counter.clone(),
            full_length: self.live.target.is_full_length(),
            keep_text: sweep.workload.save_texts,
            lookout: lookout.clone(),
        };
        let recorder = recorder::start(recording, finished)
            .map_err(|source| SessionError::System { what: "start the recorder's thread", source })?;
        let cancel = self.context.stop.politely.child_token();
        let timeouts = self.context.sweep.timeouts;
        let watchdog = Watchdog { live: self.live, progress: &progress, timeouts, cancel: &cancel, abort: &abort };
        let load = drive::run_point(self.spec(key, schedule), records, cancel.clone(), Arc::clone(&progress));
        let ends_early = async {
            if let Some(lookout) = &lookout {
                lookout.hopeless(schedule, early_stop::enough(order.pilot, sweep.target), &progress).await;
                cancel.cancel();
            }
            std::future::pending::<Infallible>().await
        };
        let (report, incident) = tokio::select! {
            ended = watchdog.guard(load) => ended,
            never = self.ticker(key, schedule, &progress) => match never {},
            never = ends_early => match never {},
        };
        let tally = recorder.finish().await.map_err(|detail| SessionError::System {
            what: "record the point",
            source: std::io::Error::other(format!("the recorder's thread panicked: {detail}")),
        })?;
        let stopped = lookout.and_then(|l| l.stopped());
        Ok(MeasuredLoad { report: report?, tally, incident, held_up: progress.backlog.held_up(), stopped })
    }

    fn spec(&self, key: PointKey, schedule: &Arc<Schedule>) -> PointSpec {
        let timeouts = self.context.sweep.timeouts;
        PointSpec {
            schedule: Arc::clone(schedule),
            prompts: self.context.workload.current(),
            target: self.live.target.clone(),
            id_prefix: format!("tb-{}-{}-{}", self.context.nonce, key.rate.to_string().replace(':', "-"), key.attempt),
            deadlines: Deadlines { first_token: timeouts.first_token, idle: timeouts.idle },
            drain: timeouts.drain,
            pace: self.pace(key),
            keep_text: self.context.sweep.workload.save_texts || self.live.counter.is_some(),
        }
    }

    fn pace(&self, key: PointKey) -> Pace {
        match (key.rate.in_flight(), self.context.sweep.load.max_concurrency) {
            (Some(n), _) => Pace::Closed(n),
            (None, Some(n)) => Pace::Limited(n),
            (None, None) => Pace::Open,
        }
    }

    /// Tells progress until it is dropped.
    async fn ticker(&self, key: PointKey, schedule: &Schedule, progress: &Progress) -> Infallible {
        let mut ticks = tokio::time::interval(PROGRESS);
        loop {
            ticks.tick().await;
            let Some(zero) = progress.time_zero() else { continue };
            let counts = progress.counts();
            let elapsed = Instant::now().saturating_duration_since(zero).as_secs_f64();
            (self.context.events)(SessionEvent::PointProgress {
                arm: self.live.label.clone(),
                key,
                offered: u32::try_from(schedule.requests.len()).unwrap_or(u32::MAX),
                sent: counts.sent,
                done: counts.completed,
                failed: counts.failed,
                elapsed_secs: elapsed,
                eta_secs: (schedule.span().as_secs() - elapsed).max(0.0),
            });
        }
    }

    fn finish(&mut self, facts: &PointFacts, completed: u32, journal_start: u64) -> Result<(), SessionError> {
        self.writer.update(|m| {
            m.points.retain(|p| p.key != facts.key);
            m.points.push(facts.clone());
        })?;
        let exported = export::write(self.writer.dir(), self.writer.manifest(), facts.key, journal_start)?;
        if exported.is_none() {
            let text =
                format!("the point at {} is too large for a file in vLLM's format", words::named(facts.key.rate));
            (self.context.events)(SessionEvent::Warning { text });
        }
        (self.context.events)(SessionEvent::PointFinished {
            arm: self.live.label.clone(),
            completed,
            facts: Box::new(facts.clone()),
        });
        Ok(())
    }
}

struct MeasuredLoad {
    report: LoadReport,
    tally: Tally,
    incident: Option<Incident>,
    /// Sends that waited until more of what had ended was on disk.
    held_up: u32,
    stopped: Option<EarlyStop>,
}

impl MeasuredLoad {
    /// Requests of the schedule that were due before the point ended.
    fn offered(&self, schedule: &Schedule) -> u32 {
        let due = |r: &&Request| self.stopped.is_none_or(|stop| r.due.as_secs() < stop.after_secs);
        u32::try_from(schedule.requests.iter().filter(due).count()).unwrap_or(u32::MAX)
    }
}

fn facts(
    head: &LineHead,
    schedule: &Schedule,
    load: &MeasuredLoad,
    window: &EngineWindow,
    lost: Option<&Loss>,
) -> PointFacts {
    let tally = &load.tally;
    let mut why: Vec<String> = load.incident.iter().map(Incident::why).collect();
    why.extend(lost.filter(|l| !l.ended).map(|l| format!("{} {}", l.instance, l.how)));
    why.extend(window.restarted.iter().map(|name| format!("{name} was restarted while the point was measured")));
    let joined =
        |name| format!("{name} was first seen while the point was measured: it may have joined the deployment");
    why.extend(window.joined.iter().map(joined));
    why.extend(window.unread.iter().filter(|_| !window.joined.is_empty()).cloned());
    why.extend(tally.why());
    why.extend(slow_disk(load.held_up));
    let broken = load.incident.is_some() || lost.is_some() || !window.restarted.is_empty();
    let status = if broken || (tally.completed == 0 && load.stopped.is_none()) {
        PointStatus::Failed
    } else if tally.failed() > 0 || tally.unfinished > 0 {
        PointStatus::Degraded
    } else {
        PointStatus::Measured
    };
    PointFacts {
        key: head.key,
        launch: head.launch,
        host: head.host.clone(),
        status,
        why,
        offered: load.offered(schedule),
        repeated_prompts: schedule.repeats,
        repeated_tokens: schedule.repeated_tokens,
        duration_secs: load.report.last_end.as_secs(),
        started_at: DateTime::<Local>::from(load.report.started_at).to_rfc3339(),
        engine_restarts: u32::try_from(window.restarted.len()).unwrap_or(u32::MAX)
            + u32::from(lost.is_some_and(|l| l.ended)),
        engines: window.counters,
        ranks: window.ranks.clone(),
        gpus: None,
        hand_over: None,
        profiled: false,
        pilot: false,
        stopped: load.stopped,
    }
}

fn slow_disk(held_up: u32) -> Option<String> {
    let told =
        || format!("{held_up} sends waited for the disk, which is slower than the load: choose another --result-dir");
    (held_up > 0).then(told)
}
