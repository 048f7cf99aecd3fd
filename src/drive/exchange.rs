//! One request and its answer over one connection, under deadlines.

use super::answer::AnswerReader;
use super::connection::{Connection, Pool};
use super::stream_queue::FirstTokenFlag;
use crate::outcome::{Failure, Outcome};
use crate::tls;
use crate::units::Offset;
use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

/// How often deadlines and the cut-off are looked at: coarse beside any deadline, and cheaper than a timer a chunk.
const TICK: Duration = Duration::from_millis(100);
/// How long the end of a response may take after its last event, for the connection to be used again.
const REST_OF_RESPONSE: Duration = Duration::from_secs(1);
/// One read takes at most this much. Larger than any burst of chunks, small enough for the second-level cache.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// Reads of one worker take turns, so they share one buffer; thousands of open streams need no memory of their own.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// The load's clock: offsets from the point's time zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) zero: Instant,
}

impl Clock {
    pub(super) fn now(self) -> Offset {
        self.at(Instant::now())
    }

    fn at(self, instant: Instant) -> Offset {
        Offset::from(instant.saturating_duration_since(self.zero))
    }
}

/// How long a server may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From sent to the first event. Long: under overload requests queue, and that is what is measured.
    pub first_token: Duration,
    /// Between events after that.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines { first_token: Duration::from_secs(600), idle: Duration::from_secs(60) }
    }
}

/// When a request last got on, for the watch over its deadlines.
struct Activity {
    at: AtomicU64,
    answering: AtomicBool,
}

impl Activity {
    fn new(at: Offset) -> Self {
        Activity { at: AtomicU64::new(at.as_nanos()), answering: AtomicBool::new(false) }
    }

    fn note(&self, at: Offset, answering: bool) {
        self.at.store(at.as_nanos(), Ordering::Relaxed);
        self.answering.store(answering, Ordering::Relaxed);
    }

    /// The silence at `now`, if it is longer than allowed.
    fn exceeded(&self, deadlines: &Deadlines, now: Offset) -> Option<Duration> {
        let silent = now.as_duration().saturating_sub(Duration::from_nanos(self.at.load(Ordering::Relaxed)));
        let limit = if self.answering.load(Ordering::Relaxed) { deadlines.idle } else { deadlines.first_token };
        (silent > limit).then_some(silent)
    }
}

/// Comes round every [`TICK`]. A task is woken for each chunk; asking the timer again each time would cost more than the
/// rest of the wake-up, and it has said already when it will wake the task.
struct TimeoutTicks {
    interval: Interval,
    /// Not before this: at most the interval's own next deadline.
    due: tokio::time::Instant,
    /// Whom the timer will wake.
    armed: Option<Waker>,
}

