//! From the bytes of a response to what became of the request: pure, whatever way the bytes are cut.

use super::chunk::{self, Event, StreamError};
use super::pattern::Pattern;
use super::sse::SseParser;
use super::timeline::TimelineBuilder;
use crate::outcome::{Failure, Outcome, Timeline};
use crate::plan::mask::masked_text;
use crate::units::Offset;
use topobench_proxy::http1::ResponseReader;

/// How much of an error's body is kept for its message.
const MAX_ERROR_BODY: usize = 8 << 10;

/// What the request asked for, against which its answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub max_tokens: u32,
    /// Nothing but `max_tokens` may end the answer: a shorter one is a truncated one.
    pub full_length: bool,
}

/// An answer that was judged from its bytes alone.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedAnswer {
    pub outcome: Outcome,
    pub timeline: Timeline,
    pub text: String,
}

/// What the load would have made of a response that came in these pieces, a nanosecond apart, before the connection
/// closed: for recordings and fuzzers.
pub fn judge<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, asked: Asked) -> JudgedAnswer {
    let mut timeline = TimelineBuilder::new(Offset::ZERO, Offset::ZERO);
    timeline.keep_text();
    let mut reader = AnswerReader::new(timeline);
    let mut now = 0;
    for piece in pieces {
        if reader.is_known() {
            break;
        }
        now += 1;
        reader.feed(piece, Offset::from_nanos(now));
    }
    if !reader.is_known() {
        now += 1;
        reader.close(None, Offset::from_nanos(now));
    }
    let outcome = reader.outcome(asked);
    let (timeline, text) = reader.finish(Offset::from_nanos(now));
    JudgedAnswer { outcome, timeline, text: text.unwrap_or_default() }
}

/// Reads one response.
#[derive(Debug)]
pub(super) struct AnswerReader {
    response: ResponseReader,
    sse: SseParser,
    content: Content,
}

#[derive(Debug)]
struct Content {
    timeline: TimelineBuilder,
    pattern: Pattern,
    events: u64,
    done: bool,
    failure: Option<Failure>,
    error_body: Vec<u8>,
    /// Chunks with tokens that are kept at most.
    most_chunks: usize,
}

impl AnswerReader {
    pub(super) fn new(timeline: TimelineBuilder) -> Self {
        let content = Content {
            timeline,
            pattern: Pattern::default(),
            events: 0,
            done: false,
            failure: None,
            error_body: Vec::new(),
            most_chunks: usize::MAX,
        };
        AnswerReader { response: ResponseReader::default(), sse: SseParser::default(), content }
    }

    /// Refuses an answer that goes far beyond what was asked for: one without end would eat the memory. Some room is
    /// left for servers that count otherwise.
    pub(super) fn bounded(mut self, max_tokens: u32) -> Self {
        self.content.most_chunks = (max_tokens as usize).saturating_mul(2).saturating_add(64);
        self
    }

    pub(super) fn timeline(&mut self) -> &mut TimelineBuilder {
        &mut self.content.timeline
    }

    /// Bytes that one read brought at `at`.
    pub(super) fn feed(&mut self, bytes: &[u8], at: Offset) {
        let AnswerReader { response, sse, content } = self;
        let (mut too_long, mut refused) = (None, None);
        let read = response.feed(bytes, |status, piece| {
            if status != 200 {
                let room = MAX_ERROR_BODY.saturating_sub(content.error_body.len());
                content.error_body.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() > room {
                    // What is known suffices; nobody waits for gigabytes of it.
                    refused = Some(status);
                }
            } else if too_long.is_none() {
                too_long = sse.feed(piece, |data| content.event(data, at)).err().map(|e| e.to_string());
            }
        });
        if let Some(status) = refused {
            let failure = status_failure(status, response, &content.error_body);
            content.fail(failure);
        }
        if let Some(detail) = too_long.or(read.err().map(|e| e.to_string())) {
            content.fail(Failure::Protocol { detail });
        } else if response.is_ended() {
            self.end(at);
        }
    }

    /// The connection ended; `error` if it didn't close in order.
    pub(super) fn close(&mut self, error: Option<&std::io::Error>, at: Offset) {
        if self.response.status().is_none() {
            let detail = error.map_or_else(|| "closed before the status line".to_string(), ToString::to_string);
            self.content.fail(Failure::Connect { detail });
        }
        if self.response.may_end_here() && error.is_none() {
            return self.end(at);
        }
        self.flush(at);
        let how = error.map_or_else(|| "the connection closed in mid-answer".to_string(), ToString::to_string);
        self.content.truncated(how);
    }

    /// No more bytes of the body will come.
    fn end(&mut self, at: Offset) {
        self.flush(at);
        let packed = self.response.header("content-encoding").filter(|coding| *coding != "identity");
        match self.content.events {
            0 => {
                let packed = packed.map(|coding| format!(": it is packed with {coding}, which was not asked for"));
                let kind = self.response.header("content-type").filter(|kind| !kind.starts_with("text/event-stream"));
                let other = kind.map(|kind| format!(": its type is {kind}, no stream of events"));
                let why = packed.or(other).unwrap_or_default();
                self.content.fail(Failure::Protocol { detail: format!("HTTP 200 without a single event{why}") });
            }
            // Some servers say that the answer is over, and end it without the mark.
            _ if self.content.timeline.finish_reason().is_some() => self.content.done = true,
            _ => self.content.truncated("the stream ended without [DONE]".into()),
        }
    }

