//! The shared nouns of a measurement: what was asked for, what happened, and what is known about the point.
//!
//! These types are what `drive` produces, `record` stores and `analyse` judges. A missing value is an `Option`,
//! never a zero: a failed request has no TTFT.

mod engines;
mod hand_over;
mod ranks;

pub use engines::{EngineCounters, TimeSum};
pub use hand_over::{HandOverFacts, KvSpan, KvTotals};
pub use ranks::RankCounters;

use crate::units::{E2el, Offset, RequestRate, TokenCount, Tpot, Ttft};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One request of the schedule, complete before the first send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Position in the point's schedule, from 0.
    pub index: u32,
    /// When it is to be sent.
    pub due: Offset,
    /// Prompt length in the model's tokens.
    pub prompt_tokens: TokenCount,
    /// Output length asked for (`max_tokens`).
    pub output_tokens: TokenCount,
    /// Names the prompt: with the dataset and the run's seed it makes the same prompt again.
    pub seed: u64,
}

/// Which turn of a session a request is, where turns wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTurn {
    /// Number of the session within its point, from 0 in the order in which they begin.
    pub session: u32,
    /// From 0.
    pub turn: u32,
    /// Turns that the session has in this point.
    #[serde(rename = "turns")]
    pub of: u32,
    /// Between the end of the turn before and this one's due time.
    pub think: Offset,
    /// When it would be due if answers took no time: the same for every arm.
    pub planned: Offset,
}

/// Tokens that arrived in one chunk of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// When the bytes arrived.
    pub at: Offset,
    /// Generated tokens in it; 1 is assumed where the server doesn't say.
    pub tokens: u32,
}

/// Who counted the tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedBy {
    /// The server, in `usage`.
    #[default]
    Server,
    /// We, of the answer's text: about right, since a text can be cut into tokens in several ways.
    Tokenizer,
}

impl CountedBy {
    fn is_the_server(&self) -> bool {
        *self == CountedBy::Server
    }
}

/// What the clock said of one request. All offsets share the point's time zero.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// When the schedule wanted it sent.
    pub due: Offset,
    /// When a slot was free under `--max-concurrency`; equals due without a limit.
    pub slot: Offset,
    /// When its bytes were handed to the socket; `None`: never sent.
    pub sent: Option<Offset>,
    /// First chunk with a generated token.
    pub first_token: Option<Offset>,
    /// Last chunk with a generated token.
    pub last_token: Option<Offset>,
    /// When the outcome was known.
    pub end: Offset,
    /// Every chunk that carried tokens.
    #[serde(with = "compact_chunks")]
    pub chunks: Vec<Chunk>,
    /// Whether `chunks[..].tokens` are counts (by usage, or because there are as many chunks as tokens), or one assumed for
    /// each chunk.
    pub tokens_per_chunk_known: bool,
    /// Generated tokens; `None`: nobody counted them in a way that can be true.
    pub output_tokens: Option<TokenCount>,
    /// Who counted them.
    #[serde(default, skip_serializing_if = "CountedBy::is_the_server")]
    pub counted_by: CountedBy,
    /// Prompt tokens as the server counted them; the record beside it has the planned number under the shorter name.
    #[serde(rename = "server_prompt_tokens", default)]
    pub prompt_tokens: Option<TokenCount>,
}

/// On disk a chunk is its distance from the one before it (the first: from zero) in whole microseconds; token counts are
/// written only where one of them is not 1. A request of 128 tokens takes 0.7 KB this way, not 4.
mod compact_chunks {
    use super::Chunk;
    use crate::units::Offset;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Compact {
        gaps_us: Vec<u64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<u32>,
    }

    pub(super) fn serialize<S: Serializer>(chunks: &[Chunk], serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0;
        let gaps_us = chunks
            .iter()
            .map(|c| {
                // Rounded as positions, so that the error of a gap never adds up.
                let at = (c.at.as_nanos() + 500) / 1000;
                let gap = at.saturating_sub(before);
                before = at;
                gap
            })
            .collect();
        let plain = chunks.iter().all(|c| c.tokens == 1);
        let tokens = if plain { Vec::new() } else { chunks.iter().map(|c| c.tokens).collect() };
        Compact { gaps_us, tokens }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Chunk>, D::Error> {
        let compact = Compact::deserialize(deserializer)?;
        if !compact.tokens.is_empty() && compact.tokens.len() != compact.gaps_us.len() {
            return Err(serde::de::Error::custom("chunks: as many token counts as gaps are needed"));
        }
        let mut at = 0u64;
        Ok(compact
            .gaps_us
            .iter()
            .enumerate()
            .map(|(i, gap)| {
                at = at.saturating_add(gap.saturating_mul(1000));
                Chunk { at: Offset::from_nanos(at), tokens: compact.tokens.get(i).copied().unwrap_or(1) }
            })
            .collect())
    }
}

/// Why a request was offered and not served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// No connection, or it broke before the status line.
    Connect { detail: String },
    /// An HTTP status other than 200.
    Status { code: u16, detail: String },
    /// 429 or 503 with Retry-After: the server declined to take it.
    Shed { code: u16 },
    /// No byte for longer than the deadline.
    Stalled { after_secs: f64, tokens: u32 },
    /// The stream ended without its end mark, or with fewer tokens than `ignore_eos` promised.
    Truncated { tokens: u32, detail: String },
    /// `data: {"error": ..}` inside a 200 stream.
    InBandError { detail: String },
    /// The hand-off of the KV cache failed or was silently replaced by a recompute.
    KvHandoff { detail: String },
    /// Bytes that are no answer of an OpenAI-compatible server.
    Protocol { detail: String },
    /// The engine's process ended.
    EngineDied { instance: String },
}

