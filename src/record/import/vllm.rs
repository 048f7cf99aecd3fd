//! vLLM's detailed result format, and what writes its fields. vLLM stores a failed request as a TTFT of 0.0; it is read
//! as what it was, a failure.

use super::loose::Loose;
use super::point::{ImportedFacts, ImportedPoint};
use crate::analyse::samples::SEVERAL_TOKENS;
use crate::files;
use crate::outcome::{Chunk, CountedBy, Failure, Outcome, RequestRecord, Timeline};
use crate::units::{Offset, RequestRate, TokenCount};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// Share of requests that may have come in one piece of several tokens. More, and the server doesn't stream, so that
/// nobody knows its TPOT.
const WHOLE_SHARE: f64 = 0.01;

type NumberColumn = Option<Vec<Loose>>;

/// What the file says, detail arrays typed, everything else kept as it stands.
#[derive(Debug, Clone, Deserialize)]
pub struct VllmFile {
    #[serde(default)]
    request_rate: Value,
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    model_id: Option<String>,
    #[serde(default)]
    duration: Loose,
    #[serde(default)]
    input_lens: NumberColumn,
    #[serde(default)]
    output_lens: NumberColumn,
    #[serde(default)]
    ttfts: NumberColumn,
    /// Ours: TTFT from due.
    #[serde(default)]
    ttfts_due: NumberColumn,
    #[serde(default)]
    tpots: NumberColumn,
    #[serde(default)]
    itls: Option<Vec<Option<Vec<Loose>>>>,
    #[serde(default)]
    latencies: NumberColumn,
    #[serde(default)]
    start_times: NumberColumn,
    #[serde(default)]
    errors: Option<Vec<Value>>,
    /// Often the largest part of a file, and never looked at.
    #[serde(default, rename = "generated_texts")]
    _generated_texts: serde::de::IgnoredAny,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

/// How long a request's tokens took after the first.
enum Decode {
    Secs(f64),
    /// Several tokens came in one piece.
    Whole,
    Unknown,
}

impl Decode {
    /// Of several tokens. Many in no time at all came in one piece, and less time than none is no measurement.
    fn of(secs: f64, tokens: Option<u32>) -> Decode {
        match secs {
            0.0 if tokens.is_some_and(|tokens| tokens >= SEVERAL_TOKENS) => Decode::Whole,
            secs if secs >= 0.0 && secs.is_finite() => Decode::Secs(secs),
            _ => Decode::Unknown,
        }
    }
}

impl VllmFile {
    /// # Errors
    /// When it is no JSON object, or a column holds what can't stand there.
    pub fn parse(bytes: &[u8]) -> Result<VllmFile, String> {
        files::parse(bytes).map_err(|e| e.to_string())
    }

