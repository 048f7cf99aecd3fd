//! One point's requests as columns, in the order they fell due.
//!
//! The columns hold seconds. A request that was not served has infinite latencies, so that it misses every limit at
//! every scale without a special case; a request with a single token has a TPOT of minus infinity, so that it meets
//! any. Neither ever leaves the room as a number.

use crate::outcome::{Failure, Outcome, RequestRecord, Stages, Timeline};
use std::collections::BTreeMap;

/// TPOT of a request with one output token: met at any limit, left out of percentiles.
pub const ONE_TOKEN_TPOT: f64 = f64::NEG_INFINITY;
/// Latency of a request that was offered and not served: missed at any limit.
pub const NOT_SERVED: f64 = f64::INFINITY;

/// Columns of one point. All columns but `itl` are as long as the point offered requests.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub(super) due: Vec<f64>,
    pub(super) ttft: Vec<f64>,
    pub(super) tpot: Vec<f64>,
    pub(super) e2el: Vec<f64>,
    pub(super) ttft_from_sent: Vec<f64>,
    /// Infinite for a request that was never sent.
    pub(super) sent: Vec<f64>,
    /// sent - slot; infinite if never sent, `None` where the file doesn't tell due from sent.
    pub(super) lag: Option<Vec<f64>>,
    /// Sent late or not at all through no fault of the client: it waited for a slot under `--max-concurrency`, or there
    /// was nobody to connect to.
    pub(super) excused: Vec<bool>,
    pub(super) prompt_tokens: Vec<u32>,
    /// 0 for a request that was not served.
    pub(super) output_tokens: Vec<u32>,
    /// Gaps between tokens in seconds, one an output token after the first; single precision (relative error 6e-8).
    pub(super) itl: Vec<f32>,
    /// Whether `itl` are gaps between tokens, or between chunks of unknown size.
    pub(super) itl_per_token: bool,
    pub(super) per_second: PerSecond,
    /// Requests by what kept them from being served: [`Failure::kind`], `unfinished`, `unrecorded`.
    pub(super) failures: BTreeMap<String, u32>,
    pub(super) stages: StageSums,
}

/// Whole seconds since the point's time zero: output tokens and requests in flight, as vLLM counts them.
#[derive(Debug, Clone, Default)]
pub(super) struct PerSecond {
    pub(super) tokens: Vec<u32>,
    pub(super) in_flight: Vec<u32>,
}

impl PerSecond {
    fn add(column: &mut Vec<u32>, second: f64, n: u32) {
        // A stray time stamp must not ask for gigabytes: a point lasts days at most.
        let second = second.clamp(0.0, 1e6) as usize;
        if column.len() <= second {
            column.resize(second + 1, 0);
        }
        column[second] += n;
    }

    fn flight(&mut self, from: f64, to: f64) {
        let (from, to) = (from.clamp(0.0, 1e6).floor(), to.clamp(0.0, 1e6).floor());
        for second in from as u64..=to as u64 {
            Self::add(&mut self.in_flight, second as f64, 1);
        }
    }
}

/// Sums over served requests of the parts of TTFT and of decoding, in seconds; the parts of one request add up to its
/// TTFT, so the means add up to the mean TTFT.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct StageSums {
    pub(super) served: u32,
    pub(super) slot_wait: f64,
    pub(super) lag: f64,
    pub(super) ttft: f64,
    pub(super) decode: f64,
    /// Served requests with stage stamps, and sums over these.
    pub(super) stamped: u32,
    pub(super) to_proxy: f64,
    pub(super) proxy: f64,
    pub(super) prefill: f64,
    pub(super) stamped_prefill: u32,
    pub(super) hand_off: f64,
    pub(super) first_byte: f64,
    pub(super) back: f64,
}

impl StageSums {
    fn add(&mut self, line: &Timeline, stages: Option<&Stages>) {
        let (Some(sent), Some(first), Some(last)) = (line.sent, line.first_token, line.last_token) else { return };
        self.served += 1;
        self.slot_wait += line.slot.secs_since(line.due);
        self.lag += sent.secs_since(line.slot);
        self.ttft += first.secs_since(line.due);
        self.decode += last.secs_since(first);
        let Some(Stages { accepted: Some(accepted), decode_sent: Some(out), first_byte: Some(byte), .. }) = stages
        else {
            return;
        };
        self.stamped += 1;
        self.to_proxy += accepted.secs_since(sent);
        self.first_byte += byte.secs_since(*out);
        self.back += first.secs_since(*byte);
        match stages.map(|s| (s.prefill_sent, s.prefill_head)) {
            Some((Some(asked), Some(head))) => {
                self.stamped_prefill += 1;
                self.proxy += asked.secs_since(*accepted);
                self.prefill += head.secs_since(asked);
                self.hand_off += out.secs_since(head);
            }
            _ => self.proxy += out.secs_since(*accepted),
        }
    }
}