    /// What lies unfinished in the buffers when no more bytes will come.
    fn flush(&mut self, at: Offset) {
        let AnswerReader { response, sse, content } = self;
        match response.status() {
            Some(status) if status != 200 => {
                let failure = status_failure(status, response, &content.error_body);
                content.fail(failure);
            }
            _ => sse.finish(|data| match chunk::read(data) {
                // Half an event is no sign of a foreign server, but of one that stopped in mid-sentence.
                Event::Unreadable(_) if content.events > 0 => {}
                _ => content.event(data, at),
            }),
        }
    }

    /// Whether the outcome can't change any more.
    pub(super) fn is_known(&self) -> bool {
        self.content.done || self.content.failure.is_some()
    }

    /// Whether the whole response was read and the connection may serve again.
    pub(super) fn is_reusable(&self) -> bool {
        self.response.is_reusable()
    }

    /// Events so far: what proves that the stream advances. Comments don't.
    pub(super) fn events(&self) -> u64 {
        self.content.events
    }

    pub(super) fn tokens(&self) -> u32 {
        self.content.timeline.counter().tokens()
    }

    /// What became of it. To be asked once the outcome is known.
    pub(super) fn outcome(&self, asked: Asked) -> Outcome {
        let Content { timeline, failure, .. } = &self.content;
        if let Some(failure) = failure {
            return Outcome::Failed(failure.clone());
        }
        let counter = timeline.counter();
        let (total, at_least, max) = (counter.total(), counter.at_least(), asked.max_tokens);
        let short =
            |detail: String| Outcome::Failed(Failure::Truncated { tokens: total.unwrap_or(counter.tokens()), detail });
        let excess = |counted: String| {
            Outcome::Failed(Failure::Protocol { detail: format!("{counted} where {max} were asked for") })
        };
        let reason = timeline.finish_reason();
        match total {
            _ if matches!(reason, Some("abort" | "error")) => {
                short(format!("finish_reason {}", reason.unwrap_or_default()))
            }
            _ if counter.claimed() > max => excess(format!("the server counts {} tokens", counter.claimed())),
            _ if at_least > max => excess(format!("{at_least} chunks with text came")),
            Some(0) | None if !counter.came() => short("no token was generated".to_string()),
            Some(total) if !counter.came() => short(format!("the server counts {total} tokens, and no text came")),
            Some(total) if asked.full_length && total < max => {
                short(format!("{max} tokens were asked for with ignore_eos"))
            }
            None if asked.full_length && at_least < max && reason.is_some_and(|reason| reason != "length") => {
                let reason = reason.unwrap_or_default();
                short(format!("it ended with finish_reason {reason}, and {max} tokens were asked for with ignore_eos"))
            }
            _ => Outcome::Completed,
        }
    }

    /// The timeline and the kept text, taken out; the reader can still read the rest of the response.
    pub(super) fn finish(&mut self, end: Offset) -> (Timeline, Option<String>) {
        std::mem::take(&mut self.content.timeline).finish(end)
    }
}

impl Content {
    fn event(&mut self, data: &[u8], at: Offset) {
        if self.done || self.failure.is_some() {
            return;
        }
        match self.pattern.read(data) {
            // A server that only pings does not advance.
            Event::KeepAlive => return,
            Event::Chunk(chunk) => {
                self.timeline.chunk(at, &chunk);
                let idle = self.events / 4 > self.most_chunks as u64;
                if idle || self.timeline.counter().chunks() > self.most_chunks {
                    let detail = format!("a stream without end: {} chunks, far more than asked for", self.events);
                    self.fail(Failure::Protocol { detail });
                }
            }
            Event::Done => self.done = true,
            Event::Error(error) => self.fail(in_band(error)),
            Event::Unreadable(detail) => self.fail(Failure::Protocol { detail }),
        }
        self.events += 1;
    }

    /// The first failure is the one that counts; after the end mark there is none.
    fn fail(&mut self, failure: Failure) {
        if !self.done {
            self.failure.get_or_insert(failure);
        }
    }

    fn truncated(&mut self, detail: String) {
        self.fail(Failure::Truncated { tokens: self.timeline.counter().tokens(), detail });
    }
}

fn in_band(error: StreamError) -> Failure {
    if error.is_kv_handoff() {
        Failure::KvHandoff { detail: error.message }
    } else {
        Failure::InBandError { detail: error.message }
    }
}

fn status_failure(code: u16, response: &ResponseReader, body: &[u8]) -> Failure {
    let retry_after = response.header("retry-after").is_some();
    if let (300..400, Some(target)) = (code, response.header("location")) {
        // What follows may be a secret, and so may what stands before the host.
        let target = target.split(['?', '#']).next().unwrap_or_default();
        let target = masked_text(target);
        return Failure::Status { code, detail: format!("it redirects to {target}: give the URL of that server") };
    }
    let error = chunk::read_error(body);
    match error {
        _ if code == 429 || (code == 503 && retry_after) => Failure::Shed { code },
        Some(error) if error.is_kv_handoff() => Failure::KvHandoff { detail: error.message },
        Some(error) => Failure::Status { code, detail: error.message },
        None if body.trim_ascii().is_empty() => Failure::Status { code, detail: "it says no more".to_string() },
        None => Failure::Status { code, detail: chunk::excerpt(body) },
    }
}

#[cfg(test)]
mod tests;
