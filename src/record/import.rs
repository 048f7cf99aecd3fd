//! Result files in vLLM's format (`vllm bench serve --save-result --save-detailed`, old and new; the seed's; our own
//! exports) read as requests.
//!
//! vLLM stores a failed request as a TTFT of 0.0. It is read as what it was: a failure.

use crate::outcome::{Chunk, CountedBy, Failure, Outcome, RequestRecord, Timeline};
use crate::units::{Offset, RequestRate, TokenCount};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the file says, detail arrays typed, everything else kept as it stands.
#[derive(Debug, Clone, Deserialize)]
pub struct VllmFile {
    pub request_rate: Value,
    #[serde(default)]
    pub date: Option<String>,
    #[serde(default)]
    pub model_id: Option<String>,
    #[serde(default)]
    pub num_prompts: Option<u32>,
    #[serde(default)]
    pub duration: Option<f64>,
    #[serde(default)]
    pub input_lens: Option<Vec<u32>>,
    #[serde(default)]
    pub output_lens: Option<Vec<Option<u32>>>,
    #[serde(default)]
    pub ttfts: Option<Vec<Option<f64>>>,
    /// Ours: TTFT from due.
    #[serde(default)]
    pub ttfts_due: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub tpots: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub itls: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    pub latencies: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub start_times: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub errors: Option<Vec<Option<String>>>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl VllmFile {
    pub fn parse(bytes: &[u8]) -> Result<VllmFile, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }

    pub fn rate(&self) -> Result<RequestRate, String> {
        let rate = match &self.request_rate {
            Value::Number(n) => n.as_f64().and_then(RequestRate::new),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        rate.ok_or_else(|| format!("request_rate is {}", self.request_rate))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.other.get(key).and_then(Value::as_str)
    }

    /// A count, also where `--metadata` made it a string.
    pub fn count(&self, key: &str) -> Option<u32> {
        match self.other.get(key)? {
            Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
            Value::String(s) => s.trim().parse().ok(),
            _ => None,
        }
    }

    /// One record a request, failures included.
    ///
    /// # Errors
    /// When the file has no per-request arrays, or they contradict each other in length.
    pub fn records(&self) -> Result<Vec<RequestRecord>, String> {
        let ttfts = self.ttfts.as_ref().ok_or("it has no `ttfts`: measure again with --save-detailed")?;
        let n = ttfts.len();
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
        if let Some((name, len)) =
            lengths.into_iter().find_map(|(name, len)| len.filter(|&l| l != n).map(|l| (name, l)))
        {
            return Err(format!("`{name}` has {len} entries and `ttfts` {n}"));
        }
        let begin = (0..n).filter_map(|i| self.due(i)).fold(f64::INFINITY, f64::min);
        (0..n).map(|i| self.record(i, begin)).collect()
    }

    /// When request `i` was due, on the file's clock: as much before it was sent as its TTFT from due is longer.
    fn due(&self, i: usize) -> Option<f64> {
        let at = |list: &Option<Vec<Option<f64>>>| list.as_ref().and_then(|l| l[i]).filter(|x| x.is_finite());
        let late = at(&self.ttfts_due).zip(at(&self.ttfts)).map_or(0.0, |(from_due, from_sent)| from_due - from_sent);
        Some(at(&self.start_times)? - late.max(0.0))
    }

    fn record(&self, i: usize, begin: f64) -> Result<RequestRecord, String> {
        let at = |list: &Option<Vec<Option<f64>>>| list.as_ref().and_then(|l| l[i]).filter(|x| x.is_finite());
        let sent = match at(&self.start_times) {
            Some(start) => start - begin,
            None => self.rate()?.per_second().recip() * i as f64,
        };
        let error = self.errors.as_ref().and_then(|e| e[i].clone()).unwrap_or_default();
        let tokens = self.output_lens.as_ref().and_then(|l| l[i]);
        let ttft = at(&self.ttfts).filter(|&t| t > 0.0);
        let outcome = match (error.is_empty(), ttft, tokens) {
            (true, Some(_), None | Some(1..)) => Outcome::Completed,
            (true, ..) => Outcome::Failed(Failure::Protocol { detail: "no token, and no error told".to_string() }),
            (false, ..) => Outcome::Failed(Failure::Protocol { detail: first_line(&error) }),
        };
        // A file without lengths has TPOTs ready made; two tokens make the derived TPOT equal the given one.
        let output_tokens = tokens.unwrap_or(if at(&self.tpots).is_some() { 2 } else { 1 });
        // Our own exports say null where nobody knows.
        let known = tokens.is_some() || self.output_lens.is_none();
        let timeline = match ttft.filter(|_| outcome == Outcome::Completed) {
            Some(ttft) => {
                let timeline = self.timeline(i, sent, ttft, output_tokens);
                Timeline { output_tokens: timeline.output_tokens.filter(|_| known), ..timeline }
            }
            None => {
                let sent = Offset::from_secs(sent);
                Timeline { due: sent, slot: sent, sent: Some(sent), end: sent, ..Timeline::default() }
            }
        };
        Ok(RequestRecord {
            index: u32::try_from(i).unwrap_or(u32::MAX),
            id: String::new(),
            prompt_tokens: TokenCount(self.input_lens.as_ref().map_or(0, |l| l[i])),
            max_tokens: TokenCount(output_tokens),
            timeline,
            outcome,
            stages: None,
            text: None,
        })
    }

    fn timeline(&self, i: usize, sent: f64, ttft: f64, output_tokens: u32) -> Timeline {
        let at = |list: &Option<Vec<Option<f64>>>| list.as_ref().and_then(|l| l[i]).filter(|x| x.is_finite());
        let itls: &[f64] = self.itls.as_ref().map_or(&[], |l| l[i].as_slice());
        let decode = at(&self.tpots)
            .map(|tpot| tpot * f64::from(output_tokens.saturating_sub(1)))
            .or_else(|| at(&self.latencies).map(|latency| latency - ttft))
            .unwrap_or_else(|| itls.iter().sum());
        // Where the file knows TTFT from due, due lies that much before the first token.
        let due = at(&self.ttfts_due).map_or(sent, |from_due| sent + ttft - from_due);
        let first = sent + ttft;
        let last = Offset::from_secs(first + decode.max(0.0));
        let mut position = first;
        let mut chunks = vec![Chunk { at: Offset::from_secs(first), tokens: 1 }];
        chunks.extend(itls.iter().map(|gap| {
            position += gap;
            Chunk { at: Offset::from_secs(position), tokens: 1 }
        }));
        let known = itls.len() + 1 == output_tokens as usize;
        Timeline {
            due: Offset::from_secs(due),
            slot: Offset::from_secs(sent),
            sent: Some(Offset::from_secs(sent)),
            first_token: Some(Offset::from_secs(first)),
            last_token: Some(last),
            end: last,
            chunks: if itls.is_empty() { Vec::new() } else { chunks },
            tokens_per_chunk_known: known,
            output_tokens: Some(TokenCount(output_tokens)),
            counted_by: CountedBy::default(),
            prompt_tokens: self.input_lens.as_ref().map(|l| TokenCount(l[i])),
        }
    }
}

fn first_line(error: &str) -> String {
    error.trim().lines().last().unwrap_or_default().chars().take(300).collect()
}
