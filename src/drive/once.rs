//! One request outside any load: smoke tests, the warm-up of a pair, oracles.

use super::answer::AnswerReader;
use super::connection::{Connector, Pool};
use super::exchange::{Clock, Deadlines, Ended, ExchangeContext, exchange};
use super::stream_queue::FirstTokenFlag;
use super::target::{Authority, Destination, RequestWriter, TargetError};
use super::timeline::TimelineBuilder;
use crate::outcome::{Failure, Outcome, Timeline};
use crate::plan::workload::Prompt;
use crate::units::Offset;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

/// A request for [`send_one`].
#[derive(Debug, Clone)]
pub struct Single {
    pub prompt: Prompt,
    pub max_tokens: u32,
    /// `X-Request-Id`
    pub id: String,
    /// Beside those of every request, e.g. to pin a pair of instances.
    pub headers: Vec<(String, String)>,
    pub deadlines: Deadlines,
}

/// The answer to a single request.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub text: String,
    /// Offsets from the moment of the call.
    pub timeline: Timeline,
}

/// Why a single request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SingleError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{0}")]
    Failed(Failure),
}

/// Streams one answer, judged as every answer of a load is. To give up earlier, drop the future.
pub async fn send_one(target: &Destination, single: &Single) -> Result<Completion, SingleError> {
    let authority = Authority::parse(&target.base_url)?;
    let writer = RequestWriter::new(&target.shortened(single.max_tokens), &authority, &single.headers)?;
    let pool = Pool::new(Connector::new(&authority, target.access.insecure).await?, 0);
    let wire = writer.write(&single.id, &single.prompt, single.max_tokens);
    let clock = Clock { zero: Instant::now() };
    let (cut, tokens) = (AtomicBool::new(false), AtomicU64::new(0));
    let (deadlines, first_token) = (single.deadlines, FirstTokenFlag::default());
    let context =
        ExchangeContext { pool: &pool, clock, deadlines, cut: &cut, tokens: &tokens, first_token: &first_token };
    let mut timeline = TimelineBuilder::new(Offset::ZERO, Offset::ZERO);
    timeline.keep_text();
    let mut reader = AnswerReader::new(timeline).bounded(single.max_tokens);
    let Ended { at, outcome, .. } = exchange(&context, &wire, &mut reader).await;
    let asked = target.asked(single.max_tokens);
    match outcome.unwrap_or_else(|| reader.outcome(asked)) {
        Outcome::Failed(failure) => Err(SingleError::Failed(failure)),
        Outcome::Completed | Outcome::Unfinished => {
            let (timeline, text) = reader.finish(at);
            Ok(Completion { text: text.unwrap_or_default(), timeline })
        }
    }
}
