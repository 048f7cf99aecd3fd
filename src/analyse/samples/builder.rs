//! Records as they come, turned into columns: a journal of any size is read as a stream.

use super::{Fates, NOT_SERVED, ONE_TOKEN_TPOT, PerSecond, Samples, UNKNOWN_TOKENS, UNKNOWN_TPOT, UNRECORDED};
use crate::outcome::{CountedBy, Failure, Outcome, RequestRecord, SessionTurn, Timeline};
use crate::units::TokenCount;

/// Builds [`Samples`] record by record.
#[derive(Debug, Clone)]
pub struct SamplesBuilder {
    samples: Samples,
    /// Tokens a second of requests whose chunks weren't kept, counted evenly from the first to the last.
    spread: Vec<u32>,
}

impl Default for SamplesBuilder {
    fn default() -> Self {
        let samples = Samples { lag: Some(Vec::new()), itl_per_token: true, ..Samples::default() };
        SamplesBuilder { samples, spread: Vec::new() }
    }
}

impl SamplesBuilder {
    /// Makes room for a point of `offered` requests at once.
    pub fn with_capacity(offered: usize) -> Self {
        let mut builder = SamplesBuilder::default();
        let s = &mut builder.samples;
        for column in [&mut s.due, &mut s.sent, &mut s.end, &mut s.ttft, &mut s.tpot, &mut s.e2el] {
            column.reserve_exact(offered);
        }
        s.lag.iter_mut().for_each(|lag| lag.reserve_exact(offered));
        for column in [&mut s.index, &mut s.prompt_tokens, &mut s.output_tokens] {
            column.reserve_exact(offered);
        }
        s.fates.column.reserve_exact(offered);
        s.excused.reserve_exact(offered);
        builder
    }

    pub fn push(&mut self, record: &RequestRecord) {
        let s = &mut self.samples;
        let line = &record.timeline;
        s.index.push(record.index);
        s.turns.extend(record.turn);
        s.due.push(line.due.as_secs());
        s.sent.push(line.sent.map_or(NOT_SERVED, |t| t.as_secs()));
        s.end.push(line.end.as_secs());
        s.excused.push(line.slot > line.due || unreachable_engine(&record.outcome));
        if let Some(lag) = &mut s.lag {
            lag.push(record.lag_secs().unwrap_or(NOT_SERVED));
        }
        s.prompt_tokens.push(record.counted_prompt().get());
        let Some((ttft, e2el)) = record.ttft().zip(record.e2el()) else {
            return s.push_not_served(fate(&record.outcome));
        };
        s.output_tokens.push(line.output_tokens.map_or(UNKNOWN_TOKENS, TokenCount::get));
        s.counted_by_us += u32::from(line.counted_by == CountedBy::Tokenizer);
        s.fates.push(Fates::SERVED);
        let without = if record.lacks_count() { UNKNOWN_TPOT } else { ONE_TOKEN_TPOT };
        let tpot = record.tpot().map_or(without, |t| t.as_secs());
        s.push_latencies(ttft.as_secs(), tpot, e2el.as_secs());
        s.stages.add(line, record.stages.as_ref());
        s.push_chunks(line);
        if line.chunks.is_empty() {
            self.spread_tokens(line);
        }
    }

    fn spread_tokens(&mut self, line: &Timeline) {
        let (Some(first), Some(last)) = (line.first_token, line.last_token) else { return };
        let Some(tokens) = line.output_tokens.map(TokenCount::get) else { return };
        let gap = last.secs_since(first) / f64::from(tokens.saturating_sub(1).max(1));
        for token in 0..tokens {
            PerSecond::add(&mut self.spread, first.as_secs() + gap * f64::from(token), 1);
        }
    }

    /// A request that was pushed twice.
    pub(crate) fn doubled(&self) -> Option<u32> {
        let mut indices = self.samples.index.clone();
        indices.sort_unstable();
        indices.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// Sorts by due and adds what was offered and left no record.
    pub fn finish(self, offered: Option<u32>) -> Samples {
        let mut s = self.samples;
        // Of a file without any chunk nothing is known a second; of one where some requests have none, nearly all.
        if !s.per_second.tokens.is_empty() {
            for (second, tokens) in self.spread.iter().enumerate() {
                PerSecond::add(&mut s.per_second.tokens, second as f64, *tokens);
            }
        }
        if s.turns.len() != s.len() {
            s.turns.clear();
        }
        s.offered_rate = Samples::offered_rate(&s.turns);
        s.sort_by_due();
        let last_due = s.due.last().copied().unwrap_or(0.0);
        let missing = (offered.unwrap_or(0) as usize).saturating_sub(s.len());
        for _ in 0..missing {
            s.index.push(u32::try_from(s.due.len()).unwrap_or(u32::MAX));
            s.due.push(last_due);
            s.sent.push(NOT_SERVED);
            s.end.push(last_due);
            s.excused.push(false);
            s.turns.extend(s.turns.last().map(|last| SessionTurn {
                session: u32::MAX,
                turn: 0,
                of: u32::MAX,
                ..*last
            }));
            s.prompt_tokens.push(0);
            if let Some(lag) = &mut s.lag {
                lag.push(NOT_SERVED);
            }
            s.push_not_served(UNRECORDED);
        }
        s.doubt_whole_answers();
        s
    }
}

fn unreachable_engine(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Failure::Connect { .. } | Failure::EngineDied { .. }))
}

fn fate(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Failed(failure) => failure.kind(),
        Outcome::Unfinished => "unfinished",
        // Completed without a token: nothing to judge by.
        Outcome::Completed => "empty",
    }
}

impl Samples {
    /// Columns from a point's records in any order. `offered` is the schedule's length: requests of which no record
    /// exists (the run was cut off) were offered and count as not served.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a RequestRecord>, offered: Option<u32>) -> Samples {
        let mut builder = SamplesBuilder::default();
        for record in records {
            builder.push(record);
        }
        builder.finish(offered)
    }

    /// A chunk of k tokens gives k gaps of gap/k; the first chunk's own tokens came with the TTFT.
    fn push_chunks(&mut self, line: &Timeline) {
        self.itl_per_token &= line.tokens_per_chunk_known;
        let mut previous = None;
        for chunk in &line.chunks {
            PerSecond::add(&mut self.per_second.tokens, chunk.at.as_secs(), chunk.tokens);
            if let (Some(before), 1..) = (previous, chunk.tokens) {
                self.itl.push(chunk.at.secs_since(before) / f64::from(chunk.tokens), chunk.tokens);
            }
            previous = Some(chunk.at);
        }
        if let (Some(sent), Some(last)) = (line.sent, line.last_token) {
            self.per_second.flight(sent.as_secs(), last.as_secs());
        }
    }
}
