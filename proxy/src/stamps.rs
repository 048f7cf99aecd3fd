//! When each request reached each stage, told out of band by request id.

use std::time::Instant;

use crate::fault::{FaultKind, Stage};

/// The life of one generation request inside the proxy. Instants are of the monotonic clock of this process; those
/// absent were not reached. A balanced request has one hop, told as the decode stage.
#[derive(Debug, Clone)]
pub struct StageStamps {
    /// The client's `X-Request-Id`, or the one made for it.
    pub request_id: String,
    /// The request's head was read.
    pub accepted: Instant,
    pub prefill: PrefillStamps,
    /// Of the replica for a balanced request.
    pub decode: DecodeStamps,
    /// The first bytes of the decode answer's body were read.
    pub first_byte: Option<Instant>,
    /// The last byte was handed to the client's connection, or the request ended otherwise.
    pub end: Instant,
    /// Body bytes relayed to the client.
    pub bytes: u64,
    pub outcome: Outcome,
}

/// The prefill stage. With pushed KV it overlaps the decode stage.
#[derive(Debug, Clone, Default)]
pub struct PrefillStamps {
    /// Index of the backend.
    pub backend: Option<usize>,
    /// The request was written to the socket.
    pub sent: Option<Instant>,
    /// The answer's head was read.
    pub head: Option<Instant>,
    /// The answer was read whole.
    pub done: Option<Instant>,
}

/// The stage whose answer is the client's.
#[derive(Debug, Clone, Default)]
pub struct DecodeStamps {
    /// Index of the backend.
    pub backend: Option<usize>,
    /// The request was written to the socket.
    pub sent: Option<Instant>,
    /// The answer's head was read.
    pub head: Option<Instant>,
}

/// How a request ended, as the proxy saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A backend's answer was relayed whole, whatever its status.
    Passed { status: u16 },
    /// The proxy answered itself: the request is not served here, or there was no room.
    Refused { status: u16 },
    /// A hop failed. `status` is what the client was told; `None` where its stream had begun and was cut.
    Failed { stage: Stage, kind: FaultKind, status: Option<u16> },
    /// The client went away.
    ClientGone,
    /// The proxy was stopped before the request was finished.
    Aborted,
}

impl Outcome {
    /// Labels of the metric that counts outcomes: outcome, stage, kind or status class.
    pub(crate) fn labels(self) -> [&'static str; 3] {
        match self {
            Outcome::Passed { status: 429 | 503 } => ["shed", "", ""],
            Outcome::Passed { status } => ["passed", "", status_class(status)],
            Outcome::Refused { status } => ["refused", "", status_class(status)],
            Outcome::Failed { stage, kind, status } => {
                let outcome = if status.is_some() { "failed" } else { "cut" };
                [outcome, stage.name(), kind.name()]
            }
            Outcome::ClientGone => ["client_gone", "", ""],
            Outcome::Aborted => ["aborted", "", ""],
        }
    }
}

fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
