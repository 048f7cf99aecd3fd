//! The live engine: one thread that steps the scheduler in real time and tells the front end.
//!
//! Steps last as long as the cost model says. The thread sleeps to absolute deadlines, so that
//! late wake-ups do not add up; only after a real stall does simulated time jump ahead.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use tokio::sync::mpsc::UnboundedSender;

use crate::enginesim::answer::KvPrint;
use crate::enginesim::faults::{Fault, Faults};
use crate::enginesim::handoff::{HandOffs, Offer};
use crate::enginesim::metrics::{Counter, Distribution, Gauge, Metrics, Values};
use topobench::predict::model::cost::CostModel;
use topobench::predict::model::scheduler::{Fetch, Output, Scheduler};
use topobench::predict::model::sequence::{NewSequence, Report, SequenceId};

/// A step that ends this late has stalled: simulated time catches up at once.
const STALL: Duration = Duration::from_millis(20);

/// Simulated time, counted from the start of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    speed: f64,
}

impl Clock {
    /// `speed` is simulated seconds per real second, above 0.
    pub(super) fn new(speed: f64) -> Self {
        Self { start: Instant::now(), speed }
    }

    /// Simulated time since the start.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed().mul_f64(self.speed)
    }

    /// Real duration of a simulated one.
    pub(super) fn real(&self, simulated: Duration) -> Duration {
        simulated.div_f64(self.speed)
    }

    /// Simulated duration of a real one.
    pub(super) fn simulated(&self, real: Duration) -> Duration {
        real.mul_f64(self.speed)
    }

    fn sleep_until(&self, simulated: Duration) {
        let deadline = self.start + self.real(simulated);
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

/// A sequence for the engine and who wants to hear of it.
#[derive(Debug)]
pub(super) struct Submission {
    pub spec: NewSequence,
    /// Position of this sequence among those that share `events`.
    pub index: usize,
    pub events: UnboundedSender<Event>,
    /// Real time between the request's arrival and this submission.
    pub admission: Duration,
    /// Request id and contents to offer to decode instances at the end.
    pub hand_off: Option<(String, KvPrint)>,
}

/// News of a sequence.
#[derive(Debug)]
pub(super) enum Event {
    /// Blocks are set aside: the KV is to be fetched.
    Fetch(Fetch),
    /// One more token; the report comes with the last one, its durations in real time.
    Token { index: usize, finished: Option<Box<Report>> },
}

/// KV that this instance moved: into its own blocks, or into another's.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub fetch: Fetch,
    /// Simulated time at which its transfer was posted.
    pub posted: Duration,
}

/// KV that has come in.
#[derive(Debug)]
pub(super) enum Arrived {
    Fetched(Fetched),
    /// Written by the prefill instance. Its notice is taken in during one step and seen by the next: one later than what
    /// this instance fetched itself.
    Pushed(SequenceId),
}

#[derive(Debug)]
enum Command {
    Submit(Box<Submission>),
    KvLoaded(Arrived, u32),
    KvSent(Fetched),
    KvRecompute(SequenceId, u32),
    Abort(SequenceId),
    Release(SequenceId),
}

/// Handle to the engine's thread.
#[derive(Debug)]
pub(super) struct Engine {
    commands: Sender<Command>,
    next_id: AtomicU64,
    clock: Clock,
}

/// What an engine is made of.
pub(super) struct Parts {
    pub scheduler: Scheduler,
    pub cost: CostModel,
    pub clock: Clock,
    /// Real time that KV is kept for decode instances.
    pub lease: Duration,
    pub metrics: Arc<Metrics>,
    pub hand_offs: Arc<HandOffs>,
    pub faults: Faults,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start(parts: Parts) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let clock = parts.clock;
        let worker = Worker::new(parts, inbox);
        thread::Builder::new().name("engine".into()).spawn(move || worker.run())?;
        Ok(Self { commands, next_id: AtomicU64::new(1), clock })
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// An id that no other sequence of this engine has.
    pub(super) fn next_id(&self) -> SequenceId {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn submit(&self, submission: Submission) {
        self.send(Command::Submit(Box::new(submission)));
    }

    pub(super) fn kv_loaded(&self, arrived: Arrived, output_tokens: u32) {
        self.send(Command::KvLoaded(arrived, output_tokens));
    }

    /// The KV of a sequence kept here was pushed: its blocks are free.
    pub(super) fn kv_sent(&self, sent: Fetched) {
        self.send(Command::KvSent(sent));
    }

    pub(super) fn kv_recompute(&self, id: SequenceId, output_tokens: u32) {
        self.send(Command::KvRecompute(id, output_tokens));
    }

    pub(super) fn abort(&self, id: SequenceId) {
        self.send(Command::Abort(id));
    }

    /// Frees blocks that were kept for a decode instance.
    pub(super) fn release(&self, id: SequenceId) {
        self.send(Command::Release(id));
    }

    fn send(&self, command: Command) {
        // The engine's thread ends only with the process.
        let _ = self.commands.send(command);
    }
}

struct Client {
    index: usize,
    events: UnboundedSender<Event>,
    admission: Duration,
    hand_off: Option<(String, KvPrint)>,
}

struct Worker {
    parts: Parts,
    inbox: Receiver<Command>,
    clients: HashMap<SequenceId, Client>,
    /// Sequences whose pushed KV is here, and their output tokens; the next step sees it.
    noticed: Vec<(SequenceId, u32)>,
    /// Ends of leases in simulated time, the earliest first.
    leases: VecDeque<(Duration, SequenceId, String)>,
    hang_after: Option<u64>,
    die_after: Option<u64>,
    generated: u64,
}

impl Worker {
    fn new(parts: Parts, inbox: Receiver<Command>) -> Self {
        let faults = &parts.faults;
        let hang_after = faults.find(|fault| match fault {
            Fault::HangAfter(tokens) => Some(*tokens),
            _ => None,
        });
        let die_after = faults.find(|fault| match fault {
            Fault::DieMidStream(tokens) => Some(*tokens),
            _ => None,
        });
        Self {
            parts,
            inbox,
            clients: HashMap::new(),
            noticed: Vec::new(),
            leases: VecDeque::new(),
            hang_after,
            die_after,
            generated: 0,
        }
    }

