//! The KV that a prefill instance keeps for decode instances: one lease and one consumer each. It is fetched by its request
//! id, or pushed to the instance that registered for it.
//!
//! Follows what vLLM 0.32 was seen to do. KV that expired may still be read, because nothing has
//! overwritten it yet; the prefill side counts the expiry and the late notification. KV that was
//! read once is gone: whoever replays the parameters gets nothing. A registration finds its KV by the request id without
//! its random end, whichever of the two comes first; one that finds none waits for ever.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::enginesim::answer::KvPrint;
use tokio::sync::oneshot;
use topobench::predict::model::blocks::BlockId;
use topobench::predict::model::sequence::SequenceId;

/// Expired entries to remember; vLLM's memory of them is the GPU's.
const REMEMBERED: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    Reading,
    Expired,
}

/// The KV of a finished prompt.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub sequence: SequenceId,
    pub print: KvPrint,
    /// In the prompt's order.
    pub blocks: Vec<BlockId>,
}

#[derive(Debug)]
struct Entry {
    offer: Offer,
    state: State,
}

/// What a notification did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// The blocks of this sequence can be freed.
    Release(SequenceId),
    /// They were already.
    AfterExpiry,
}

/// All hand-offs of one prefill instance, by request id.
#[derive(Debug, Default)]
pub(super) struct HandOffs(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// Who waits for which prompt, by request id without its random end.
    registered: HashMap<String, oneshot::Sender<Offer>>,
    expired: VecDeque<String>,
}

impl HandOffs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the KV of a finished prompt, or gives it to who registered for it.
    pub(super) fn offer(&self, request_id: String, offer: Offer) {
        let mut table = self.table();
        let unclaimed = match table.registered.remove(base_id(&request_id)) {
            Some(waiting) => waiting.send(offer).err(),
            None => Some(offer),
        };
        if let Some(offer) = unclaimed {
            table.entries.insert(request_id, Entry { offer, state: State::Held });
        }
    }

    /// The KV of a prompt, once it is there. `request_id` is without its random end.
    pub(super) fn register(&self, request_id: &str) -> oneshot::Receiver<Offer> {
        let (found, finding) = oneshot::channel();
        let mut table = self.table();
        let held = |(id, entry): &(&String, &Entry)| base_id(id) == request_id && entry.state == State::Held;
        let known = table.entries.iter().find(held).map(|(id, _)| id.clone());
        match known.and_then(|id| table.entries.remove(&id)) {
            // The receiver is still here.
            Some(entry) => drop(found.send(entry.offer)),
            None => drop(table.registered.insert(request_id.to_owned(), found)),
        }
        finding
    }

    /// Reads the KV, once.
    pub(super) fn read(&self, request_id: &str) -> Option<KvPrint> {
        let mut table = self.table();
        let entry = table.entries.get_mut(request_id)?;
        match entry.state {
            State::Reading => None,
            State::Expired => Some(entry.offer.print),
            State::Held => {
                entry.state = State::Reading;
                Some(entry.offer.print)
            }
        }
    }

    /// The reader is done.
    pub(super) fn notify(&self, request_id: &str) -> Notice {
        match self.table().entries.remove(request_id) {
            Some(Entry { state: State::Expired, .. }) | None => Notice::AfterExpiry,
            Some(entry) => Notice::Release(entry.offer.sequence),
        }
    }

    /// The lease of `request_id` ended; true when nobody had fetched it.
    pub(super) fn expire(&self, request_id: &str) -> bool {
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

/// A request id without the eight random hexadecimal digits that vLLM puts behind it.
fn base_id(request_id: &str) -> &str {
    match request_id.rsplit_once('-') {
        Some((base, end)) if end.len() == 8 && end.chars().all(|c| c.is_ascii_hexdigit()) => base,
        _ => request_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(sequence: SequenceId) -> Offer {
        Offer { sequence, print: KvPrint(1), blocks: vec![3, 4] }
    }

    fn offered() -> HandOffs {
        let hand_offs = HandOffs::default();
        hand_offs.offer("a".into(), offer(7));
        hand_offs
    }

    #[test]
    fn a_registration_finds_its_kv_whichever_comes_first() {
        let hand_offs = HandOffs::default();
        let mut before = hand_offs.register("cmpl-a-0");
        assert!(before.try_recv().is_err(), "nothing is computed yet");
        hand_offs.offer("cmpl-b-0-89abcdef".into(), offer(2));
        assert!(before.try_recv().is_err(), "that was another's");
        hand_offs.offer("cmpl-a-0-01234567".into(), offer(1));
        assert_eq!(before.try_recv().unwrap().sequence, 1);
        assert_eq!(hand_offs.register("cmpl-b-0").try_recv().unwrap().sequence, 2);
        assert!(!hand_offs.expire("cmpl-a-0-01234567") && !hand_offs.expire("cmpl-b-0-89abcdef"), "both are gone");
    }

    #[test]
    fn expired_kv_is_not_pushed() {
        let hand_offs = offered();
        hand_offs.expire("a");
        assert!(hand_offs.register("a").try_recv().is_err());
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
            hand_offs.offer(index.to_string(), offer(8));
            hand_offs.expire(&index.to_string());
        }
        assert_eq!(hand_offs.read("a"), None);
    }
}
