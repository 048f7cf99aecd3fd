//! One point's requests as columns, in the order they fell due: some seventy bytes a request, so that a million of them
//! can be judged in little memory.
//!
//! The columns hold seconds. A request that was not served has infinite latencies, so that it misses every limit at
//! every scale without a special case; a request with a single token has a TPOT of minus infinity, so that it meets
//! any. Neither ever leaves the room as a number: whoever wants single requests gets [`Row`]s.

mod builder;
mod sessions;
mod vllm;

pub use builder::SamplesBuilder;
pub use vllm::{ColumnError, VllmColumns};

use super::gaps::Gaps;
use crate::outcome::{SessionTurn, Stages, Timeline};
use crate::plan::goodput_unit::GoodputUnit;
use crate::units::{E2el, TokenCount, Tpot, Ttft};
use std::collections::BTreeMap;

/// TPOT of a request with one output token: met at any limit, left out of percentiles.
pub const ONE_TOKEN_TPOT: f64 = f64::NEG_INFINITY;
/// Latency of a request that was offered and not served: missed at any limit.
pub const NOT_SERVED: f64 = f64::INFINITY;

/// TPOT of a request that was served with a number of tokens that nobody knows: no limit is known to be kept.
pub const UNKNOWN_TPOT: f64 = f64::INFINITY;
/// Output tokens of such a request.
pub(super) const UNKNOWN_TOKENS: u32 = u32::MAX;
/// Seconds a token that no model reaches: so close together come only tokens that somebody kept back.
const FASTEST_TPOT: f64 = 20e-6;
/// Fewer tokens may come at once by chance: a machine that stumbles holds up a short answer as a whole.
pub(crate) const SEVERAL_TOKENS: u32 = 16;
/// Share of answers that may come in one piece. More, and the answers aren't streamed.
const WHOLE_SHARE: f64 = 0.1;
/// Fate of a request that was offered and left no record.
const UNRECORDED: &str = "unrecorded";

/// Columns of one point, each as long as the point offered requests.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Position in the schedule.
    pub(super) index: Vec<u32>,
    pub(super) due: Vec<f64>,
    pub(super) ttft: Vec<f64>,
    pub(super) tpot: Vec<f64>,
    pub(super) e2el: Vec<f64>,
    /// Infinite for a request that was never sent.
    pub(super) sent: Vec<f64>,
    /// When the outcome was known.
    pub(super) end: Vec<f64>,
    /// sent - slot; infinite if never sent, `None` where the file doesn't tell due from sent.
    pub(super) lag: Option<Vec<f64>>,
    /// Sent late or not at all through no fault of the client: it waited for a slot under `--max-concurrency`, or there
    /// was nobody to connect to.
    pub(super) excused: Vec<bool>,
    pub(super) prompt_tokens: Vec<u32>,
    /// 0 for a request that was not served; [`UNKNOWN_TOKENS`] where nobody counted them.
    pub(super) output_tokens: Vec<u32>,
    /// Served requests whose tokens were counted by us, of their text.
    pub(super) counted_by_us: u32,
    /// Answers of several tokens that came in one piece, where there are too many of them for chance: their TPOT is not
    /// known.
    pub(super) whole: usize,
    /// Gaps between tokens, one an output token after the first.
    pub(super) itl: Gaps,
    /// Whether `itl` are gaps between tokens, or between chunks of unknown size.
    pub(super) itl_per_token: bool,
    pub(super) per_second: PerSecond,
    pub(super) fates: Fates,
    pub(super) stages: StageSums,
    /// Which turn of which session each is; empty where turns don't wait for each other.
    pub(super) turns: Vec<SessionTurn>,
    /// Requests a second that were offered, where due times follow the answers.
    pub(super) offered_rate: Option<f64>,
    /// What is judged: requests, or sessions that were put in their place.
    pub(super) judged_per: GoodputUnit,
}

/// What became of each request, a byte each.
#[derive(Debug, Clone, Default)]
pub(super) struct Fates {
    words: Vec<&'static str>,
    column: Vec<u8>,
    counts: BTreeMap<&'static str, u32>,
}

impl Fates {
    const SERVED: &'static str = "completed";

    fn push(&mut self, word: &'static str) {
        let known = self.words.iter().position(|w| *w == word);
        let at = known.unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        });
        // There are a dozen words.
        self.column.push(at as u8);
        if word != Self::SERVED {
            *self.counts.entry(word).or_default() += 1;
        }
    }
}

/// One request of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub index: u32,
    /// Seconds since the point's time zero, as are the other times.
    pub due: f64,
    pub sent: Option<f64>,
    /// When the outcome was known.
    pub end: f64,
    /// `completed`, a [`Failure::kind`](crate::outcome::Failure::kind), `unfinished`, `empty`, or `unrecorded` for a
    /// request that was offered and left no record.
    pub fate: &'static str,
    pub prompt_tokens: TokenCount,
    /// 0 for a request that was not served; `None` where nobody counted them.
    pub output_tokens: Option<TokenCount>,
    /// `None` unless it was served.
    pub ttft: Option<Ttft>,
    /// `None` unless it was served with two tokens or more.
    pub tpot: Option<Tpot>,
    /// `None` unless it was served.
    pub e2el: Option<E2el>,
}

impl Row {
    pub fn served(&self) -> bool {
        self.ttft.is_some()
    }

