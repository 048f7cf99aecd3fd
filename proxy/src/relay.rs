//! A backend's answer on its way to the client: bytes as they come, an end as it was, and nothing made up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use tokio::time::Sleep;

use crate::fault::FaultKind;
use crate::group::Assignment;
use crate::headers::strip_hop_by_hop;
use crate::http1::AnswerHead;
use crate::stamps::Outcome;
use crate::state::{RequestTrace, Worker};
use crate::together::PrefillLeg;
use crate::upstream::{Answer, UpstreamError};

/// What the proxy sends: an answer of its own, or a backend's.
pub(crate) type ProxyBody = Either<Full<Bytes>, RelayBody>;

/// A backend's answer up to the end of its head, with the backend still charged for it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) head: AnswerHead,
    pub(crate) answer: Answer,
    pub(crate) backend: Assignment,
    /// When the hop began.
    pub(crate) started: Instant,
    /// The first bytes of its body, where they were waited for.
    pub(crate) early: Option<Bytes>,
    /// A prefill that has not ended; the answer is worth nothing if it fails.
    pub(crate) leg: Option<PrefillLeg>,
}

impl Answered {
    pub(crate) fn new(head: AnswerHead, answer: Answer, backend: Assignment, started: Instant) -> Self {
        Answered { head, answer, backend, started, early: None, leg: None }
    }

    /// Passes the answer on: status, end-to-end headers and body as they are.
    pub(crate) fn relay(self, worker: Arc<Worker>, trace: RequestTrace) -> Response<ProxyBody> {
        let AnswerHead { status, reason, mut headers, .. } = self.head;
        strip_hop_by_hop(&mut headers);
        let timeouts = &worker.shared.timeouts;
        let deadline = match &self.early {
            Some(_) => Deadline::new(Instant::now(), timeouts.idle),
            None => Deadline::new(self.started, timeouts.first_byte),
        };
        let mut body = RelayBody {
            status: status.as_u16(),
            deadline,
            idle: timeouts.idle,
            early: self.early,
            leg: self.leg,
            hop: Some((self.answer, self.backend)),
            failure: None,
            worker,
            trace,
        };
        // hyper does not poll the body of an answer that has none.
        body.end_if_done();
        let mut response = Response::new(Either::Right(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// The body of a relayed answer. Dropping it before its end closes the backend's connection.
#[derive(Debug)]
pub(crate) struct RelayBody {
    status: u16,
    deadline: Deadline,
    idle: Duration,
    early: Option<Bytes>,
    leg: Option<PrefillLeg>,
    /// `None` once the answer ended.
    hop: Option<(Answer, Assignment)>,
    /// Why it ended too early, until the client's connection was told.
    failure: Option<UpstreamError>,
    worker: Arc<Worker>,
    trace: RequestTrace,
}

impl RelayBody {
    fn end_if_done(&mut self) {
        if self.early.is_none()
            && self.hop.as_ref().is_some_and(|(answer, _)| answer.is_done())
            && let Some((answer, backend)) = self.hop.take()
        {
            self.worker.pool.put_back(backend.slot, answer);
            self.trace.settle(Outcome::Passed { status: self.status });
        }
    }

    /// Ends the client's stream where it stands: hyper closes the connection without the last chunk. Not in this poll:
    /// hyper throws away what it has not flushed, and it flushes when a body has nothing for it.
    fn cut(&mut self, error: UpstreamError, cx: &Context<'_>) {
        if let Some((_, backend)) = self.hop.take() {
            tracing::warn!(
                stage = backend.stage.name(),
                backend = %backend.url,
                request = %self.trace.stamps.request_id,
                "stream cut: {error}"
            );
            self.trace.settle(Outcome::Failed { stage: backend.stage, kind: error.kind(), status: None });
        }
        self.failure = Some(error);
        cx.waker().wake_by_ref();
    }

    /// Looks after the prefill that runs beside; whether it has failed, and the stream with it.
    fn prefill_failed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(end)) = self.leg.as_mut().map(|leg| leg.poll(cx)) else { return false };
        self.leg = None;
        let fault = match end.settle(&mut self.trace.stamps.prefill) {
            Ok(None) => return false,
            Ok(Some(declined)) => declined.backend.fault(FaultKind::EngineError, &declined.head.status),
            Err(fault) => fault,
        };
        tracing::warn!(request = %self.trace.stamps.request_id, "stream cut: {fault}");
        self.hop = None;
        self.trace.settle(Outcome::Failed { stage: fault.stage, kind: fault.kind, status: None });
        true
    }

    fn note(&mut self, data: &Bytes) {
        let now = Instant::now();
        if self.trace.stamps.first_byte.is_none() {
            self.trace.stamps.first_byte = Some(now);
            self.deadline = Deadline::new(now, self.idle);
        }
        self.deadline.last = now;
        self.trace.stamps.bytes += data.len() as u64;
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self.get_mut();
        if this.hop.is_some() && this.prefill_failed(cx) {
            this.failure = Some(UpstreamError::Truncated);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(data) = this.early.take() {
            this.note(&data);
            this.end_if_done();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some((answer, _)) = &mut this.hop else {
            return Poll::Ready(this.failure.take().map(Err));
        };
        let error = match answer.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                this.note(&data);
                this.end_if_done();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Poll::Ready(None) => {
                this.end_if_done();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => error,
            Poll::Pending => ready!(this.deadline.poll(cx)),
        };
        this.cut(error, cx);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.hop.is_none() && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let early = self.early.as_ref().map_or(0, Bytes::len) as u64;
        let left = match &self.hop {
            Some((answer, _)) => answer.bytes_left().map(|left| left + early),
            None => self.failure.is_none().then_some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A time limit since the last sign of life. The timer is moved only when it fires, not at every frame, and listened to
/// once: an answer stays with the task of its client's connection.
#[derive(Debug)]
struct Deadline {
    last: Instant,
    limit: Duration,
    listening: bool,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    fn new(last: Instant, limit: Duration) -> Self {
        Deadline { last, limit, listening: false, timer: Box::pin(tokio::time::sleep_until((last + limit).into())) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamError> {
        loop {
            if self.listening && !self.timer.is_elapsed() {
                return Poll::Pending;
            }
            self.listening = true;
            ready!(self.timer.as_mut().poll(cx));
            let due = self.last + self.limit;
            if due <= Instant::now() {
                return Poll::Ready(UpstreamError::Timeout { awaited: "further byte", after: self.limit });
            }
            self.timer.as_mut().reset(due.into());
            self.listening = false;
        }
    }
}