impl TimeoutTicks {
    fn new() -> Self {
        let due = tokio::time::Instant::now() + TICK;
        let mut interval = interval_at(due, TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        TimeoutTicks { interval, due, armed: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = tokio::time::Instant::now();
        if now < self.due && self.armed.as_ref().is_some_and(|armed| armed.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        // Outside the task's budget: a server that never stops talking uses all of it up, and would talk on for ever.
        let tick = pin!(unconstrained(self.interval.tick())).poll(cx);
        self.armed = tick.is_pending().then(|| cx.waker().clone());
        // Counted from when the tick was due and not from when it was seen: the next one may be due that soon.
        tick.map(|scheduled| self.due = scheduled + TICK)
    }
}

/// What surrounds an exchange.
pub(super) struct ExchangeContext<'a> {
    pub(super) pool: &'a Pool,
    pub(super) clock: Clock,
    pub(super) deadlines: Deadlines,
    /// Once set, what is still open ends unfinished.
    pub(super) cut: &'a AtomicBool,
    /// Told of the tokens of every read.
    pub(super) tokens: &'a AtomicU64,
    /// Told of the first token.
    pub(super) first_token: &'a FirstTokenFlag,
}

/// How an exchange ended.
pub(super) struct Ended {
    pub(super) at: Offset,
    /// `None`: as the answer reader says.
    pub(super) outcome: Option<Outcome>,
    /// Still open where the answer came to its end.
    pub(super) connection: Option<Connection>,
}

/// Sends `wire` and reads until the outcome is known.
pub(super) async fn exchange(context: &ExchangeContext<'_>, wire: &[u8], reader: &mut AnswerReader) -> Ended {
    let activity = Activity::new(context.clock.now());
    let ended = {
        let mut talk = pin!(talk(context, wire, reader, &activity));
        let mut ticks = TimeoutTicks::new();
        loop {
            let next = poll_fn(|cx| match talk.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => ticks.poll(cx).map(|()| None),
            });
            if let Some(ended) = next.await {
                break Ok(ended);
            }
            let now = context.clock.now();
            if context.cut.load(Ordering::Relaxed) {
                break Err((now, None));
            }
            if let Some(silent) = activity.exceeded(&context.deadlines, now) {
                break Err((now, Some(silent)));
            }
        }
    };
    ended.unwrap_or_else(|(at, silent)| {
        let outcome = silent.map_or(Outcome::Unfinished, |silent| {
            Outcome::Failed(Failure::Stalled { after_secs: silent.as_secs_f64(), tokens: reader.tokens() })
        });
        Ended { at, outcome: Some(outcome), connection: None }
    })
}

async fn talk(context: &ExchangeContext<'_>, wire: &[u8], reader: &mut AnswerReader, activity: &Activity) -> Ended {
    match send(context, wire, reader).await {
        Ok(connection) => {
            activity.note(context.clock.now(), false);
            receive(context, connection, reader, activity).await
        }
        Err(e) => {
            let outcome = Outcome::Failed(Failure::Connect { detail: connect_detail(&e) });
            Ended { at: context.clock.now(), outcome: Some(outcome), connection: None }
        }
    }
}

/// On an idle connection if there is one. A server may close it at this very moment: as long as none of the request has
/// gone out, another connection is tried; after that never, for the server may have begun to work.
async fn send(context: &ExchangeContext<'_>, wire: &[u8], reader: &mut AnswerReader) -> io::Result<Connection> {
    if let Some(mut idle) = context.pool.take_idle() {
        reader.timeline().sent(context.clock.now());
        if let Ok(written) = idle.write(wire).await {
            finish_write(&mut idle, &wire[written..]).await;
            return Ok(idle);
        }
    }
    let mut fresh = context.pool.connect().await?;
    reader.timeline().sent(context.clock.now());
    let written = fresh.write(wire).await?;
    finish_write(&mut fresh, &wire[written..]).await;
    Ok(fresh)
}

/// A server that refuses a request may answer and close before it has read all of it: what broke the writing is then
/// told by the answer, or by reading's own error.
async fn finish_write(connection: &mut Connection, rest: &[u8]) {
    if connection.write_all(rest).await.is_ok() {
        let _ = connection.flush().await;
    }
}

async fn receive(
    context: &ExchangeContext<'_>,
    mut connection: Connection,
    reader: &mut AnswerReader,
    activity: &Activity,
) -> Ended {
    let (mut events, mut tokens) = (0, 0);
    loop {
        let read = read_once(&mut connection, |bytes, arrived| {
            let at = context.clock.at(arrived);
            reader.feed(bytes, at);
            at
        });
        let at = match read.await {
            Ok(Some(at)) => at,
            closed => {
                let at = context.clock.now();
                reader.close(closed.err().as_ref(), at);
                return Ended { at, outcome: None, connection: None };
            }
        };
        if tokens == 0 && reader.tokens() > 0 {
            context.first_token.came();
        }
        context.tokens.fetch_add(u64::from(reader.tokens().saturating_sub(tokens)), Ordering::Relaxed);
        tokens = reader.tokens();
        if reader.is_known() {
            return Ended { at, outcome: None, connection: Some(connection) };
        }
        if reader.events() > events {
            events = reader.events();
            activity.note(at, true);
        }
    }
}

/// Calls `take` with what one read brought and when that had arrived; `None` at the end of the stream.
async fn read_once<T>(connection: &mut Connection, mut take: impl FnMut(&[u8], Instant) -> T) -> io::Result<Option<T>> {
    poll_fn(|cx| {
        READ_BUFFER.with_borrow_mut(|memory| {
            let mut buffer = ReadBuf::new(memory);
            match Pin::new(&mut *connection).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Ok(None)),
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Some(take(buffer.filled(), connection.arrived())))),
            }
        })
    })
    .await
}

/// Reads what follows the last event and gives the connection back. Its request is on record already.
pub(super) async fn settle(pool: &Pool, clock: Clock, mut connection: Connection, mut reader: AnswerReader) {
    let rest = async {
        while !reader.is_reusable() {
            let read = read_once(&mut connection, |bytes, arrived| reader.feed(bytes, clock.at(arrived))).await;
            if !matches!(read, Ok(Some(()))) {
                return false;
            }
        }
        true
    };
    if tokio::time::timeout(REST_OF_RESPONSE, rest).await == Ok(true) {
        pool.give_back(connection);
    }
}

/// The operating system's words, with the remedy where there is one.
fn connect_detail(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) if code == nix::errno::Errno::EMFILE as i32 => {
            format!("{error}; raise the limit on open files (ulimit -n) or set --max-concurrency")
        }
        // tokio-rustls gives TLS's faults no kinds of their own, only rustls's words.
        _ => tls::in_words(&error.to_string()).map_or_else(|| error.to_string(), str::to_string),
    }
}