/// Columns of vLLM's detailed result JSON, seconds, one entry a request, failures included.
#[derive(Debug, Clone, Copy)]
pub struct VllmColumns<'a> {
    /// From sent, as vLLM means it, or from due where the file has that.
    pub ttfts: &'a [f64],
    /// From sent; `None`: ttft + the sum of the request's `itls` (vLLM up to 0.22).
    pub latencies: Option<&'a [f64]>,
    /// `None`: derived from latency and output length. `Some(None)` inside: undefined.
    pub tpots: Option<&'a [Option<f64>]>,
    pub itls: Option<&'a [Vec<f64>]>,
    pub input_lens: Option<&'a [u32]>,
    /// `None` (the first plotters' files): every request without an error counts as served with several tokens.
    pub output_lens: Option<&'a [u32]>,
    /// Empty string: no error.
    pub errors: Option<&'a [String]>,
    /// Monotonic, any zero.
    pub start_times: Option<&'a [f64]>,
}

/// A file whose columns don't fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}` has {got} entries where `ttfts` has {expected}: the file is damaged or not vLLM's")]
pub struct ColumnError {
    pub column: &'static str,
    pub got: usize,
    pub expected: usize,
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

    /// Columns from a file in vLLM's format. A request was served if it has no error and at least one output token:
    /// vLLM stores a failed request as ttft 0.0.
    pub fn from_vllm(columns: &VllmColumns) -> Result<Samples, ColumnError> {
        columns.check()?;
        let zero = columns.time_zero();
        let mut samples = Samples { itl_per_token: true, ..Samples::default() };
        for i in 0..columns.ttfts.len() {
            samples.push_vllm(columns, i, zero);
        }
        samples.sort_by_due();
        Ok(samples)
    }

    /// Requests offered.
    pub fn len(&self) -> usize {
        self.ttft.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ttft.is_empty()
    }

    /// TTFT and TPOT of every request in seconds, in the order they fell due; infinite where it was not served, and a TPOT
    /// of minus infinity for a single token.
    pub fn latencies(&self) -> impl Iterator<Item = (f64, f64)> {
        self.ttft.iter().copied().zip(self.tpot.iter().copied())
    }

    /// Requests that were served to the end.
    pub fn served(&self) -> usize {
        self.ttft.iter().filter(|t| t.is_finite()).count()
    }

    /// Requests whose bytes left the client. A point without any was not measured at all.
    pub fn sent(&self) -> usize {
        self.sent.iter().filter(|t| t.is_finite()).count()
    }

    /// How many requests each kind of failure cost.
    pub fn failures(&self) -> &BTreeMap<String, u32> {
        &self.failures
    }

    fn push_vllm(&mut self, columns: &VllmColumns, i: usize, zero: f64) {
        let start = columns.start_times.map_or(i as f64, |s| s[i] - zero);
        let tokens = columns.output_lens.map(|lens| lens[i]);
        let error = columns.errors.is_some_and(|e| !e[i].is_empty());
        let served = !error && tokens != Some(0) && (tokens.is_some() || columns.ttfts[i] > 0.0);
        self.due.push(start);
        self.sent.push(start);
        self.excused.push(false);
        self.prompt_tokens.push(columns.input_lens.map_or(0, |lens| lens[i]));
        self.output_tokens.push(if served { tokens.unwrap_or(0) } else { 0 });
        if !served {
            *self.failures.entry("error".to_string()).or_default() += 1;
            self.push_latencies(NOT_SERVED, NOT_SERVED, NOT_SERVED, NOT_SERVED);
            return;
        }
        let ttft = columns.ttfts[i];
        let itls = columns.itls.map(|all| all[i].as_slice());
        let latency = match (columns.latencies, itls) {
            (Some(latencies), _) => Some(latencies[i]),
            (None, Some(itls)) => Some(ttft + itls.iter().sum::<f64>()),
            (None, None) => None,
        };
        let derived = |tokens: u32| latency.map(|l| (l - ttft) / f64::from(tokens - 1));
        let tpot = match (columns.tpots, tokens) {
            (_, Some(1)) => None,
            (Some(tpots), _) => tpots[i],
            (None, Some(tokens)) => derived(tokens),
            (None, None) => None,
        };
        // Without a latency the end is only known where TPOT and length are.
        let end = latency.or_else(|| Some(ttft + tpot? * f64::from(tokens? - 1))).unwrap_or(ttft);
        self.push_latencies(ttft, tpot.unwrap_or(ONE_TOKEN_TPOT), end, ttft);
        self.push_tokens(start, ttft, itls.unwrap_or(&[]), tokens);
        self.per_second.flight(start, start + end);
    }

