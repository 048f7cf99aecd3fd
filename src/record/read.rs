//! Reading a run back: our own directories from their journal, others' from result files in vLLM's format.

use super::dir;
use super::error::RecordError;
use super::import::VllmFile;
use super::journal;
use super::manifest::Manifest;
use crate::analyse::Samples;
use crate::analyse::samples::SamplesBuilder;
use crate::analyse::summary::steady_seconds;
use crate::outcome::{PointFacts, PointKey, RequestRecord};
use crate::plan::window::Window;
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

    fn of_samples(key: PointKey, facts: Option<PointFacts>, samples: Samples) -> RecordedPoint {
        let duration_secs = facts.as_ref().map(|f| f.duration_secs);
        let launch = facts.as_ref().map_or(1, |f| f.launch.max(1));
        let host = facts.as_ref().and_then(|f| f.host.clone());
        RecordedPoint { key, facts, launch, host, duration_secs, samples: Arc::new(samples) }
    }
}

/// What vLLM-format files know of their deployment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportedFacts {
    pub model: Option<String>,
    pub dataset: Option<String>,
    pub date: Option<String>,
    pub prefill: Option<u32>,
    pub decode: Option<u32>,
    pub tensor_parallel: Option<u32>,
    pub prefill_tp: Option<u32>,
    pub decode_tp: Option<u32>,
}

impl ImportedFacts {
    fn of(file: &VllmFile) -> Self {
        ImportedFacts {
            model: file.model_id.clone(),
            dataset: file.text("dataset_name").map(str::to_string),
            date: file.date.clone(),
            prefill: file.count("num_prefill_instances"),
            decode: file.count("num_decode_instances"),
            tensor_parallel: file.count("tensor_parallel_size"),
            prefill_tp: file.count("prefill_tensor_parallel_size").or_else(|| file.count("prefiller_tp_size")),
            decode_tp: file.count("decode_tensor_parallel_size").or_else(|| file.count("decoder_tp_size")),
        }
    }

    /// GPUs of the whole deployment, where the files say enough.
    pub fn gpus(&self) -> Option<u32> {
        let tp = self.tensor_parallel;
        match (self.prefill.filter(|&n| n > 0), self.decode.filter(|&n| n > 0)) {
            (Some(p), Some(d)) => Some(p * self.prefill_tp.or(tp)? + d * self.decode_tp.or(tp)?),
            (None, None) => tp,
            _ => None,
        }
    }
}

/// Records to make room for at once, whatever the manifest says was offered.
const MOST_RESERVED: u32 = 1 << 20;

impl RecordedRun {
    /// # Errors
    /// When the directory holds no run, or a file of it is damaged in the middle.
    pub fn read(run: &Path) -> Result<RecordedRun, RecordError> {
        RecordedRun::read_within(run, None)
    }

    /// Only requests due within `window`; the run's own window where it is `None`.
    pub fn read_within(run: &Path, window: Option<Window>) -> Result<RecordedRun, RecordError> {
        if run.join(dir::JOURNAL).is_file() && run.join(dir::MANIFEST).is_file() {
            own(run, window)
        } else {
            imported(run, window.unwrap_or_default())
        }
    }

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

/// The journal goes by line by line, and only columns of it stay. A steady state has to be found first: then, and only
/// then, it goes by twice.
fn own(run: &Path, window: Option<Window>) -> Result<RecordedRun, RecordError> {
    let manifest = Manifest::read(run)?;
    let window = window.or(manifest.sweep.window).unwrap_or_default();
    let read = |stretch: &dyn Fn(PointKey) -> Option<Stretch>| own_points(run, &manifest.points, stretch);
    let mut points = match window {
        Window::All => read(&|_| None)?,
        Window::Between { from, to } => read(&|_| Some(Stretch::between(from, to)))?,
        Window::Steady => {
            let whole = read(&|_| None)?;
            read(&|key| whole.iter().find(|p| p.key == key).map(|p| Stretch::steady(&p.samples)))?
        }
    };
    sort(&mut points);
    Ok(RecordedRun {
        dir: run.to_path_buf(),
        mode: manifest.arm.name.clone(),
        manifest: Some(manifest),
        imported: None,
        points,
        skipped: Vec::new(),
    })
}

/// A point without facts was cut off while it was measured: it is not a result.
fn own_points(
    run: &Path,
    facts: &[PointFacts],
    stretch: impl Fn(PointKey) -> Option<Stretch>,
) -> Result<Vec<RecordedPoint>, RecordError> {
    let room = |facts: &PointFacts| SamplesBuilder::with_capacity(facts.offered.min(MOST_RESERVED) as usize);
    let mut building: Vec<_> = facts.iter().map(|facts| (facts, stretch(facts.key), room(facts))).collect();
    journal::read(&run.join(dir::JOURNAL), |entry| {
        let Some((_, stretch, builder)) = building.iter_mut().rfind(|(facts, ..)| facts.key == entry.key) else {
            return;
        };
        if stretch.is_none_or(|s| s.holds(&entry.record)) {
            builder.push(&entry.record);
        }
    })?;
    let point = |(facts, stretch, builder): (&PointFacts, Option<Stretch>, SamplesBuilder)| {
        let all = stretch.is_none().then_some(facts.offered);
        let samples = builder.finish(all);
        let facts = stretch.map_or_else(|| facts.clone(), |s| s.facts(facts, samples.len()));
        RecordedPoint::of_samples(facts.key, Some(facts), samples)
    };
    Ok(building.into_iter().map(point).collect())
}

/// A window's place within one point, seconds of due.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: f64,
    to: f64,
}

