//! What watchers are sent: the state in parts, each with the version at which it last changed, and the latest samples.
//!
//! Nothing is queued for anybody. A watcher knows up to which version it has been told, and is told what is newer: the whole
//! state to one that comes late, the latest of each part to one that reads slowly.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::watch;

/// Watchers at once; a page that was closed is noticed at the next event.
const MOST_WATCHERS: usize = 32;
/// Samples kept of each engine and GPU: ten minutes of engines, which are sampled each second.
const MOST_SAMPLES: usize = 600;
/// A quiet connection is kept open, and a gone one noticed, by a comment as often.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the keeper of the state is told.
pub(super) enum Nudge {
    /// Somebody has begun to watch.
    Watched,
    /// The run is over: tell what is known now, and end.
    Over,
}

/// The state, shared by the one who keeps it and those who watch it.
pub(super) struct LiveFeed {
    state: Mutex<FeedState>,
    version: watch::Sender<u64>,
    watchers: AtomicUsize,
    nudges: mpsc::Sender<Nudge>,
}

#[derive(Default)]
struct FeedState {
    /// Of the last change; 0: nothing is known yet.
    version: u64,
    parts: BTreeMap<&'static str, (u64, Box<str>)>,
    samples: BTreeMap<String, VecDeque<(u64, Box<str>)>>,
    closed: bool,
}

impl LiveFeed {
    pub(super) fn new(nudges: mpsc::Sender<Nudge>) -> Arc<LiveFeed> {
        Arc::new(LiveFeed {
            state: Mutex::default(),
            version: watch::Sender::new(0),
            watchers: AtomicUsize::new(0),
            nudges,
        })
    }

    fn locked(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Acquire)
    }

    /// Takes a part's present value, the whole of it.
    pub(super) fn put(&self, part: &'static str, value: &impl Serialize) {
        let Ok(json) = serde_json::to_string(value) else { return };
        let mut state = self.locked();
        if state.parts.get(part).is_some_and(|(_, known)| **known == *json) {
            return;
        }
        state.version += 1;
        let version = state.version;
        state.parts.insert(part, (version, json.into()));
    }

    /// Adds a sample of one engine or GPU.
    pub(super) fn add_sample(&self, of: &str, sample: &impl Serialize) {
        let Ok(json) = serde_json::to_string(sample) else { return };
        let mut state = self.locked();
        state.version += 1;
        let version = state.version;
        let kept = match state.samples.get_mut(of) {
            Some(kept) => kept,
            None => state.samples.entry(of.to_string()).or_default(),
        };
        kept.push_back((version, json.into()));
        if kept.len() > MOST_SAMPLES {
            kept.pop_front();
        }
    }

    /// Tells the watchers that there is something new.
    pub(super) fn publish(&self) {
        let version = self.locked().version;
        self.version.send_if_modified(|told| std::mem::replace(told, version) != version);
    }

    /// Tells the watchers the last, after which nothing comes.
    pub(super) fn close(&self) {
        let mut state = self.locked();
        state.closed = true;
        state.version += 1;
        drop(state);
        self.publish();
    }

    /// What is newer than `version`, as one JSON object, and the version it leads to.
    fn since(&self, version: u64) -> (u64, Option<String>, bool) {
        let state = self.locked();
        if state.version == version {
            return (version, None, state.closed);
        }
        let mut out = format!("{{\"version\":{}", state.version);
        for (name, (_, json)) in state.parts.iter().filter(|(_, (changed, _))| *changed > version) {
            out.push_str(&format!(",\"{name}\":{json}"));
        }
        let newer = state.samples.values().flat_map(|kept| kept.iter().filter(|(added, _)| *added > version));
        let samples: Vec<&str> = newer.map(|(_, json)| &**json).collect();
        out.push_str(&format!(",\"samples\":[{}]}}", samples.join(",")));
        (state.version, Some(out), state.closed)
    }

    /// The state, then its changes, as server-sent events; `None` where too many watch already.
    pub(super) fn watch(self: &Arc<Self>) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        if self.watchers.fetch_add(1, Ordering::AcqRel) >= MOST_WATCHERS {
            self.watchers.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let _ = self.nudges.send(Nudge::Watched);
        let watcher = Watcher { feed: Arc::clone(self), changes: self.version.subscribe(), told: 0, ended: false };
        Some(stream::unfold(watcher, Watcher::next))
    }
}

