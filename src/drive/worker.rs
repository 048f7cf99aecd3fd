//! One thread of the load: sends its share of the schedule on time and reads the answers, all in one event loop.
//!
//! Workers share nothing but counters, so that neither a lock nor a hand-over stands between a due time and a send.

use super::answer::{AnswerReader, Asked};
use super::connection::{Connector, FEWEST_SPARES, Pool};
use super::due_timer::DueTimer;
use super::exchange::{self, Clock, Deadlines, Ended, ExchangeContext, exchange};
use super::look_ahead::{WrittenRequest, request_id};
use super::progress::Progress;
use super::stream_queue::{FirstTokenFlag, StreamQueue};
use super::timeline::TimelineBuilder;
use crate::outcome::{Outcome, Request, RequestRecord, Timeline};
use crate::plan::workload::Schedule;
use crate::units::Offset;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

/// Connections are opened this long before a request that no idle one waits for.
pub(super) const CONNECT_AHEAD: Duration = Duration::from_millis(50);

/// Spare connections for the sends of this long: what a busy loop may need to open one.
const SPARES_FOR: Duration = Duration::from_millis(20);
const MOST_SPARES: usize = 32;

/// What all requests of a point have in common.
pub(super) struct Common {
    pub(super) schedule: Arc<Schedule>,
    pub(super) connector: Connector,
    pub(super) clock: Clock,
    pub(super) deadlines: Deadlines,
    /// After the last send; then what is open ends unfinished.
    pub(super) drain: Duration,
    /// A request is due when its slot is free.
    pub(super) closed: bool,
    /// Nothing but its length may end an answer.
    pub(super) full_length: bool,
    pub(super) keep_text: bool,
    pub(super) id_prefix: String,
    pub(super) records: UnboundedSender<RequestRecord>,
    pub(super) progress: Arc<Progress>,
    pub(super) cancel: CancellationToken,
    pub(super) cut: AtomicBool,
}

pub(super) struct Worker {
    pub(super) common: Arc<Common>,
    /// Its share: every `of`th request from `first` on.
    pub(super) first: usize,
    pub(super) of: usize,
    pub(super) ready: mpsc::Receiver<WrittenRequest>,
    /// Slots under a concurrency limit.
    pub(super) slots: Option<Slots>,
}

/// Slots of a concurrency limit or a closed loop, each with the time it became free.
pub(super) struct Slots {
    free: UnboundedReceiver<Offset>,
    release: UnboundedSender<Offset>,
}

impl Slots {
    pub(super) fn new(limit: u32) -> Self {
        let (release, free) = mpsc::unbounded_channel();
        let slots = Slots { free, release };
        (0..limit).for_each(|_| slots.give_back(Offset::ZERO));
        slots
    }

    /// Waits for a slot, and says since when it was free; `None` if the point is given up.
    pub(super) async fn take(&mut self, clock: Clock) -> Option<(Offset, Slot)> {
        let free_since = self.free.recv().await?;
        Some((free_since, Slot { release: self.release.clone(), clock }))
    }

    fn give_back(&self, since: Offset) {
        // Both ends live in `self`: the channel is open.
        let _ = self.release.send(since);
    }
}

/// Gives its slot back when the request's outcome is known, however it came about.
pub(super) struct Slot {
    release: UnboundedSender<Offset>,
    clock: Clock,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A closed channel means that no request waits for the slot any more.
        let _ = self.release.send(self.clock.now());
    }
}

/// Dropped with the last request in flight.
pub(super) type InFlight = mpsc::Sender<()>;

impl Worker {
    /// Returns when every request of its share has its record.
    pub(super) async fn run(self) -> io::Result<()> {
        let queue = StreamQueue::default();
        drive(self.send(queue.clone()), &queue).await
    }

    async fn send(mut self, queue: StreamQueue) -> io::Result<()> {
        let timer = DueTimer::new()?;
        let pool =
            Arc::new(Pool::new(self.common.connector.clone(), spares(&self.common, self.of, self.slots.is_some())));
        let (in_flight, mut all_ended) = mpsc::channel(1);
        pool.top_up();
        let cancel = self.common.cancel.clone();
        let mut position = self.first;
        while let Some(request) = self.common.schedule.requests.get(position).copied() {
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                next = self.next(&request, &timer, &pool) => next?,
            };
            let Some((ready, slot, held)) = next else { break };
            let due = if self.common.closed { slot } else { request.due };
            let job = RequestJob { ready, due, slot, held, then: None, _in_flight: in_flight.clone() };
            queue.add(|first_token| serve(Arc::clone(&self.common), Arc::clone(&pool), job, first_token));
            pool.top_up();
            position += self.of;
        }
        drop(in_flight);
        self.ready.close();
        let rest = (position..self.common.schedule.requests.len()).step_by(self.of);
        report_unsent(&self.common, rest).await;
        drain(&self.common, &mut all_ended).await;
        Ok(())
    }

    /// Waits for the request's bytes, its due time and its slot.
    async fn next(
        &mut self,
        request: &Request,
        timer: &DueTimer,
        pool: &Arc<Pool>,
    ) -> io::Result<Option<(WrittenRequest, Offset, Option<Slot>)>> {
        let Some(ready) = self.ready.recv().await else { return Ok(None) };
        let clock = self.common.clock;
        let due = clock.zero + request.due.as_duration();
        if let Some(ahead) = due.checked_sub(CONNECT_AHEAD) {
            timer.sleep_until(ahead).await?;
            pool.top_up();
        }
        timer.sleep_until(due).await?;
        self.common.progress.backlog.room().await;
        let Some(slots) = &mut self.slots else { return Ok(Some((ready, request.due, None))) };
        let Some((free_since, held)) = slots.take(clock).await else { return Ok(None) };
        Ok(Some((ready, request.due.max(free_since), Some(held))))
    }
}