impl Stretch {
    fn between(from: f64, to: Option<f64>) -> Stretch {
        Stretch { from, to: to.unwrap_or(f64::INFINITY) }
    }

    /// All of a point that has no steady state.
    fn steady(samples: &Samples) -> Stretch {
        let steady = |seconds: std::ops::Range<usize>| Stretch { from: seconds.start as f64, to: seconds.end as f64 };
        steady_seconds(samples).map_or_else(|| Stretch::between(0.0, None), steady)
    }

    fn holds(self, record: &RequestRecord) -> bool {
        (self.from..self.to).contains(&record.timeline.due.as_secs())
    }

    /// What is known of the point, told of its part. Counters stay those of the whole.
    fn facts(self, whole: &PointFacts, held: usize) -> PointFacts {
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

fn sort(points: &mut [RecordedPoint]) {
    points.sort_by(|a, b| a.key.rate.total_cmp(&b.key.rate).then(a.key.attempt.cmp(&b.key.attempt)));
}

fn imported(run: &Path, window: Window) -> Result<RecordedRun, RecordError> {
    let mut skipped = Vec::new();
    let mut files: Vec<(PathBuf, VllmFile)> = Vec::new();
    for path in json_files(run)? {
        let bytes = std::fs::read(&path).map_err(RecordError::read(&path))?;
        match VllmFile::parse(&bytes) {
            Ok(file) => files.push((path, file)),
            Err(detail) => skipped.push(format!("{}: {detail}", path.display())),
        }
    }
    if files.is_empty() {
        return Err(RecordError::NoRun { path: run.to_path_buf() });
    }
    // Repeats of a rate are told apart by when they were made.
    files.sort_by(|(a, fa), (b, fb)| fa.date.cmp(&fb.date).then_with(|| a.cmp(b)));
    let mut points: Vec<RecordedPoint> = Vec::new();
    for (path, file) in &files {
        let wrong = |detail| RecordError::Import { path: path.clone(), detail };
        let rate = file.rate().map_err(wrong)?;
        let attempt = 1 + points.iter().filter(|p| p.key.rate == rate).count() as u32;
        let records = file.records().map_err(wrong)?;
        let duration_secs = file.duration.filter(|secs| *secs > 0.0 && secs.is_finite() && window == Window::All);
        let key = PointKey { rate, attempt };
        let stretch = match window {
            Window::All => None,
            Window::Between { from, to } => Some(Stretch::between(from, to)),
            Window::Steady => Some(Stretch::steady(&Samples::from_records(&records, None))),
        };
        let held = records.iter().filter(|r| stretch.is_none_or(|s| s.holds(r)));
        let point = RecordedPoint::new(key, None, held);
        let launch = file.count("launch").map_or(1, |n| n.max(1));
        let host = file.text("host").map(str::to_string);
        points.push(RecordedPoint { duration_secs, launch, host, ..point });
    }
    sort(&mut points);
    if window != Window::All {
        skipped.push(format!("requests that were due outside of the window `{window}`"));
    }
    let first = &files[0].1;
    Ok(RecordedRun {
        dir: run.to_path_buf(),
        mode: first.text("deployment_mode").map_or_else(|| mode_of_name(run), str::to_string),
        manifest: None,
        imported: Some(ImportedFacts::of(first)),
        points,
        skipped,
    })
}

fn json_files(run: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let entries = std::fs::read_dir(run).map_err(RecordError::read(run))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json") && p.is_file())
        .filter(|p| !p.file_name().is_some_and(|n| n == dir::MANIFEST || n == "compare.json"))
        .collect();
    files.sort();
    Ok(files)
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
