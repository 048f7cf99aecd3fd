//! Between the load and the journal: gives each finished request the proxy's stage stamps, then writes it down.
//!
//! Stamps come out of band and a little later than the answer, so a record waits for its stamps, but not for long: a
//! request that never reached the proxy has none. A failed request waits too, for its reason may be about to be told:
//! an engine's end shows first as broken connections.

use super::early_stop::Lookout;
use super::loss::{Abort, AbortCell, BackendIndex};
use crate::drive::Progress;
use crate::outcome::{CountedBy, Failure, Outcome, RequestRecord, Stages};
use crate::plan::topology::Role;
use crate::plan::workload::Tokenizer;
use crate::record::journal::{JournalSender, LineHead};
use crate::units::{Offset, TokenCount};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::oneshot;
use topobench_proxy::{StageStamps, StampReader};

/// How long a finished request may wait for its stamps, and a failed one for its reason.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often finished requests and stamps are collected.
const TICK: Duration = Duration::from_millis(20);

/// What the recorder saw of a point.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) completed: u32,
    pub(super) unfinished: u32,
    /// Cut off because the point was ended early: no fault of anybody's.
    pub(super) cut_off: u32,
    /// Failed requests by kind, with an example of each.
    pub(super) failures: std::collections::BTreeMap<&'static str, (u32, String)>,
}

impl Tally {
    pub(super) fn failed(&self) -> u32 {
        self.failures.values().map(|(n, _)| n).sum()
    }

    /// One sentence for each kind of failure.
    pub(super) fn why(&self) -> Vec<String> {
        let failed =
            self.failures.iter().map(|(kind, (n, example))| format!("{n} requests failed ({kind}): {example}"));
        let unfinished = (self.unfinished > 0).then(|| format!("{} requests were unfinished", self.unfinished));
        failed.chain(unfinished).collect()
    }

    /// Whether what failed may be the sign of a broken engine. To decline a request is not.
    pub(super) fn is_suspicious(&self) -> bool {
        self.unfinished > 0 || self.failures.keys().any(|kind| *kind != "shed")
    }
}

/// What a recorder needs to know of its point.
pub(super) struct Recording {
    pub(super) head: Arc<LineHead>,
    pub(super) journal: JournalSender,
    /// `None` without a proxy: then there are no stamps.
    pub(super) stamps: Option<StampReader>,
    pub(super) progress: Arc<Progress>,
    pub(super) abort: AbortCell,
    /// Counts the tokens of answers that the server doesn't count.
    pub(super) counter: Option<Arc<Tokenizer>>,
    /// Whether nothing but its length ends an answer.
    pub(super) full_length: bool,
    /// Whether texts are written down, or only counted.
    pub(super) keep_text: bool,
    /// Counts what met the SLO, where the point may end early.
    pub(super) lookout: Option<Lookout>,
}

/// The recorder of one point, running.
pub(super) struct RunningRecorder {
    thread: JoinHandle<()>,
    tally: oneshot::Receiver<Tally>,
}

/// Starts the recorder of one point. It ends when the load has dropped its end of `finished`.
pub(super) fn start(
    recording: Recording,
    finished: UnboundedReceiver<RequestRecord>,
) -> std::io::Result<RunningRecorder> {
    let (done, tally) = oneshot::channel();
    let run = move || {
        let mut recorder =
            Recorder { point: recording, tally: Tally::default(), waiting: HashMap::new(), stamps: HashMap::new() };
        recorder.run(finished);
        // Nobody waits for it where the point's future was dropped.
        let _ = done.send(recorder.tally);
    };
    let thread = std::thread::Builder::new().name("recorder".to_string()).spawn(run)?;
    Ok(RunningRecorder { thread, tally })
}

impl RunningRecorder {
    /// # Errors
    /// What the thread said when it panicked.
    pub(super) async fn finish(self) -> Result<Tally, String> {
        if let Ok(tally) = self.tally.await {
            return Ok(tally);
        }
        // The sender is gone, so the thread has ended.
        let panic = self.thread.join().err();
        let text = panic.as_ref().and_then(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| panic.downcast_ref::<String>().cloned())
        });
        Err(text.unwrap_or_else(|| "no message".to_string()))
    }
}

struct Recorder {
    point: Recording,
    tally: Tally,
    /// Finished requests without stamps or with a failure to be explained, by id, and since when they wait.
    waiting: HashMap<String, (RequestRecord, Instant)>,
    /// Stamps that came before their request was finished here.
    stamps: HashMap<String, StageStamps>,
}

