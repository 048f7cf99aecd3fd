//! Recorded arrivals: Azure's LLM inference traces (CSV) and Mooncake's (JSONL).
//!
//! Where lines name the session that they belong to, the turns of one may wait for each other.
//!
//! The traces hold lengths and times, no texts. Prompts are made up; where Mooncake names the 512-token blocks of a
//! prompt by hash, equal hashes become equal blocks, so that prefixes are shared as they were in production.

use super::error::WorkloadError;
use crate::files;
use crate::units::{Offset, TokenCount};
use chrono::NaiveDateTime;
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

/// Tokens in one of Mooncake's prefix blocks.
pub(super) const BLOCK_TOKENS: u32 = 512;

const MOONCAKE: &str =
    "expected Mooncake's JSONL: {\"timestamp\": ms, \"input_length\": n, \"output_length\": n, \"hash_ids\": [..]}";
const AZURE: &str = "expected Azure's CSV: TIMESTAMP,ContextTokens,GeneratedTokens";

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedRequest {
    pub(super) prompt_tokens: TokenCount,
    pub(super) output_tokens: TokenCount,
    /// Names of its prefix blocks; empty where the trace has none.
    pub(super) blocks: Box<[u64]>,
    /// Name of the session that it is a turn of; `None` where the trace has none.
    pub(super) session: Option<Box<str>>,
    /// Think time before it, where the trace says.
    pub(super) think: Option<Offset>,
}

/// A trace in order of arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) offsets: Vec<Offset>,
    pub(super) arrivals: Vec<RecordedRequest>,
    /// Positions of each session's turns, in the order in which sessions began; empty where turns don't wait.
    pub(super) sessions: Vec<Vec<u32>>,
}

impl Recorded {
    /// Puts turns together by the names of their sessions. A request without one is a session of its own.
    pub(super) fn find_sessions(&mut self, path: &Path) -> Result<(), WorkloadError> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut sessions: Vec<Vec<u32>> = Vec::new();
        for (position, arrival) in (0u32..).zip(&self.arrivals) {
            let next = sessions.len();
            let number = arrival.session.as_deref().map_or(next, |name| *numbers.entry(name).or_insert(next));
            match sessions.get_mut(number) {
                Some(turns) => turns.push(position),
                None => sessions.push(vec![position]),
            }
        }
        if numbers.is_empty() {
            return Err(WorkloadError::File {
                path: path.into(),
                problem: "no line names its session".into(),
                remedy: "--causal needs lines with \"session_id\" (or chat_id, conversation_id); leave it out to send each request at its own time",
            });
        }
        self.sessions = sessions;
        Ok(())
    }
}

pub(super) fn load(path: &Path) -> Result<Recorded, WorkloadError> {
    let unreadable = |source| WorkloadError::Read { path: path.into(), source };
    let mut reader = files::open(path).map_err(unreadable)?;
    let start = reader.fill_buf().map_err(unreadable)?;
    let mut timed = if start.first() == Some(&b'{') { mooncake(path, reader)? } else { azure(path, reader)? };
    if timed.is_empty() {
        return Err(WorkloadError::File { path: path.into(), problem: "no request in it".into(), remedy: AZURE });
    }
    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let start = timed[0].0;
    let (offsets, arrivals) = timed.into_iter().map(|(at, arrival)| (Offset::from_secs(at - start), arrival)).unzip();
    Ok(Recorded { offsets, arrivals, sessions: Vec::new() })
}

/// Seconds since whenever, and the request.
type Timed = Vec<(f64, RecordedRequest)>;

#[derive(Deserialize)]
struct MooncakeLine {
    /// Milliseconds.
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Box<[u64]>,
    #[serde(default, alias = "chat_id", alias = "conversation_id")]
    session_id: Option<serde_json::Value>,
    /// Milliseconds between the end of the turn before and this one.
    #[serde(default)]
    delay: Option<f64>,
}

/// A name that may be written as a number.
fn named(id: serde_json::Value) -> Option<Box<str>> {
    match id {
        serde_json::Value::Null => None,
        serde_json::Value::String(name) => Some(name.into()),
        other => Some(other.to_string().into()),
    }
}

fn mooncake(path: &Path, reader: impl BufRead) -> Result<Timed, WorkloadError> {
    let mut timed = Vec::new();
    for (line, text) in (1u64..).zip(reader.lines()) {
        let text = text.map_err(|source| WorkloadError::Read { path: path.into(), source })?;
        if text.trim().is_empty() {
            continue;
        }
        let bad = |problem| WorkloadError::Row { path: path.into(), line, problem, remedy: MOONCAKE };
        let row: MooncakeLine = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if !row.timestamp.is_finite() {
            return Err(bad(format!("timestamp {}", row.timestamp)));
        }
        if let Some(delay) = row.delay.filter(|ms| !(ms.is_finite() && *ms >= 0.0)) {
            return Err(bad(format!("delay {delay}")));
        }
        let arrival = RecordedRequest {
            // A request of no prompt or no output can't be sent; one token is the nearest that can.
            prompt_tokens: TokenCount(row.input_length.max(1)),
            output_tokens: TokenCount(row.output_length.max(1)),
            blocks: row.hash_ids,
            session: row.session_id.and_then(named),
            think: row.delay.map(|ms| Offset::from_secs(ms / 1e3)),
        };
        timed.push((row.timestamp / 1e3, arrival));
    }
    Ok(timed)
}

#[derive(Deserialize)]
struct AzureRow {
    #[serde(rename = "TIMESTAMP")]
    timestamp: String,
    #[serde(rename = "ContextTokens")]
    context: u32,
    #[serde(rename = "GeneratedTokens")]
    generated: u32,
}

fn azure(path: &Path, reader: impl Read) -> Result<Timed, WorkloadError> {
    let mut timed = Vec::new();
    for row in csv::Reader::from_reader(reader).into_deserialize() {
        let row: AzureRow = row.map_err(|e| WorkloadError::Row {
            path: path.into(),
            line: e.position().map_or(1, csv::Position::line),
            problem: e.to_string(),
            remedy: AZURE,
        })?;
        let at =
            NaiveDateTime::parse_from_str(&row.timestamp, "%Y-%m-%d %H:%M:%S%.f").map_err(|e| WorkloadError::Row {
                path: path.into(),
                line: timed.len() as u64 + 2,
                problem: format!("timestamp `{}`: {e}", row.timestamp),
                remedy: AZURE,
            })?;
        let arrival = RecordedRequest {
            prompt_tokens: TokenCount(row.context.max(1)),
            output_tokens: TokenCount(row.generated.max(1)),
            blocks: Box::default(),
            session: None,
            think: None,
        };
        let since_epoch = at.and_utc();
        timed.push((since_epoch.timestamp() as f64 + f64::from(since_epoch.timestamp_subsec_nanos()) / 1e9, arrival));
    }
    Ok(timed)
}