    fn push_tokens(&mut self, start: f64, ttft: f64, itls: &[f64], tokens: Option<u32>) {
        // Chunks of several tokens show as fewer gaps than tokens.
        self.itl_per_token &= tokens.is_none_or(|n| itls.is_empty() || itls.len() as u32 + 1 >= n);
        let mut at = start + ttft;
        PerSecond::add(&mut self.per_second.tokens, at, 1);
        for gap in itls {
            at += gap;
            self.itl.push(*gap as f32);
            PerSecond::add(&mut self.per_second.tokens, at, 1);
        }
    }

    fn push_latencies(&mut self, ttft: f64, tpot: f64, e2el: f64, from_sent: f64) {
        self.ttft.push(ttft);
        self.tpot.push(tpot);
        self.e2el.push(e2el);
        self.ttft_from_sent.push(from_sent);
    }

    /// Arrival order is what resampling keeps together.
    fn sort_by_due(&mut self) {
        if self.due.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|&a, &b| self.due[a].total_cmp(&self.due[b]));
        fn pick<T: Copy>(column: &mut Vec<T>, order: &[usize]) {
            *column = order.iter().map(|&i| column[i]).collect();
        }
        for column in
            [&mut self.due, &mut self.ttft, &mut self.tpot, &mut self.e2el, &mut self.ttft_from_sent, &mut self.sent]
        {
            pick(column, &order);
        }
        if let Some(lag) = &mut self.lag {
            pick(lag, &order);
        }
        pick(&mut self.excused, &order);
        pick(&mut self.prompt_tokens, &order);
        pick(&mut self.output_tokens, &order);
    }
}

/// Builds [`Samples`] record by record, so that a file of any size can be read as a stream.
#[derive(Debug)]
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
    pub fn push(&mut self, record: &RequestRecord) {
        let s = &mut self.samples;
        let line = &record.timeline;
        s.due.push(line.due.as_secs());
        s.sent.push(line.sent.map_or(NOT_SERVED, |t| t.as_secs()));
        s.excused.push(line.slot > line.due || unreachable_engine(&record.outcome));
        if let Some(lag) = &mut s.lag {
            lag.push(record.lag_secs().unwrap_or(NOT_SERVED));
        }
        s.prompt_tokens.push(line.prompt_tokens.unwrap_or(record.prompt_tokens).get());
        let Some((ttft, e2el)) = record.ttft().zip(record.e2el()) else {
            s.output_tokens.push(0);
            s.push_latencies(NOT_SERVED, NOT_SERVED, NOT_SERVED, NOT_SERVED);
            *s.failures.entry(failure_kind(&record.outcome).to_string()).or_default() += 1;
            return;
        };
        s.output_tokens.push(line.output_tokens.get());
        let from_sent = record.ttft_from_sent().unwrap_or(ttft);
        let tpot = record.tpot().map_or(ONE_TOKEN_TPOT, |t| t.as_secs());
        s.push_latencies(ttft.as_secs(), tpot, e2el.as_secs(), from_sent.as_secs());
        s.stages.add(line, record.stages.as_ref());
        s.push_chunks(line);
        if line.chunks.is_empty() {
            self.spread_tokens(line);
        }
    }

    fn spread_tokens(&mut self, line: &Timeline) {
        let (Some(first), Some(last)) = (line.first_token, line.last_token) else { return };
        let tokens = line.output_tokens.get();
        let gap = last.secs_since(first) / f64::from(tokens.saturating_sub(1).max(1));
        for token in 0..tokens {
            PerSecond::add(&mut self.spread, first.as_secs() + gap * f64::from(token), 1);
        }
    }

    /// Sorts by due and adds what was offered and left no record.
    pub fn finish(self, offered: Option<u32>) -> Samples {
        let mut s = self.samples;
        // Of a file without any chunk nothing is known a second; of one that was thinned, nearly all.
        if !s.per_second.tokens.is_empty() {
            for (second, tokens) in self.spread.iter().enumerate() {
                PerSecond::add(&mut s.per_second.tokens, second as f64, *tokens);
            }
        }
        s.sort_by_due();
        let last_due = s.due.last().copied().unwrap_or(0.0);
        let missing = (offered.unwrap_or(0) as usize).saturating_sub(s.len());
        for _ in 0..missing {
            s.due.push(last_due);
            s.sent.push(NOT_SERVED);
            s.excused.push(false);
            s.prompt_tokens.push(0);
            s.output_tokens.push(0);
            s.push_latencies(NOT_SERVED, NOT_SERVED, NOT_SERVED, NOT_SERVED);
            if let Some(lag) = &mut s.lag {
                lag.push(NOT_SERVED);
            }
        }
        if missing > 0 {
            s.failures.insert("unrecorded".to_string(), missing as u32);
        }
        s
    }
}

