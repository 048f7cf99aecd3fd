//! Between the load and the journal: gives each finished request the proxy's stage stamps, then writes it down.
//!
//! Stamps come out of band and a little later than the answer, so a record waits for its stamps, but not for long: a
//! request that never reached the proxy has none.

use crate::outcome::{Outcome, PointKey, RequestRecord, Stages};
use crate::record::journal::JournalSender;
use crate::units::Offset;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use topobench_proxy::StageStamps;

/// How long a finished request may wait for its stamps.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the proxy is asked for stamps.
const TICK: Duration = Duration::from_millis(50);

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

/// Starts the recorder of one point. It ends when all senders of `finished` are gone.
pub fn start(
    key: PointKey,
    finished: Receiver<RequestRecord>,
    journal: JournalSender,
    stamps: Option<StampSource>,
    zero: impl Fn() -> Option<Instant> + Send + 'static,
) -> std::io::Result<JoinHandle<Tally>> {
    std::thread::Builder::new().name("recorder".to_string()).spawn(move || {
        let mut recorder =
            Recorder { key, journal, tally: Tally::default(), waiting: HashMap::new(), stamps: HashMap::new() };
        match stamps {
            None => finished.iter().for_each(|record| recorder.write(record)),
            Some(source) => recorder.join_stamps(&finished, &source, &zero),
        }
        recorder.tally
    })
}

struct Recorder {
    key: PointKey,
    journal: JournalSender,
    tally: Tally,
    /// Finished requests without stamps, by id, and since when they wait.
    waiting: HashMap<String, (RequestRecord, Instant)>,
    /// Stamps that came before their request was finished here.
    stamps: HashMap<String, StageStamps>,
}

impl Recorder {
    fn join_stamps(
        &mut self,
        finished: &Receiver<RequestRecord>,
        source: &StampSource,
        zero: &dyn Fn() -> Option<Instant>,
    ) {
        let mut open = true;
        let mut next_drain = Instant::now();
        while open || !self.waiting.is_empty() {
            if open {
                match finished.recv_timeout(TICK) {
                    Ok(record) => self.finished(record, zero),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => open = false,
                }
            } else {
                std::thread::sleep(TICK / 5);
            }
            let now = Instant::now();
            if now >= next_drain {
                next_drain = now + TICK;
                for stamp in source() {
                    self.stamped(stamp, zero);
                }
                self.give_up(now);
            }
        }
    }

    fn finished(&mut self, mut record: RequestRecord, zero: &dyn Fn() -> Option<Instant>) {
        match self.stamps.remove(&record.id) {
            Some(stamps) => {
                record.stages = zero().map(|zero| stages(&stamps, zero));
                self.write(record);
            }
            None => {
                self.waiting.insert(record.id.clone(), (record, Instant::now()));
            }
        }
    }

    fn stamped(&mut self, stamps: StageStamps, zero: &dyn Fn() -> Option<Instant>) {
        match self.waiting.remove(&stamps.request_id) {
            Some((mut record, _)) => {
                record.stages = zero().map(|zero| self::stages(&stamps, zero));
                self.write(record);
            }
            None => {
                self.stamps.insert(stamps.request_id.clone(), stamps);
            }
        }
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

/// The proxy's instants on the point's clock.
fn stages(stamps: &StageStamps, zero: Instant) -> Stages {
    let at = |instant: Instant| Offset::from(instant.saturating_duration_since(zero));
    let index = |backend: Option<usize>| backend.and_then(|i| u32::try_from(i).ok());
    Stages {
        accepted: Some(at(stamps.accepted)),
        prefill_sent: stamps.prefill_sent.map(at),
        prefill_head: stamps.prefill_head.map(at),
        decode_sent: stamps.decode_sent.map(at),
        first_byte: stamps.first_byte.map(at),
        end: Some(at(stamps.end)),
        prefill: index(stamps.prefill_backend),
        decode: index(stamps.decode_backend),
    }
}