impl Failure {
    /// The kind's name as it stands in requests.jsonl.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Connect { .. } => "connect",
            Failure::Status { .. } => "status",
            Failure::Shed { .. } => "shed",
            Failure::Stalled { .. } => "stalled",
            Failure::Truncated { .. } => "truncated",
            Failure::InBandError { .. } => "in_band_error",
            Failure::KvHandoff { .. } => "kv_handoff",
            Failure::Protocol { .. } => "protocol",
            Failure::EngineDied { .. } => "engine_died",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Connect { detail } => write!(f, "no connection: {detail}"),
            Failure::Status { code, detail } => write!(f, "HTTP {code}: {detail}"),
            Failure::Shed { code } => write!(f, "shed with HTTP {code}"),
            Failure::Stalled { after_secs, tokens } => {
                write!(f, "nothing of the answer came for {after_secs:.1} s after {tokens} tokens")
            }
            Failure::Truncated { tokens, detail } => write!(f, "ended after {tokens} tokens: {detail}"),
            Failure::InBandError { detail } => write!(f, "error inside the stream: {detail}"),
            Failure::KvHandoff { detail } => write!(f, "KV hand-off failed: {detail}"),
            Failure::Protocol { detail } => write!(f, "not an OpenAI-compatible answer: {detail}"),
            Failure::EngineDied { instance } => write!(f, "engine {instance} died"),
        }
    }
}

/// How an offered request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "failure", rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    Failed(Failure),
    /// Cut off by the end of the run or an interrupt.
    Unfinished,
}

/// Stage stamps of the proxy, on the client's clock; `None` where the request never reached the stage.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stages {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<Offset>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prefill_sent: Option<Offset>,
    /// Head of the prefill answer: the prompt is processed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prefill_head: Option<Offset>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decode_sent: Option<Offset>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte: Option<Offset>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<Offset>,
    /// Index of the prefill instance that served it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prefill: Option<u32>,
    /// Index of the decode instance (or replica) that served it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decode: Option<u32>,
}

/// One line of requests.jsonl without its point: a request, its times, its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    pub index: u32,
    /// `X-Request-Id` it was sent with.
    pub id: String,
    /// Prompt length planned; the server's own count is in the timeline.
    pub prompt_tokens: TokenCount,
    /// Output length asked for.
    pub max_tokens: TokenCount,
    #[serde(flatten)]
    pub timeline: Timeline,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stages: Option<Stages>,
    /// `None` where turns don't wait for each other.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub turn: Option<SessionTurn>,
    /// Generated text, where it was asked to be kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
}

impl RequestRecord {
    pub fn completed(&self) -> bool {
        self.outcome == Outcome::Completed
    }

    /// Prompt tokens as the server counted them, with what its template or its pictures add. What can't be true of what was
    /// sent is not believed.
    pub(crate) fn counted_prompt(&self) -> TokenCount {
        let planned = self.prompt_tokens.get();
        let most = planned.saturating_mul(16).saturating_add(1 << 16);
        self.timeline.prompt_tokens.filter(|counted| counted.get() <= most).unwrap_or(self.prompt_tokens)
    }

    /// First token from due; `None` unless the request completed.
    pub fn ttft(&self) -> Option<Ttft> {
        let first = self.timeline.first_token.filter(|_| self.completed())?;
        Some(Ttft::from_secs(first.secs_since(self.timeline.due)))
    }

    /// First token from sent, as vLLM means TTFT; `None` unless the request completed.
    pub fn ttft_from_sent(&self) -> Option<Ttft> {
        let first = self.timeline.first_token.filter(|_| self.completed())?;
        Some(Ttft::from_secs(first.secs_since(self.timeline.sent?)))
    }