    pub fn is_recorded(&self) -> bool {
        self.fate != UNRECORDED
    }
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
    /// How long decode already waited while the prompt was computed: part of its own queue time, and of `prefill`.
    pub(super) overlap: f64,
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
        self.back += first.secs_since(*byte);
        match stages.map(|s| (s.prefill_sent, s.prefill_head)) {
            Some((Some(asked), Some(head))) => {
                // With pushed KV decode has its request from the start, and its first token may be here before the
                // prefill's answer is.
                let computed = head.min(*byte);
                let handed = computed.max(*out);
                self.stamped_prefill += 1;
                self.proxy += asked.secs_since(*accepted);
                self.prefill += computed.secs_since(asked);
                self.hand_off += handed.secs_since(computed);
                self.first_byte += byte.secs_since(handed);
                self.overlap += computed.secs_since(*out).max(0.0);
            }
            _ => {
                self.proxy += out.secs_since(*accepted);
                self.first_byte += byte.secs_since(*out);
            }
        }
    }
}

impl Samples {
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

    /// Requests that were served and of which nobody knows how long their tokens took.
    pub fn unknown_tpots(&self) -> usize {
        self.uncounted() + self.whole
    }

    /// Served requests whose answers came in one piece, where those are too many for chance.
    pub fn whole(&self) -> usize {
        self.whole
    }

    /// Finds answers that came in one piece, and takes their TPOT for unknown if there are more than chance would bring.
    pub(super) fn doubt_whole_answers(&mut self) {
        let came_whole = |i: &usize| {
            (SEVERAL_TOKENS..UNKNOWN_TOKENS).contains(&self.output_tokens[*i])
                && (0.0..FASTEST_TPOT).contains(&self.tpot[*i])
        };
        let whole: Vec<usize> = (0..self.len()).filter(came_whole).collect();
        if whole.len() as f64 > WHOLE_SHARE * self.served() as f64 {
            whole.iter().for_each(|i| self.tpot[*i] = UNKNOWN_TPOT);
            self.whole = whole.len();
        }
    }

    /// Requests that were served with a number of tokens that nobody knows: their TPOT is not known either.
    pub fn uncounted(&self) -> usize {
        self.output_tokens.iter().filter(|n| **n == UNKNOWN_TOKENS).count()
    }

    /// Requests whose bytes left the client. A point without any was not measured at all.
    pub fn sent(&self) -> usize {
        self.sent.iter().filter(|t| t.is_finite()).count()
    }

    /// How many requests each kind of failure cost.
    pub fn failures(&self) -> &BTreeMap<&'static str, u32> {
        &self.fates.counts
    }

    /// The requests one by one, in the order they fell due.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.len()).map(|i| Row {
            index: self.index[i],
            due: self.due[i],
            sent: Some(self.sent[i]).filter(|t| t.is_finite()),
            end: self.end[i],
            fate: self.fates.words[usize::from(self.fates.column[i])],
            prompt_tokens: TokenCount(self.prompt_tokens[i]),
            output_tokens: Some(self.output_tokens[i]).filter(|n| *n != UNKNOWN_TOKENS).map(TokenCount),
            ttft: Some(self.ttft[i]).filter(|t| t.is_finite()).map(Ttft::from_secs),
            tpot: Some(self.tpot[i]).filter(|t| t.is_finite()).map(Tpot::from_secs),
            e2el: Some(self.e2el[i]).filter(|t| t.is_finite()).map(E2el::from_secs),
        })
    }

    /// First token from sent, as vLLM means TTFT, of the requests that were served.
    pub(super) fn ttft_from_sent(&self) -> impl Iterator<Item = f64> + '_ {
        let late = self.sent.iter().zip(&self.due).map(|(sent, due)| sent - due);
        self.ttft.iter().zip(late).filter(|(ttft, _)| ttft.is_finite()).map(|(ttft, late)| ttft - late)
    }

    /// Last token from sent, as vLLM means E2EL, of the requests that were served.
    pub(super) fn e2el_from_sent(&self) -> impl Iterator<Item = f64> + '_ {
        let late = self.sent.iter().zip(&self.due).map(|(sent, due)| sent - due);
        self.e2el.iter().zip(late).filter(|(e2el, _)| e2el.is_finite()).map(|(e2el, late)| e2el - late)
    }

    fn push_latencies(&mut self, ttft: f64, tpot: f64, e2el: f64) {
        self.ttft.push(ttft);
        self.tpot.push(tpot);
        self.e2el.push(e2el);
    }

    fn push_not_served(&mut self, why: &'static str) {
        self.fates.push(why);
        self.output_tokens.push(0);
        self.push_latencies(NOT_SERVED, NOT_SERVED, NOT_SERVED);
    }

    /// Arrival order is what resampling keeps together; what falls due at once keeps the schedule's order.
    fn sort_by_due(&mut self) {
        // Where due times follow the answers, the schedule's order is the one that arms have in common.
        let causal = self.is_causal();
        let due = |i: usize| if causal { 0.0 } else { self.due[i] };
        let key = |i: usize| (due(i), self.index[i]);
        let before = |a: usize, b: usize| due(a).total_cmp(&due(b)).then(self.index[a].cmp(&self.index[b]));
        if (1..self.len()).all(|i| key(i - 1) <= key(i)) {
            return;
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| before(a as usize, b as usize));
        fn pick<T: Copy>(column: &mut Vec<T>, order: &[u32]) {
            *column = order.iter().map(|&i| column[i as usize]).collect();
        }
        for column in [&mut self.due, &mut self.ttft, &mut self.tpot, &mut self.e2el, &mut self.sent, &mut self.end] {
            pick(column, &order);
        }
        if let Some(lag) = &mut self.lag {
            pick(lag, &order);
        }
        pick(&mut self.excused, &order);
        if causal {
            pick(&mut self.turns, &order);
        }
        pick(&mut self.fates.column, &order);
        for column in [&mut self.index, &mut self.prompt_tokens, &mut self.output_tokens] {
            pick(column, &order);
        }
    }
}

#[cfg(test)]
mod tests;