impl Recorder {
    fn run(&mut self, mut finished: UnboundedReceiver<RequestRecord>) {
        let mut open = true;
        while open || !self.waiting.is_empty() {
            loop {
                match finished.try_recv() {
                    Ok(record) => self.finished(record),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            for stamp in self.point.stamps.as_ref().map(StampReader::drain).unwrap_or_default() {
                self.stamped(stamp);
            }
            self.release(Instant::now());
            std::thread::sleep(TICK);
        }
    }

    fn finished(&mut self, mut record: RequestRecord) {
        record.stages = self.stamps.remove(&record.id).and_then(|stamps| self.stages(&stamps));
        if self.is_settled(&record) {
            return self.write(record);
        }
        self.waiting.insert(record.id.clone(), (record, Instant::now()));
    }

    fn stamped(&mut self, stamps: StageStamps) {
        let stages = self.stages(&stamps);
        match self.waiting.get_mut(&stamps.request_id) {
            Some((record, _)) => record.stages = stages,
            None => {
                self.stamps.insert(stamps.request_id.clone(), stamps);
            }
        }
    }

    /// Writes what has waited for all it can get, or long enough.
    fn release(&mut self, now: Instant) {
        let ready = |(record, since): &(RequestRecord, Instant)| {
            self.is_settled(record) || now.duration_since(*since) > PATIENCE
        };
        let ids: Vec<String> = self.waiting.iter().filter(|(_, w)| ready(w)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some((record, _)) = self.waiting.remove(&id) {
                self.write(record);
            }
        }
    }

    /// Whether nothing more can be learned about the request: it was never sent, or its stamps are here and its failure,
    /// if it failed, is explained.
    fn is_settled(&self, record: &RequestRecord) -> bool {
        let stamped = self.point.stamps.is_none() || record.stages.is_some();
        let explained = record.completed() || self.point.abort.get().is_some();
        record.timeline.sent.is_none() || (stamped && explained)
    }

    /// The proxy's instants on the point's clock.
    fn stages(&self, stamps: &StageStamps) -> Option<Stages> {
        let zero = self.point.progress.time_zero()?;
        let at = |instant: Instant| Offset::from(instant.saturating_duration_since(zero));
        let index = |backend: Option<usize>| backend.and_then(|i| u32::try_from(i).ok());
        Some(Stages {
            accepted: Some(at(stamps.accepted)),
            prefill_sent: stamps.prefill.sent.map(at),
            prefill_head: stamps.prefill.head.map(at),
            decode_sent: stamps.decode.sent.map(at),
            first_byte: stamps.first_byte.map(at),
            end: Some(at(stamps.end)),
            prefill: index(stamps.prefill.backend),
            decode: index(stamps.decode.backend),
        })
    }

    fn write(&mut self, mut record: RequestRecord) {
        self.point.progress.backlog.take_off(&record);
        let lookout = self.point.lookout.as_ref();
        if lookout.is_some_and(|l| !l.was_offered(record.timeline.due)) {
            return;
        }
        let stopped = lookout.is_some_and(|l| l.stopped().is_some());
        if let Some(tokenizer) = &self.point.counter {
            count(&mut record, tokenizer, self.point.full_length);
        }
        record.text = record.text.filter(|_| self.point.keep_text);
        if let Some(Some(abort)) = self.point.abort.get() {
            explain(&mut record, abort, self.point.stamps.is_some());
        }
        if let Some(lookout) = lookout {
            lookout.count(&record);
        }
        let tally = &mut self.tally;
        match &record.outcome {
            Outcome::Completed => tally.completed += 1,
            Outcome::Unfinished if stopped => tally.cut_off += 1,
            Outcome::Unfinished => tally.unfinished += 1,
            Outcome::Failed(failure) => {
                let entry = tally.failures.entry(failure.kind()).or_insert_with(|| (0, failure.to_string()));
                entry.0 += 1;
            }
        }
        self.point.journal.append(&self.point.head, record);
    }
}

/// Gives a request that was cut off or failed the reason for which the point was aborted, if that is what hit it.
fn explain(record: &mut RequestRecord, abort: &Abort, proxied: bool) {
    if record.timeline.sent.is_none() {
        return;
    }
    let cut_off = record.outcome == Outcome::Unfinished;
    match abort {
        Abort::Died { instance, backend } => {
            let broke = matches!(&record.outcome, Outcome::Failed(failure) if may_come_of_a_death(failure));
            let there = match (backend, proxied) {
                (Some(backend), true) => record.stages.as_ref().is_some_and(|stages| was_at(stages, *backend)),
                // Without a proxy there is one engine.
                (_, proxied) => !proxied,
            };
            if (cut_off || broke) && there {
                record.outcome = Outcome::Failed(Failure::EngineDied { instance: instance.clone() });
            }
        }
        Abort::Silence { secs } if cut_off => {
            let tokens = record.timeline.chunks.iter().map(|chunk| chunk.tokens).sum();
            let sent = record.timeline.sent.unwrap_or(record.timeline.due);
            let after_secs = record.timeline.end.secs_since(record.timeline.last_token.unwrap_or(sent)).min(*secs);
            record.outcome = Outcome::Failed(Failure::Stalled { after_secs, tokens });
        }
        Abort::Silence { .. } => {}
    }
}

/// Share of the tokens asked for that a text comes to at the least when it is cut anew, unless some had no text.
const ABOUT_ALL: f64 = 0.8;

/// An answer's own text tells about how many tokens it has, where the server doesn't. `full_length`: an answer has all
/// that were asked for; a text of far fewer was cut short, or hides tokens, and nobody knows which.
fn count(record: &mut RequestRecord, tokenizer: &Tokenizer, full_length: bool) {
    if record.lacks_count()
        && let Some(text) = &record.text
    {
        // Each chunk with text carries a token at the least.
        let chunks = u32::try_from(record.timeline.chunks.len()).unwrap_or(u32::MAX);
        // Cut in another way than it was made, a text may come to a token more than the server was let make.
        let counted = tokenizer.count_plain(text).min(record.max_tokens.0).max(chunks);
        if full_length && f64::from(counted) < ABOUT_ALL * f64::from(record.max_tokens.0) {
            return;
        }
        record.timeline.output_tokens = Some(TokenCount(counted));
        record.timeline.counted_by = CountedBy::Tokenizer;
    }
}

fn may_come_of_a_death(failure: &Failure) -> bool {
    match failure {
        Failure::Status { code, .. } => *code >= 500,
        Failure::Shed { .. } => false,
        _ => true,
    }
}

/// Whether the request was in this engine's hands when it ended. Once the first byte has come, the KV has left prefill.
fn was_at(stages: &Stages, backend: BackendIndex) -> bool {
    match backend.role {
        Role::Prefill => stages.prefill == Some(backend.index) && stages.first_byte.is_none(),
        Role::Decode | Role::Replica => stages.decode == Some(backend.index) && stages.decode_sent.is_some(),
    }
}

#[cfg(test)]
mod tests;