    /// Undefined (`None`) for a request that didn't complete, or completed with a single token; unknown (`None` as well)
    /// where its tokens are, see [`RequestRecord::lacks_count`].
    pub fn tpot(&self) -> Option<Tpot> {
        let (first, last) = (self.timeline.first_token?, self.timeline.last_token?);
        let gaps = self.timeline.output_tokens?.get().checked_sub(1).filter(|&n| n > 0)?;
        self.completed().then(|| Tpot::from_secs(last.secs_since(first) / f64::from(gaps)))
    }

    /// Whether it completed with a number of tokens that nobody knows.
    pub fn lacks_count(&self) -> bool {
        self.completed() && self.timeline.output_tokens.is_none()
    }

    /// Last token from due; `None` unless the request completed.
    pub fn e2el(&self) -> Option<E2el> {
        let last = self.timeline.last_token.filter(|_| self.completed())?;
        Some(E2el::from_secs(last.secs_since(self.timeline.due)))
    }

    /// How late the client itself was: sent - slot, in seconds; `None` if never sent.
    pub fn lag_secs(&self) -> Option<f64> {
        self.timeline.sent.map(|sent| sent.secs_since(self.timeline.slot))
    }
}

/// What became of a point, as recorded. Whether it is *valid* depends on the SLO and is judged in `analyse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    Measured,
    /// A fault hit some requests, which count as missed.
    Degraded,
    /// Could not be measured.
    Failed,
}

impl PointStatus {
    pub fn word(self) -> &'static str {
        match self {
            PointStatus::Measured => "measured",
            PointStatus::Degraded => "degraded",
            PointStatus::Failed => "failed",
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Incomplete,
    Completed,
    Cancelled,
    Failed,
}

impl RunStatus {
    pub fn word(self) -> &'static str {
        match self {
            RunStatus::Incomplete => "incomplete",
            RunStatus::Completed => "completed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::Failed => "failed",
        }
    }
}

/// Identifies a point of a run: repeats of a rate differ in `attempt`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PointKey {
    pub rate: RequestRate,
    pub attempt: u32,
}

/// GPUs over the point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuFacts {
    /// Joules used by all GPUs of the deployment.
    pub energy_joules: Option<f64>,
    /// The same by role, where a deployment has roles and no GPU serves two.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub joules_by_role: BTreeMap<String, f64>,
    /// Throttle reasons that make the point doubtful, e.g. `hw_thermal_slowdown on GPU 1`.
    pub throttled: Vec<String>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What is known about a point beside its requests: written by the session, judged by `analyse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointFacts {
    #[serde(flatten)]
    pub key: PointKey,
    /// Which launch of the arm's fleet it was measured on, from 1. Points of one launch share its luck.
    #[serde(default)]
    pub launch: u32,
    /// Where that fleet ran, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub status: PointStatus,
    /// Why the point is degraded or failed, one sentence each.
    #[serde(default)]
    pub why: Vec<String>,
    /// Requests of the schedule, sent or not.
    pub offered: u32,
    /// Of them, those whose prompt the run had sent before: the dataset has fewer prompts than the run has requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated_prompts: u32,
    /// Prompt tokens that an earlier prompt of the point began with: what a prefix cache without end would find. `None`:
    /// nobody knows, as of texts that were not made to share anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated_tokens: Option<u64>,
    /// Seconds from the first due to the last outcome.
    pub duration_secs: f64,
    /// Wall clock at the point's time zero, RFC 3339: to find it in logs, never for latency.
    pub started_at: String,
    /// Engine processes that ended or were restarted while it ran.
    #[serde(default)]
    pub engine_restarts: u32,
    /// `None`: no engine metrics could be read.
    #[serde(default)]
    pub engines: Option<EngineCounters>,
    /// Of engines with several data-parallel ranks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankCounters>,
    #[serde(default)]
    pub gpus: Option<GpuFacts>,
    /// `None`: no decode instance counts hand-overs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOverFacts>,
    /// The engines' profiler ran: its times are not the deployment's, and are not judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profiled: bool,
    /// Measured only to choose rates by: too short to be judged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pilot: bool,
    /// The point ended early, because it could no longer meet the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<EarlyStop>,
}

/// What was certain when a point was ended early.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    /// Seconds from the point's time zero.
    pub after_secs: f64,
    /// Requests that the whole point would have offered.
    pub planned: u32,
    /// Of them, those that were certain to miss the SLO by then.
    pub missed: u32,
}

impl EarlyStop {
    /// The share of the whole point's requests that miss, at the least.
    pub fn missed_at_least(&self) -> f64 {
        f64::from(self.missed) / f64::from(self.planned.max(1))
    }
}
