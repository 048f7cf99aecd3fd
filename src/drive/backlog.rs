//! What has ended and waits to be written down, bounded: a disk slower than the load must not eat the memory.
//!
//! The load adds each record, whoever writes it takes it off. Where too much waits, sends wait as well: they are then
//! late, their lag says so, and how many there were is told beside it. Nothing is ever left out of a record instead.

use crate::outcome::{Chunk, RequestRecord};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Bytes that may wait: some 13,000 requests of 128 tokens, about ten seconds of what one core can carry.
const MOST_WAITING: usize = 32 << 20;

/// Records that have ended and aren't written yet, by weight.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    held_up: AtomicU32,
    room: Notify,
}

impl Backlog {
    /// Bytes that a record holds, about.
    fn weight(record: &RequestRecord) -> usize {
        let text = record.text.as_ref().map_or(0, String::len);
        size_of::<RequestRecord>() + record.id.len() + text + record.timeline.chunks.len() * size_of::<Chunk>()
    }

    pub(super) fn add(&self, record: &RequestRecord) {
        self.bytes.fetch_add(Self::weight(record), Ordering::Relaxed);
    }

    /// To be called with every record that came, before it is let go.
    pub fn take_off(&self, record: &RequestRecord) {
        let before = self.bytes.fetch_sub(Self::weight(record), Ordering::Relaxed);
        if before > MOST_WAITING {
            self.room.notify_waiters();
        }
    }

    /// Sends that had to wait because too much was unwritten.
    pub fn held_up(&self) -> u32 {
        self.held_up.load(Ordering::Relaxed)
    }

    /// Returns when there is room for more.
    pub(super) async fn room(&self) {
        if self.is_full() {
            self.held_up.fetch_add(1, Ordering::Relaxed);
        }
        while self.is_full() {
            let freed = self.room.notified();
            // Room may have come between the look and the wait.
            if self.is_full() {
                freed.await;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MOST_WAITING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Outcome, Timeline};
    use crate::units::{Offset, TokenCount};
    use futures_util::FutureExt;

    fn record(tokens: usize) -> RequestRecord {
        RequestRecord {
            index: 0,
            id: "tb-0".to_string(),
            prompt_tokens: TokenCount(1),
            max_tokens: TokenCount(1),
            timeline: Timeline { chunks: vec![Chunk { at: Offset::ZERO, tokens: 1 }; tokens], ..Timeline::default() },
            outcome: Outcome::Completed,
            stages: None,
            turn: None,
            text: None,
        }
    }

    #[tokio::test]
    async fn sends_wait_while_too_much_is_unwritten_and_go_on_when_it_is() {
        let (backlog, large) = (Backlog::default(), record(MOST_WAITING / size_of::<Chunk>()));
        backlog.room().await;
        backlog.add(&large);
        let mut waiting = std::pin::pin!(backlog.room());
        assert!(waiting.as_mut().now_or_never().is_none());
        backlog.take_off(&large);
        waiting.await;
        assert_eq!((backlog.bytes.load(Ordering::Relaxed), backlog.held_up()), (0, 1));
    }
}