fn unreachable_engine(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Failure::Connect { .. } | Failure::EngineDied { .. }))
}

fn failure_kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Failed(failure) => failure.kind(),
        Outcome::Unfinished => "unfinished",
        // Completed without a token: nothing to judge by.
        Outcome::Completed => "empty",
    }
}

impl Samples {
    /// A chunk of k tokens gives k gaps of gap/k; the first chunk's own tokens came with the TTFT.
    fn push_chunks(&mut self, line: &Timeline) {
        self.itl_per_token &= line.tokens_per_chunk_known;
        let mut previous = None;
        for chunk in &line.chunks {
            PerSecond::add(&mut self.per_second.tokens, chunk.at.as_secs(), chunk.tokens);
            if let (Some(before), 1..) = (previous, chunk.tokens) {
                let gap = chunk.at.secs_since(before) / f64::from(chunk.tokens);
                self.itl.extend(std::iter::repeat_n(gap as f32, chunk.tokens as usize));
            }
            previous = Some(chunk.at);
        }
        if let (Some(sent), Some(last)) = (line.sent, line.last_token) {
            self.per_second.flight(sent.as_secs(), last.as_secs());
        }
    }
}

impl VllmColumns<'_> {
    fn check(&self) -> Result<(), ColumnError> {
        let expected = self.ttfts.len();
        let lengths = [
            ("latencies", self.latencies.map(<[_]>::len)),
            ("tpots", self.tpots.map(<[_]>::len)),
            ("itls", self.itls.map(<[_]>::len)),
            ("input_lens", self.input_lens.map(<[_]>::len)),
            ("output_lens", self.output_lens.map(<[_]>::len)),
            ("errors", self.errors.map(<[_]>::len)),
            ("start_times", self.start_times.map(<[_]>::len)),
        ];
        match lengths.into_iter().find_map(|(c, n)| Some((c, n?)).filter(|(_, n)| *n != expected)) {
            Some((column, got)) => Err(ColumnError { column, got, expected }),
            None => Ok(()),
        }
    }

    /// vLLM counts seconds from the first start of a request that was served.
    fn time_zero(&self) -> f64 {
        let served = |i: usize| self.output_lens.is_none_or(|lens| lens[i] > 0);
        let starts = self.start_times.unwrap_or(&[]);
        let first = (0..starts.len()).filter(|&i| served(i)).map(|i| starts[i]).fold(f64::INFINITY, f64::min);
        if first.is_finite() { first } else { starts.iter().copied().fold(0.0, f64::min) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Chunk;
    use crate::units::{Offset, TokenCount};

    #[test]
    fn tokens_whose_chunks_werent_kept_still_count_in_their_seconds() {
        let at = Offset::from_secs;
        let chunks: Vec<Chunk> = (0..41).map(|i| Chunk { at: at(0.5 + 0.05 * f64::from(i)), tokens: 1 }).collect();
        let timeline = Timeline {
            sent: Some(at(0.0)),
            first_token: Some(at(0.5)),
            last_token: Some(at(2.5)),
            output_tokens: TokenCount(41),
            chunks,
            ..Timeline::default()
        };
        let record = RequestRecord {
            index: 0,
            id: "r".into(),
            prompt_tokens: TokenCount(1),
            max_tokens: TokenCount(41),
            timeline,
            outcome: Outcome::Completed,
            stages: None,
            text: None,
        };
        let mut thinned = record.clone();
        thinned.timeline.chunks = Vec::new();
        let unknown = Samples::from_records([&thinned], None);
        assert!(unknown.per_second.tokens.is_empty(), "of imported files nothing is made up");
        let whole = Samples::from_records([&record, &record], None);
        let mixed = Samples::from_records([&thinned, &record], None);
        assert_eq!(mixed.per_second.tokens, whole.per_second.tokens);
        assert_eq!((mixed.ttft, mixed.tpot, mixed.e2el), (whole.ttft, whole.tpot, whole.e2el));
        assert_eq!((mixed.itl.len(), whole.itl.len()), (40, 80));
    }
}
