//! The KV that a prefill instance keeps for decode instances: one lease and one consumer each.
//!
//! Follows what vLLM 0.32 was seen to do. KV that expired may still be read, because nothing has
//! overwritten it yet; the prefill side counts the expiry and the late notification. KV that was
//! read once is gone: whoever replays the parameters gets nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::enginesim::answer::KvPrint;
use topobench::predict::model::sequence::SequenceId;

/// Expired entries to remember; vLLM's memory of them is the GPU's.
const REMEMBERED: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    Reading,
    Expired,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    sequence: SequenceId,
    print: KvPrint,
    state: State,
}

/// What a notification did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The blocks of this sequence can be freed.
    Release(SequenceId),
    /// They were already.
    AfterExpiry,
}

/// All hand-offs of one prefill instance, by request id.
#[derive(Debug, Default)]
pub struct HandOffs(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<String, Entry>,
    expired: VecDeque<String>,
}

impl HandOffs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers the KV of a finished prompt.
    pub fn offer(&self, request_id: String, sequence: SequenceId, print: KvPrint) {
        let state = State::Held;
        let entry = Entry { sequence, print, state };
        self.table().entries.insert(request_id, entry);
    }

    /// Reads the KV, once.
    pub fn read(&self, request_id: &str) -> Option<KvPrint> {
        let mut table = self.table();
        let entry = table.entries.get_mut(request_id)?;
        match entry.state {
            State::Reading => None,
            State::Expired => Some(entry.print),
            State::Held => {
                entry.state = State::Reading;
                Some(entry.print)
            }
        }
    }

    /// The reader is done.
    pub fn notify(&self, request_id: &str) -> Notice {
        match self.table().entries.remove(request_id) {
            Some(Entry { state: State::Expired, .. }) | None => Notice::AfterExpiry,
            Some(entry) => Notice::Release(entry.sequence),
        }
    }

    /// The lease of `request_id` ended; true when nobody had fetched it.
    pub fn expire(&self, request_id: &str) -> bool {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(request_id) else {
            return false;
        };
        entry.state = State::Expired;
        table.expired.push_back(request_id.to_owned());
        if table.expired.len() > REMEMBERED
            && let Some(oldest) = table.expired.pop_front()
        {
            table.entries.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> HandOffs {
        let hand_offs = HandOffs::default();
        hand_offs.offer("a".into(), 7, KvPrint(1));
        hand_offs
    }

    #[test]
    fn there_is_one_consumer() {
        let hand_offs = offered();
        assert_eq!(hand_offs.read("a"), Some(KvPrint(1)));
        assert_eq!(hand_offs.read("a"), None, "while the first one reads");
        assert_eq!(hand_offs.notify("a"), Notice::Release(7));
        assert_eq!(hand_offs.read("a"), None, "after it");
        assert!(!hand_offs.expire("a"), "what was fetched cannot expire");
    }

    #[test]
    fn expired_kv_can_still_be_read_but_the_notice_comes_late() {
        let hand_offs = offered();
        assert!(hand_offs.expire("a"));
        assert_eq!(hand_offs.read("a"), Some(KvPrint(1)));
        assert_eq!(hand_offs.notify("a"), Notice::AfterExpiry);
        assert_eq!(hand_offs.read("a"), None);
    }

    #[test]
    fn expired_kv_is_forgotten_in_the_end() {
        let hand_offs = offered();
        hand_offs.expire("a");
        for index in 0..REMEMBERED {
            hand_offs.offer(index.to_string(), 8, KvPrint(2));
            hand_offs.expire(&index.to_string());
        }
        assert_eq!(hand_offs.read("a"), None);
    }
}