    fn rate(&self) -> Result<RequestRate, String> {
        let rate = match &self.request_rate {
            Value::Number(n) => n.as_f64().and_then(RequestRate::new),
            Value::String(s) => s.parse().ok(),
            Value::Null => return Err("it has no `request_rate`: nothing tells which point it is".to_string()),
            _ => None,
        };
        // Everything at once with a limit is vLLM's closed loop.
        let limit = || self.count("max_concurrency").and_then(NonZeroU32::new).map(RequestRate::closed);
        let rate = rate.map(|rate| limit().filter(|_| rate.is_infinite()).unwrap_or(rate));
        rate.ok_or_else(|| {
            format!("its request_rate is {}: give each point a rate of requests per second", self.request_rate)
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.other.get(key).and_then(Value::as_str)
    }

    /// A count, also where `--metadata` made it a string.
    fn count(&self, key: &str) -> Option<u32> {
        match self.other.get(key)? {
            Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
            Value::String(s) => s.trim().parse().ok(),
            _ => None,
        }
    }

    /// The point that the file is of.
    ///
    /// # Errors
    /// As [`VllmFile::records`], and without a rate.
    pub fn point(&self) -> Result<ImportedPoint, String> {
        Ok(ImportedPoint {
            rate: self.rate()?,
            records: self.records()?,
            duration_secs: self.duration.get().filter(|secs| *secs > 0.0),
            date: self.date.clone(),
            mode: self.text("deployment_mode").map(str::to_string),
            launch: self.count("launch").map_or(1, |n| n.max(1)),
            host: self.text("host").map(str::to_string),
            facts: self.facts(),
        })
    }

    pub(super) fn is_result(&self) -> bool {
        !self.request_rate.is_null()
    }

    pub(super) fn facts(&self) -> ImportedFacts {
        ImportedFacts {
            model: self.model_id.clone().or_else(|| self.text("model").map(str::to_string)),
            dataset: self.text("dataset_name").map(str::to_string),
            date: self.date.clone(),
            prefill: self.count("num_prefill_instances"),
            decode: self.count("num_decode_instances"),
            tensor_parallel: self.count("tensor_parallel_size"),
            prefill_tp: self.count("prefill_tensor_parallel_size").or_else(|| self.count("prefiller_tp_size")),
            decode_tp: self.count("decode_tensor_parallel_size").or_else(|| self.count("decoder_tp_size")),
            gpus: self.count("num_gpus"),
        }
    }

    /// One record a request, failures included.
    ///
    /// # Errors
    /// When the file has no per-request arrays, they contradict each other in length, or they don't tell TPOT.
    pub fn records(&self) -> Result<Vec<RequestRecord>, String> {
        let n = self.checked_len()?;
        let rate = self.rate()?;
        let begin = (0..n).filter_map(|i| self.due(i)).fold(f64::INFINITY, f64::min);
        let mut doubts = Doubts::default();
        let records = (0..n).map(|i| self.record(i, begin, rate, &mut doubts)).collect();
        doubts.settle()?;
        Ok(records)
    }

    fn checked_len(&self) -> Result<usize, String> {
        let ttfts = self.ttfts.as_ref().ok_or("it has no `ttfts`: measure again with --save-detailed")?;
        let n = ttfts.len();
        if n == 0 {
            return Err("it holds no request: `ttfts` is empty".to_string());
        }
        let lengths = [
            ("tpots", self.tpots.as_ref().map(Vec::len)),
            ("itls", self.itls.as_ref().map(Vec::len)),
            ("latencies", self.latencies.as_ref().map(Vec::len)),
            ("output_lens", self.output_lens.as_ref().map(Vec::len)),
            ("input_lens", self.input_lens.as_ref().map(Vec::len)),
            ("errors", self.errors.as_ref().map(Vec::len)),
            ("start_times", self.start_times.as_ref().map(Vec::len)),
            ("ttfts_due", self.ttfts_due.as_ref().map(Vec::len)),
        ];
        match lengths.into_iter().find_map(|(name, len)| len.filter(|&l| l != n).map(|l| (name, l))) {
            Some((name, len)) => Err(format!("`{name}` has {len} entries and `ttfts` {n}")),
            None => Ok(n),
        }
    }

    /// When request `i` was due, on the file's clock: as much before it was sent as its TTFT from due is longer.
    fn due(&self, i: usize) -> Option<f64> {
        let late = at(&self.ttfts_due, i).zip(at(&self.ttfts, i)).map_or(0.0, |(due, sent)| due - sent);
        Some(at(&self.start_times, i)? - late.max(0.0))
    }

    fn record(&self, i: usize, begin: f64, rate: RequestRate, doubts: &mut Doubts) -> RequestRecord {
        let sent = match at(&self.start_times, i) {
            Some(start) => start - begin,
            None => rate.per_second().recip() * i as f64,
        };
        let error = self.errors.as_ref().and_then(|e| words_of(&e[i])).unwrap_or_default();
        let tokens = self.output_lens.as_ref().and_then(|l| l[i].count());
        let ttft = at(&self.ttfts, i).filter(|&t| t > 0.0);
        let outcome = match (error.is_empty(), ttft, tokens) {
            (true, Some(_), None | Some(1..)) => Outcome::Completed,
            (true, ..) => Outcome::Failed(Failure::Protocol { detail: "no token, and no error told".to_string() }),
            (false, ..) => Outcome::Failed(Failure::Protocol { detail: last_line(&error) }),
        };
        // A file without lengths has TPOTs ready made; two tokens make the derived TPOT equal the given one.
        let output_tokens = tokens.unwrap_or(if at(&self.tpots, i).is_some() { 2 } else { 1 });
        let timeline = match ttft.filter(|_| outcome == Outcome::Completed) {
            Some(ttft) => {
                // Our own exports say null where nobody counted the tokens.
                let uncounted = self.output_lens.is_some() && tokens.is_none();
                let decode = doubts.note(self.decode(i, ttft, tokens), uncounted);
                let timeline = self.timeline(i, sent, ttft, output_tokens, decode.unwrap_or(0.0));
                Timeline { output_tokens: timeline.output_tokens.filter(|_| decode.is_some()), ..timeline }
            }
            None => {
                let sent = Offset::from_secs(sent);
                Timeline { due: sent, slot: sent, sent: Some(sent), end: sent, ..Timeline::default() }
            }
        };
        RequestRecord {
            index: u32::try_from(i).unwrap_or(u32::MAX),
            id: String::new(),
            prompt_tokens: TokenCount(self.input_len(i).unwrap_or(0)),
            max_tokens: TokenCount(output_tokens),
            timeline,
            outcome,
            stages: None,
            turn: None,
            text: None,
        }
    }

    fn input_len(&self, i: usize) -> Option<u32> {
        self.input_lens.as_ref().and_then(|l| l[i].count())
    }

    /// From the first token to the last of a request that was served.
    fn decode(&self, i: usize, ttft: f64, tokens: Option<u32>) -> Decode {
        if tokens == Some(1) {
            return Decode::Secs(0.0);
        }
        if let Some(tpot) = at(&self.tpots, i) {
            return Decode::of(tpot * f64::from(tokens.unwrap_or(2).saturating_sub(1)), tokens);
        }
        if tokens.is_none() {
            return Decode::Unknown;
        }
        if let Some(latency) = at(&self.latencies, i) {
            return Decode::of(latency - ttft, tokens);
        }
        match self.itls.as_ref().map(|l| l[i].as_deref()) {
            Some(Some([])) => Decode::Whole,
            Some(Some(gaps)) => match gaps.iter().map(|gap| gap.get()).sum::<Option<f64>>() {
                Some(secs) => Decode::of(secs, tokens),
                None => Decode::Unknown,
            },
            Some(None) | None => Decode::Unknown,
        }
    }

    fn timeline(&self, i: usize, sent: f64, ttft: f64, output_tokens: u32, decode: f64) -> Timeline {
        let gaps: &[Loose] = self.itls.as_ref().and_then(|l| l[i].as_deref()).unwrap_or(&[]);
        let gaps: Vec<f64> = gaps.iter().filter_map(|gap| gap.get()).collect();
        // Where the file knows TTFT from due, due lies that much before the first token.
        let due = at(&self.ttfts_due, i).filter(|t| *t >= 0.0).map_or(sent, |from_due| sent + ttft - from_due);
        let first = sent + ttft;
        let last = Offset::from_secs(first + decode.max(0.0));
        let mut position = first;
        let mut chunks = vec![Chunk { at: Offset::from_secs(first), tokens: 1 }];
        chunks.extend(gaps.iter().map(|gap| {
            position += gap;
            Chunk { at: Offset::from_secs(position), tokens: 1 }
        }));
        let known = gaps.len() + 1 == output_tokens as usize;
        Timeline {
            due: Offset::from_secs(due),
            slot: Offset::from_secs(sent),
            sent: Some(Offset::from_secs(sent)),
            first_token: Some(Offset::from_secs(first)),
            last_token: Some(last),
            end: last,
            chunks: if gaps.is_empty() { Vec::new() } else { chunks },
            tokens_per_chunk_known: known,
            output_tokens: Some(TokenCount(output_tokens)),
            counted_by: CountedBy::default(),
            prompt_tokens: self.input_len(i).map(TokenCount),
        }
    }
}

fn at(column: &NumberColumn, i: usize) -> Option<f64> {
    column.as_ref().and_then(|c| c[i].get())
}

/// Requests that were served and whose decoding the file doesn't tell.
#[derive(Default)]
struct Doubts {
    served: usize,
    unknown: usize,
    whole: usize,
}

impl Doubts {
    /// Seconds of decoding; `None` where nobody knows them.
    fn note(&mut self, decode: Decode, uncounted: bool) -> Option<f64> {
        self.served += 1;
        match decode {
            Decode::Secs(secs) => Some(secs),
            Decode::Whole => {
                self.whole += 1;
                Some(0.0)
            }
            Decode::Unknown => {
                self.unknown += usize::from(!uncounted);
                None
            }
        }
    }

    fn settle(&self) -> Result<(), String> {
        let Doubts { served, unknown, whole } = *self;
        if unknown > 0 && unknown == served {
            return Err(format!(
                "it doesn't tell the TPOT of any of its {served} served requests: that takes `itls` and `output_lens`, \
                 `latencies` or `tpots`; measure again with --save-detailed"
            ));
        }
        if whole as f64 > WHOLE_SHARE * served as f64 {
            return Err(format!(
                "{whole} of its {served} served requests hold several tokens without a gap between them: the server sent \
                 its answers in one piece, so that their TPOT is not known"
            ));
        }
        Ok(())
    }
}

/// An error as files write it: a text, null, or something else that says that there was one.
fn words_of(error: &Value) -> Option<String> {
    match error {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The last line of a Python traceback is what went wrong.
fn last_line(error: &str) -> String {
    error.trim().lines().last().unwrap_or_default().chars().take(300).collect()
}
