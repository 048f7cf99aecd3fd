//! Where a point stands, for bars and watchdogs: counters that the load only adds to.

use super::backlog::Backlog;
use crate::outcome::Outcome;
use crate::units::Offset;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Shared with whoever wants to look. A new one for every point.
#[derive(Debug, Default)]
pub struct Progress {
    time_zero: OnceLock<Instant>,
    launched: AtomicU32,
    completed: AtomicU32,
    failed: AtomicU32,
    cut_off: AtomicU32,
    never_sent: AtomicU32,
    /// Nanoseconds from time zero.
    last_end: AtomicU64,
    pub(super) tokens: AtomicU64,
    /// What has ended and isn't written yet.
    pub backlog: Backlog,
}

/// The counters at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests whose turn came, whether a connection could be had or not.
    pub sent: u32,
    pub completed: u32,
    pub failed: u32,
    /// Cut off, or never sent.
    pub unfinished: u32,
    pub in_flight: u32,
    /// Generated tokens so far: a fleet whose tokens stand still while requests are in flight hangs.
    pub tokens: u64,
}

impl Progress {
    /// The point's time zero on the monotonic clock; `None` until the load starts.
    pub fn time_zero(&self) -> Option<Instant> {
        self.time_zero.get().copied()
    }

    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU32| counter.load(Ordering::Acquire);
        // Ends before sends: what is sent in between shows as in flight, and nothing ends before it was sent.
        let (completed, failed, cut_off) = (get(&self.completed), get(&self.failed), get(&self.cut_off));
        let sent = get(&self.launched);
        Counts {
            sent,
            completed,
            failed,
            unfinished: cut_off + get(&self.never_sent),
            in_flight: sent - completed - failed - cut_off,
            tokens: self.tokens.load(Ordering::Relaxed),
        }
    }

    pub(super) fn start(&self, zero: Instant) {
        self.time_zero.get_or_init(|| zero);
    }

    pub(super) fn launched(&self) {
        self.launched.fetch_add(1, Ordering::Release);
    }

    pub(super) fn never_sent(&self) {
        self.never_sent.fetch_add(1, Ordering::Release);
    }

    /// When the latest outcome so far was known.
    pub fn last_end(&self) -> Offset {
        Offset::from_nanos(self.last_end.load(Ordering::Acquire))
    }

    pub(super) fn ended(&self, outcome: &Outcome, at: Offset) {
        self.last_end.fetch_max(at.as_nanos(), Ordering::Release);
        let counter = match outcome {
            Outcome::Completed => &self.completed,
            Outcome::Failed(_) => &self.failed,
            Outcome::Unfinished => &self.cut_off,
        };
        counter.fetch_add(1, Ordering::Release);
    }
}
