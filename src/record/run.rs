//! A run as it was read back, its own or imported.

pub use super::import::ImportedFacts;
use super::manifest::Manifest;
use crate::analyse::summary::steady_seconds;
use crate::analyse::{PointInput, Samples};
use crate::outcome::{PointFacts, PointKey, RequestRecord};
use crate::plan::goodput_unit::GoodputUnit;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run as far as it was recorded.
#[derive(Debug, Clone)]
pub struct RecordedRun {
    pub dir: PathBuf,
    /// `simple`, `nixl`, or what else the run calls itself.
    pub mode: String,
    /// `None`: others' files, about which little is known.
    pub manifest: Option<Manifest>,
    /// What imported files told: topology keys, model, date.
    pub imported: Option<ImportedFacts>,
    /// Ordered by rate, then attempt.
    pub points: Vec<RecordedPoint>,
    /// What was passed over, and why.
    pub skipped: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct RecordedPoint {
    pub key: PointKey,
    /// `None` for imported files: there is no evidence beside the requests.
    pub facts: Option<PointFacts>,
    /// Which launch of the fleet it was measured on, from 1; 1 where nothing tells.
    pub launch: u32,
    /// Where that fleet ran.
    pub host: Option<String>,
    /// Seconds from the first due to the last outcome: of the facts, or as an imported file tells.
    pub duration_secs: Option<f64>,
    /// Shared with whoever judges it: a run may have a million requests.
    pub samples: Arc<Samples>,
}

impl RecordedPoint {
    /// A point from its records. Requests that `facts` say were offered and that left no record count as not served.
    pub fn new<'a>(
        key: PointKey,
        facts: Option<PointFacts>,
        records: impl IntoIterator<Item = &'a RequestRecord>,
    ) -> RecordedPoint {
        let samples = Samples::from_records(records, facts.as_ref().map(|f| f.offered));
        RecordedPoint::of_samples(key, facts, samples)
    }

    pub(crate) fn of_samples(key: PointKey, facts: Option<PointFacts>, samples: Samples) -> RecordedPoint {
        let duration_secs = facts.as_ref().map(|f| f.duration_secs);
        let launch = facts.as_ref().map_or(1, |f| f.launch.max(1));
        let host = facts.as_ref().and_then(|f| f.host.clone());
        RecordedPoint { key, facts, launch, host, duration_secs, samples: Arc::new(samples) }
    }
}

impl RecordedPoint {
    /// As it is judged.
    pub fn input(&self) -> PointInput {
        PointInput {
            rate: self.key.rate,
            attempt: self.key.attempt,
            launch: self.launch,
            host: self.host.clone(),
            facts: self.facts.clone(),
            duration_secs: self.duration_secs,
            samples: Arc::clone(&self.samples),
        }
    }
}

impl RecordedPoint {
    /// Puts sessions in the place of their requests.
    pub(crate) fn count_per(&mut self, unit: GoodputUnit) {
        if unit.is_request() || !self.samples.is_causal() {
            return;
        }
        let (requests, sessions) = (self.samples.len(), self.samples.per(unit));
        if let Some(facts) = &mut self.facts {
            facts.why.push(format!("judged by {}: {} of {requests} requests", unit.words(), sessions.len()));
        }
        self.samples = Arc::new(sessions);
    }
}

impl RecordedRun {
    pub fn model(&self) -> Option<&str> {
        let own = self.manifest.as_ref().map(|m| m.sweep.model.as_str());
        own.or_else(|| self.imported.as_ref().and_then(|i| i.model.as_deref()))
    }

    pub fn gpus(&self) -> Option<u32> {
        match &self.manifest {
            Some(manifest) => Some(manifest.arm.gpus),
            None => self.imported.as_ref().and_then(ImportedFacts::gpus),
        }
    }
}

/// A window's place within one point, seconds of due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    from: f64,
    to: f64,
}

impl Stretch {
    pub(super) fn between(from: f64, to: Option<f64>) -> Stretch {
        Stretch { from, to: to.unwrap_or(f64::INFINITY) }
    }

    /// All of a point that has no steady state.
    pub(super) fn steady(samples: &Samples) -> Stretch {
        let steady = |seconds: std::ops::Range<usize>| Stretch { from: seconds.start as f64, to: seconds.end as f64 };
        steady_seconds(samples).map_or_else(|| Stretch::between(0.0, None), steady)
    }

    pub(super) fn holds(self, record: &RequestRecord) -> bool {
        (self.from..self.to).contains(&record.timeline.due.as_secs())
    }

    /// What is known of the point, told of its part. Counters stay those of the whole.
    pub(super) fn facts(self, whole: &PointFacts, held: usize) -> PointFacts {
        let end = self.to.min(whole.duration_secs);
        let mut facts = whole.clone();
        facts.why.push(format!(
            "judged by the {held} of {} requests that were due from {} to {:.0} s",
            whole.offered, self.from, end
        ));
        facts.offered = u32::try_from(held).unwrap_or(u32::MAX);
        facts.duration_secs = (end - self.from).max(0.0);
        facts
    }
}

pub(super) fn sort(points: &mut [RecordedPoint]) {
    points.sort_by(|a, b| a.key.rate.total_cmp(&b.key.rate).then(a.key.attempt.cmp(&b.key.attempt)));
}

/// `nixl_20260101_120000` -> `nixl`; a name without a stamp stays whole.
pub fn mode_of_name(run: &Path) -> String {
    let resolved = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    let name = resolved.file_name().map_or_else(|| "run".to_string(), |n| n.to_string_lossy().into_owned());
    match stamp_position(&name) {
        Some(at) if at > 0 => name[..at - 1].to_string(),
        _ => name,
    }
}

/// Where `YYYYmmdd_HHMMSS` begins in a run directory's name.
pub fn stamp_position(name: &str) -> Option<usize> {
    let bytes = name.as_bytes();
    (0..bytes.len().saturating_sub(14)).find(|&at| {
        let window = &bytes[at..at + 15];
        window.iter().enumerate().all(|(i, b)| if i == 8 { *b == b'_' } else { b.is_ascii_digit() })
            && (at == 0 || bytes[at - 1] == b'_')
    })
}