/// One open page.
struct Watcher {
    feed: Arc<LiveFeed>,
    changes: watch::Receiver<u64>,
    told: u64,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Bytes, Watcher)> {
        while !self.ended {
            self.changes.mark_unchanged();
            // What the keeper has put and not published is not whole yet.
            let ready = *self.changes.borrow() > self.told;
            if let (true, (version, Some(json), closed)) = (ready, self.feed.since(self.told)) {
                let event = if self.told == 0 { "snapshot" } else { "change" };
                (self.told, self.ended) = (version, closed);
                // JSON has no line breaks of its own outside of strings, where they are escaped.
                let end = if closed { "event: end\ndata: {}\n\n" } else { "" };
                return Some((Bytes::from(format!("event: {event}\ndata: {json}\n\n{end}")), self));
            }
            match tokio::time::timeout(HEARTBEAT, self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Bytes::from_static(b":\n\n"), self)),
            }
        }
        None
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.feed.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use serde_json::{Value, json};
    use std::pin::pin;

    fn feed() -> Arc<LiveFeed> {
        let (nudges, kept) = mpsc::channel();
        // Nobody listens to nudges here.
        drop(kept);
        LiveFeed::new(nudges)
    }

    fn event(bytes: Option<Bytes>) -> (String, Value) {
        let text = String::from_utf8(bytes.expect("an event").to_vec()).expect("UTF-8");
        let (head, rest) = text.split_once('\n').expect("two lines");
        let data = rest.lines().next().and_then(|line| line.strip_prefix("data: ")).expect("data");
        (head.trim_start_matches("event: ").to_string(), serde_json::from_str(data).expect("JSON"))
    }

    #[tokio::test]
    async fn one_who_comes_late_gets_the_whole_and_then_what_changes() {
        let feed = feed();
        feed.put("now", &json!({"phase": "measuring"}));
        feed.put("race", &json!([1]));
        feed.add_sample("a", &json!({"n": 1}));
        feed.publish();
        let mut late = pin!(feed.watch().expect("room"));
        let (name, all) = event(late.next().await);
        assert_eq!(name, "snapshot");
        assert_eq!(
            (&all["now"]["phase"], &all["race"], &all["samples"]),
            (&json!("measuring"), &json!([1]), &json!([{"n": 1}]))
        );
        feed.put("race", &json!([1]));
        feed.put("now", &json!({"phase": "done"}));
        feed.publish();
        let (name, change) = event(late.next().await);
        assert_eq!((name.as_str(), change.get("race"), &change["now"]["phase"]), ("change", None, &json!("done")));
        assert_eq!(change["samples"], json!([]));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_the_latest_and_nothing_waits_for_it() {
        let feed = feed();
        let mut slow = pin!(feed.watch().expect("room"));
        for n in 0..10_000 {
            feed.put("now", &json!(n));
            feed.add_sample("a", &json!(n));
            feed.publish();
        }
        let (_, all) = event(slow.next().await);
        assert_eq!(all["now"], json!(9999));
        let samples = all["samples"].as_array().expect("samples");
        assert_eq!((samples.len(), samples.last()), (MOST_SAMPLES, Some(&json!(9999))));
    }

    #[tokio::test]
    async fn the_last_is_told_before_the_stream_ends() {
        let feed = feed();
        feed.put("now", &json!("over"));
        feed.close();
        let stream = feed.watch().expect("room");
        let all: Vec<Bytes> = stream.collect().await;
        assert_eq!(all.len(), 1);
        assert!(String::from_utf8_lossy(&all[0]).ends_with("event: end\ndata: {}\n\n"));
        assert_eq!(feed.watchers(), 0);
    }

    #[tokio::test]
    async fn watchers_are_limited_and_counted() {
        let feed = feed();
        let all: Vec<_> = (0..MOST_WATCHERS).map(|_| feed.watch().expect("room")).collect();
        assert!(feed.watch().is_none());
        drop(all);
        assert_eq!(feed.watchers(), 0);
        assert!(feed.watch().is_some());
    }
}