/// Sends go first, then as many streams as can be served before the next look at the clock.
pub(super) async fn drive(sending: impl Future<Output = io::Result<()>>, queue: &StreamQueue) -> io::Result<()> {
    let mut sending = pin!(sending);
    std::future::poll_fn(|cx| {
        let sent = sending.as_mut().poll(cx);
        if sent.is_pending() && queue.serve(cx) {
            cx.waker().wake_by_ref();
        }
        sent
    })
    .await
}

/// So many connections that sends at the schedule's mean rate, or at once, find one open. Under a concurrency limit the
/// answers give theirs back.
pub(super) fn spares(common: &Common, workers: usize, limited: bool) -> usize {
    if limited {
        return FEWEST_SPARES;
    }
    let requests = &common.schedule.requests;
    let span = requests.last().map_or(0.0, |last| last.due.as_duration().as_secs_f64());
    let mean = requests.len() as f64 / workers as f64 * (SPARES_FOR.as_secs_f64() / span);
    (mean.ceil() as usize).min(requests.len()).clamp(FEWEST_SPARES, MOST_SPARES)
}

/// A record for each request that was never sent.
pub(super) async fn report_unsent(common: &Common, positions: impl Iterator<Item = usize>) {
    let end = common.clock.now();
    for request in positions.filter_map(|position| common.schedule.requests.get(position)) {
        let timeline = Timeline { due: request.due, slot: request.due, end, ..Timeline::default() };
        let id = request_id(&common.id_prefix, request);
        common.progress.backlog.room().await;
        common.progress.never_sent();
        common.record(request, id, timeline, Outcome::Unfinished, None);
    }
}

/// Waits for what is in flight, and cuts it off when that takes too long.
pub(super) async fn drain(common: &Common, all_ended: &mut mpsc::Receiver<()>) {
    tokio::select! {
        biased;
        _ = all_ended.recv() => return,
        () = common.cancel.cancelled() => {}
        () = tokio::time::sleep(common.drain) => {}
    }
    common.cut.store(true, Ordering::Relaxed);
    all_ended.recv().await;
}

/// A request about to be sent.
pub(super) struct RequestJob {
    pub(super) ready: WrittenRequest,
    pub(super) due: Offset,
    pub(super) slot: Offset,
    pub(super) held: Option<Slot>,
    /// Who waits for its end.
    pub(super) then: Option<TurnEnd>,
    pub(super) _in_flight: InFlight,
}

/// Where the end of a turn is told, which makes the next one due.
pub(super) struct TurnEnd {
    pub(super) position: usize,
    pub(super) tell: UnboundedSender<(usize, Offset)>,
}

pub(super) async fn serve(common: Arc<Common>, pool: Arc<Pool>, job: RequestJob, first_token: FirstTokenFlag) {
    let RequestJob { ready: WrittenRequest { request, id, wire }, due, slot, held, then, _in_flight } = job;
    common.progress.launched();
    let mut timeline = TimelineBuilder::new(due, slot);
    timeline.expect_tokens(request.output_tokens.get());
    if common.keep_text {
        timeline.keep_text();
    }
    let mut reader = AnswerReader::new(timeline).bounded(request.output_tokens.get());
    let context = ExchangeContext {
        pool: &pool,
        clock: common.clock,
        deadlines: common.deadlines,
        cut: &common.cut,
        tokens: &common.progress.tokens,
        first_token: &first_token,
    };
    let Ended { at, outcome, connection } = exchange(&context, &wire, &mut reader).await;
    let asked = Asked { max_tokens: request.output_tokens.get(), full_length: common.full_length };
    let outcome = outcome.unwrap_or_else(|| reader.outcome(asked));
    let (timeline, text) = reader.finish(at);
    common.progress.ended(&outcome, at);
    if let Some(TurnEnd { position, tell }) = then {
        // Nobody listens once the point is cut short.
        let _ = tell.send((position, at));
    }
    common.record(&request, id, timeline, outcome, text);
    drop((held, wire, _in_flight));
    if let Some(connection) = connection {
        exchange::settle(&pool, common.clock, connection, reader).await;
    }
}

impl Common {
    fn record(&self, request: &Request, id: String, timeline: Timeline, outcome: Outcome, text: Option<String>) {
        let record = RequestRecord {
            index: request.index,
            id,
            prompt_tokens: request.prompt_tokens,
            max_tokens: request.output_tokens,
            timeline,
            outcome,
            stages: None,
            turn: self.schedule.turns.get(request.index as usize).copied(),
            text,
        };
        self.progress.backlog.add(&record);
        // The receiver is gone only where the caller has given the point up.
        let _ = self.records.send(record);
    }
}
