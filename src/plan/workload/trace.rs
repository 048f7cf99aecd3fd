//! The workload as sent: one line a request for trace.jsonl, and the hash by which two runs know that they saw the same.

use super::prepared::{PreparedWorkload, Schedule};
use crate::outcome::SessionTurn;
use crate::units::{Offset, RequestRate, TokenCount};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A line of trace.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceLine {
    pub rate: RequestRate,
    pub attempt: u32,
    pub index: u32,
    pub due: Offset,
    pub prompt_tokens: TokenCount,
    pub output_tokens: TokenCount,
    /// First 16 hex digits of SHA-256 over the prompt's JSON, as it stands in the body.
    pub prompt_sha256: String,
    /// With the dataset and the plan's seed it makes the prompt again.
    pub seed: u64,
    /// Where turns of a session wait for each other: `due` is then what it would be if answers took no time.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub turn: Option<SessionTurn>,
}

/// SHA-256 over dues (ns), lengths and prompt hashes of the lines it is fed, in order.
#[derive(Default)]
pub struct TraceHasher(Sha256);

impl TraceHasher {
    pub fn add(&mut self, line: &TraceLine) {
        self.0.update(line.due.as_nanos().to_le_bytes());
        self.0.update(line.prompt_tokens.get().to_le_bytes());
        self.0.update(line.output_tokens.get().to_le_bytes());
        self.0.update(line.prompt_sha256.as_bytes());
        if let Some(turn) = line.turn {
            let SessionTurn { session, turn, think, .. } = turn;
            self.0.update(session.to_le_bytes());
            self.0.update(turn.to_le_bytes());
            self.0.update(think.as_nanos().to_le_bytes());
        }
    }

    /// 64 hex digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

impl PreparedWorkload {
    /// The schedule's lines, each prompt rendered and hashed when its turn comes.
    pub fn trace_lines<'a>(&'a self, schedule: &'a Schedule) -> impl Iterator<Item = TraceLine> + 'a {
        schedule.requests.iter().map(move |request| TraceLine {
            rate: schedule.rate,
            attempt: schedule.attempt,
            index: request.index,
            due: request.due,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            prompt_sha256: hex(&Sha256::digest(self.render(request).to_json())[..8]),
            seed: request.seed,
            turn: schedule.turns.get(request.index as usize).copied(),
        })
    }

    /// Hash of one point's trace.
    pub fn trace_hash(&self, schedule: &Schedule) -> String {
        let mut hasher = TraceHasher::default();
        self.trace_lines(schedule).for_each(|line| hasher.add(&line));
        hasher.finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
