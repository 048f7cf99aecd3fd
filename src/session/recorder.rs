//! Between the load and the journal: gives each finished request the proxy's stage stamps, then writes it down.
//!
//! Stamps come out of band and a little later than the answer, so a record waits for its stamps, but not for long: a
//! request that never reached the proxy has none.

use crate::drive::Progress;
use crate::outcome::{Outcome, PointKey, RequestRecord, Stages};
use crate::record::journal::JournalSender;
use crate::units::Offset;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;
use topobench_proxy::StageStamps;

/// How long a finished request may wait for its stamps.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often finished requests and stamps are collected.
const TICK: Duration = Duration::from_millis(20);

/// Where stamps come from; without a proxy there are none.
pub type StampSource = Box<dyn Fn() -> Vec<StageStamps> + Send>;

/// What the recorder saw of a point.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    pub completed: u32,
    pub unfinished: u32,
    /// Failed requests by kind, with an example of each.
    pub failures: std::collections::BTreeMap<&'static str, (u32, String)>,
    pub last_end: Offset,
}

impl Tally {
    pub fn failed(&self) -> u32 {
        self.failures.values().map(|(n, _)| n).sum()
    }

    /// One sentence for each kind of failure.
    pub fn why(&self) -> Vec<String> {
        self.failures.iter().map(|(kind, (n, example))| format!("{n} requests failed ({kind}): {example}")).collect()
    }
}

/// Starts the recorder of one point. It ends when the load has dropped its end of `finished`.
pub fn start(
    key: PointKey,
    finished: UnboundedReceiver<RequestRecord>,
    journal: JournalSender,
    stamps: Option<StampSource>,
    progress: Arc<Progress>,
) -> std::io::Result<JoinHandle<Tally>> {
    std::thread::Builder::new().name("recorder".to_string()).spawn(move || {
        let tally = Tally::default();
        let mut recorder = Recorder { key, journal, progress, tally, waiting: HashMap::new(), stamps: HashMap::new() };
        let mut finished = finished;
        match stamps {
            None => {
                while let Some(record) = finished.blocking_recv() {
                    recorder.write(record);
                }
            }
            Some(source) => recorder.join_stamps(&mut finished, &source),
        }
        recorder.tally
    })
}

struct Recorder {
    key: PointKey,
    journal: JournalSender,
    progress: Arc<Progress>,
    tally: Tally,
    /// Finished requests without stamps, by id, and since when they wait.
    waiting: HashMap<String, (RequestRecord, Instant)>,
    /// Stamps that came before their request was finished here.
    stamps: HashMap<String, StageStamps>,
}

impl Recorder {
    fn join_stamps(&mut self, finished: &mut UnboundedReceiver<RequestRecord>, source: &StampSource) {
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
            for stamp in source() {
                self.stamped(stamp);
            }
            self.give_up(Instant::now());
            std::thread::sleep(TICK);
        }
    }

    fn finished(&mut self, mut record: RequestRecord) {
        match self.stamps.remove(&record.id) {
            Some(stamps) => {
                record.stages = self.stages(&stamps);
                self.write(record);
            }
            None => {
                self.waiting.insert(record.id.clone(), (record, Instant::now()));
            }
        }
    }

    fn stamped(&mut self, stamps: StageStamps) {
        match self.waiting.remove(&stamps.request_id) {
            Some((mut record, _)) => {
                record.stages = self.stages(&stamps);
                self.write(record);
            }
            None => {
                self.stamps.insert(stamps.request_id.clone(), stamps);
            }
        }
    }

    /// The proxy's instants on the point's clock.
    fn stages(&self, stamps: &StageStamps) -> Option<Stages> {
        let zero = self.progress.time_zero()?;
        let at = |instant: Instant| Offset::from(instant.saturating_duration_since(zero));
        let index = |backend: Option<usize>| backend.and_then(|i| u32::try_from(i).ok());
        Some(Stages {
            accepted: Some(at(stamps.accepted)),
            prefill_sent: stamps.prefill_sent.map(at),
            prefill_head: stamps.prefill_head.map(at),
            decode_sent: stamps.decode_sent.map(at),
            first_byte: stamps.first_byte.map(at),
            end: Some(at(stamps.end)),
            prefill: index(stamps.prefill_backend),
            decode: index(stamps.decode_backend),
        })
    }

    fn give_up(&mut self, now: Instant) {
        let tired: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, (_, since))| now.duration_since(*since) > PATIENCE)
            .map(|(id, _)| id.clone())
            .collect();
        for id in tired {
            if let Some((record, _)) = self.waiting.remove(&id) {
                self.write(record);
            }
        }
    }

    fn write(&mut self, record: RequestRecord) {
        let tally = &mut self.tally;
        tally.last_end = tally.last_end.max(record.timeline.end);
        match &record.outcome {
            Outcome::Completed => tally.completed += 1,
            Outcome::Unfinished => tally.unfinished += 1,
            Outcome::Failed(failure) => {
                let entry = tally.failures.entry(failure.kind()).or_insert_with(|| (0, failure.to_string()));
                entry.0 += 1;
            }
        }
        self.journal.append(self.key, record);
    }
}