    fn run(mut self) {
        let mut now = self.parts.clock.now();
        loop {
            let noticed = std::mem::take(&mut self.noticed);
            while let Ok(command) = self.inbox.try_recv() {
                self.obey(command, now);
            }
            for (id, output_tokens) in noticed {
                self.parts.scheduler.kv_loaded(id, output_tokens);
            }
            self.expire_leases(now);
            let step = self.parts.scheduler.begin_step(now);
            self.announce_fetches();
            self.publish_state();
            let Some(duration) = step else {
                if self.noticed.is_empty() && !self.wait(now) {
                    return;
                }
                now = self.parts.clock.now();
                continue;
            };
            now += duration;
            self.parts.clock.sleep_until(now);
            let real_now = self.parts.clock.now();
            if self.parts.clock.real(real_now.saturating_sub(now)) > STALL {
                now = real_now;
            }
            self.finish_step(now);
        }
    }

    /// Sleeps until there may be something to do; false when nobody can ask any more.
    fn wait(&mut self, now: Duration) -> bool {
        let received = match self.leases.front() {
            Some((end, ..)) => {
                let left = self.parts.clock.real(end.saturating_sub(now));
                self.inbox.recv_timeout(left)
            }
            None => self.inbox.recv().map_err(RecvTimeoutError::from),
        };
        match received {
            Ok(command) => {
                let now = self.parts.clock.now();
                self.obey(command, now);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    fn obey(&mut self, command: Command, now: Duration) {
        let scheduler = &mut self.parts.scheduler;
        match command {
            Command::Submit(submission) => {
                let client = Client {
                    index: submission.index,
                    events: submission.events,
                    admission: submission.admission,
                    hand_off: submission.hand_off,
                };
                self.clients.insert(submission.spec.id, client);
                scheduler.submit(submission.spec, now);
            }
            Command::KvLoaded(Arrived::Fetched(fetched), output_tokens) => {
                scheduler.kv_loaded(fetched.fetch.id, output_tokens);
                self.record(&fetched, now);
            }
            Command::KvLoaded(Arrived::Pushed(id), output_tokens) => self.noticed.push((id, output_tokens)),
            Command::KvSent(sent) => {
                scheduler.release(sent.fetch.id);
                self.record(&sent, now);
            }
            Command::KvRecompute(id, output_tokens) => scheduler.kv_recompute(id, output_tokens),
            Command::Release(id) => scheduler.release(id),
            Command::Abort(id) => self.abort(id),
        }
    }

    /// A transfer as vLLM counts it: it ends when a step sees it.
    fn record(&self, fetched: &Fetched, now: Duration) {
        let (clock, cost, fetch) = (self.parts.clock, &self.parts.cost, &fetched.fetch);
        let took = now.saturating_sub(fetched.posted);
        let mut values = self.parts.metrics.values();
        values.observe_seconds(Distribution::TransferTime, clock.real(took));
        values.observe_seconds(Distribution::PostTime, clock.real(cost.post(fetch.descriptors)));
        values.observe(Distribution::TransferBytes, cost.kv_bytes(fetch.missing_tokens) as f64);
        values.observe(Distribution::Descriptors, f64::from(fetch.descriptors));
    }

    fn abort(&mut self, id: SequenceId) {
        self.clients.remove(&id);
        if self.parts.scheduler.abort(id) {
            self.parts.metrics.values().add(Counter::FinishedAbort, 1.0);
        }
    }

    fn expire_leases(&mut self, now: Duration) {
        while self.leases.front().is_some_and(|(end, ..)| *end <= now) {
            let Some((_, id, request_id)) = self.leases.pop_front() else {
                return;
            };
            if self.parts.hand_offs.expire(&request_id) {
                self.parts.metrics.values().add(Counter::KvExpired, 1.0);
                self.parts.scheduler.release(id);
            }
        }
    }

    fn announce_fetches(&mut self) {
        for fetch in self.parts.scheduler.take_fetches() {
            self.tell(fetch.id, Event::Fetch(fetch));
        }
    }

    /// Passes an event on, or forgets the sequence when nobody listens.
    fn tell(&mut self, id: SequenceId, event: Event) {
        let listening = self.clients.get(&id).is_some_and(|client| client.events.send(event).is_ok());
        if !listening {
            self.abort(id);
        }
    }

    fn finish_step(&mut self, now: Duration) {
        let load = self.parts.scheduler.load();
        let outputs = self.parts.scheduler.end_step(now);
        {
            let mut values = self.parts.metrics.values();
            if load.tokens() > 0 {
                values.observe(Distribution::StepTokens, load.tokens() as f64);
            }
            values.add(Counter::GenerationTokens, outputs.len() as f64);
            values.add(Counter::Flops, self.parts.cost.flops(&load));
            values.add(Counter::ReadBytes, self.parts.cost.bytes_read(&load));
            let written = self.parts.cost.kv_bytes(load.tokens() as u32);
            values.add(Counter::WriteBytes, written as f64);
            for output in &outputs {
                self.count(&mut values, output);
            }
        }
        for output in outputs {
            self.count_down_to_faults();
            self.deliver(output, now);
        }
    }

    fn count(&self, values: &mut Values, output: &Output) {
        let interval = self.parts.clock.real(output.interval);
        let Some(prompt) = output.first else {
            values.observe_seconds(Distribution::InterToken, interval);
            return;
        };
        let admission = self.clients.get(&output.id).map(|client| client.admission);
        let first_token = interval + admission.unwrap_or_default();
        values.observe_seconds(Distribution::FirstToken, first_token);
        let (cached, transferred) = (f64::from(prompt.cached), f64::from(prompt.transferred));
        let computed = f64::from(prompt.computed);
        values.add(Counter::PromptTokens, computed + cached + transferred);
        values.add(Counter::PromptComputed, computed);
        values.add(Counter::PromptCached, cached);
        values.add(Counter::PromptTransferred, transferred);
        values.add(Counter::CachedPrompt, cached + transferred);
        values.add(Counter::CachedOnDevice, cached);
        values.add(Counter::CachedElsewhere, transferred);
    }

    fn deliver(&mut self, output: Output, now: Duration) {
        let clock = self.parts.clock;
        let Some(client) = self.clients.get_mut(&output.id) else {
            return;
        };
        let done = output.finished.is_some();
        let held = output.finished.as_ref().map(|report| report.held_blocks.clone());
        let finished = output.finished.map(|mut report| {
            report.queued = clock.real(report.queued);
            report.prefill = clock.real(report.prefill);
            report.decode = clock.real(report.decode);
            report
        });
        let index = client.index;
        if let Some((request_id, print)) = client.hand_off.take_if(|_| done) {
            let end = now + clock.simulated(self.parts.lease);
            let offer = Offer { sequence: output.id, print, blocks: held.unwrap_or_default() };
            self.parts.hand_offs.offer(request_id.clone(), offer);
            self.leases.push_back((end, output.id, request_id));
        }
        self.tell(output.id, Event::Token { index, finished });
        if done {
            self.clients.remove(&output.id);
        }
    }

    fn count_down_to_faults(&mut self) {
        if self.hang_after.is_some_and(|tokens| self.generated >= tokens) {
            loop {
                thread::park();
            }
        }
        if self.die_after.is_some_and(|tokens| self.generated >= tokens) {
            // Cannot fail with a signal that exists; the process is gone after it.
            let _ = raise(Signal::SIGKILL);
        }
        self.generated += 1;
    }

    fn publish_state(&self) {
        let scheduler = &self.parts.scheduler;
        let totals = scheduler.totals();
        let mut values = self.parts.metrics.values();
        let (waiting, loading) = (scheduler.waiting() as f64, scheduler.loading() as f64);
        values.set(Gauge::Running, scheduler.running() as f64);
        values.set(Gauge::Waiting, waiting + loading);
        values.set(Gauge::WaitingCapacity, waiting);
        values.set(Gauge::WaitingDeferred, loading);
        values.set(Gauge::FetchInProgress, loading);
        values.set(Gauge::KvUsage, scheduler.kv_usage());
        values.mirror(Counter::Preemptions, totals.preemptions);
        values.mirror(Counter::CacheQueries, totals.cache_queries);
        values.mirror(Counter::CacheHits, totals.cache_hits);
        values.mirror(Counter::ExternalQueries, totals.transfer_queries);
        values.mirror(Counter::ExternalHits, totals.transfer_hits);
    }
}
