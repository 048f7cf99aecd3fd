//! Reading a run back: our own directories from their journal, others' from result files in vLLM's format.

use super::dir;
use super::error::RecordError;
use super::import::VllmFile;
use super::journal;
use super::manifest::Manifest;
use crate::outcome::{PointFacts, PointKey, RequestRecord};
use std::path::{Path, PathBuf};

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
    /// Seconds from the first due to the last outcome: of the facts, or as an imported file tells.
    pub duration_secs: Option<f64>,
    /// Ordered by index. Of a run whose journal is larger than [`WHOLE_JOURNAL_BYTES`] most have neither chunks nor text.
    pub records: Vec<RequestRecord>,
}

/// Journals up to this size are read whole: some 90,000 requests of 128 tokens. Of larger ones the chunks of every so
/// many requests are kept, enough for the gaps between tokens; the other times of every request always are.
pub const WHOLE_JOURNAL_BYTES: u64 = 64 << 20;

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

impl RecordedPoint {
    /// Of our own run.
    pub fn recorded(key: PointKey, facts: Option<PointFacts>, records: Vec<RequestRecord>) -> Self {
        let duration_secs = facts.as_ref().map(|f| f.duration_secs);
        RecordedPoint { key, facts, duration_secs, records }
    }
}

impl RecordedRun {
    /// # Errors
    /// When the directory holds no run, or a file of it is damaged in the middle.
    pub fn read(run: &Path) -> Result<RecordedRun, RecordError> {
        if run.join(dir::JOURNAL).is_file() && run.join(dir::MANIFEST).is_file() { own(run) } else { imported(run) }
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

    /// One hash over all points' traces, where they are known.
    pub fn trace_hash(&self, key: PointKey) -> Option<&str> {
        let traces = &self.manifest.as_ref()?.traces;
        traces.iter().find(|t| t.key == key).map(|t| t.sha256.as_str())
    }
}

fn own(run: &Path) -> Result<RecordedRun, RecordError> {
    own_thinned(run, WHOLE_JOURNAL_BYTES)
}

fn own_thinned(run: &Path, whole_bytes: u64) -> Result<RecordedRun, RecordError> {
    let manifest = Manifest::read(run)?;
    let path = run.join(dir::JOURNAL);
    let bytes = std::fs::metadata(&path).map_err(RecordError::read(&path))?.len();
    let one_in = bytes.div_ceil(whole_bytes).max(1);
    let mut points: Vec<RecordedPoint> = Vec::new();
    journal::read(&path, |mut entry| {
        let at = points.iter().rposition(|p| p.key == entry.key).unwrap_or_else(|| {
            let facts = manifest.point(entry.key).cloned();
            let offered = facts.as_ref().map_or(0, |f| f.offered.min(MOST_RESERVED) as usize);
            points.push(RecordedPoint::recorded(entry.key, facts, Vec::with_capacity(offered)));
            points.len() - 1
        });
        if !is_kept_whole(entry.record.index, one_in) {
            entry.record.timeline.chunks = Vec::new();
            entry.record.text = None;
        }
        points[at].records.push(entry.record);
    })?;
    // A point without facts was cut off while it was measured: it is not a result.
    points.retain(|p| p.facts.is_some());
    for facts in &manifest.points {
        if !points.iter().any(|p| p.key == facts.key) {
            points.push(RecordedPoint::recorded(facts.key, Some(facts.clone()), Vec::new()));
        }
    }
    sort(&mut points);
    Ok(RecordedRun {
        dir: run.to_path_buf(),
        mode: manifest.arm.name.clone(),
        manifest: Some(manifest),
        imported: None,
        points,
        skipped: thinned(&path, one_in).into_iter().collect(),
    })
}

/// Scattered by Knuth's multiplicative hash: every nth request could always be the same turn of a conversation.
fn is_kept_whole(index: u32, one_in: u64) -> bool {
    u64::from(index.wrapping_mul(2_654_435_761) >> 8) % one_in == 0
}

fn thinned(path: &Path, one_in: u64) -> Option<String> {
    let path = path.display();
    let told = || {
        format!(
            "single tokens of most requests in {path}, which is large: gaps between tokens are those of one request in {one_in}"
        )
    };
    (one_in > 1).then(told)
}

fn sort(points: &mut [RecordedPoint]) {
    points.sort_by(|a, b| a.key.rate.total_cmp(&b.key.rate).then(a.key.attempt.cmp(&b.key.attempt)));
    for point in points {
        point.records.sort_by_key(|r| r.index);
    }
}

fn imported(run: &Path) -> Result<RecordedRun, RecordError> {
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
        let duration_secs = file.duration.filter(|secs| *secs > 0.0 && secs.is_finite());
        points.push(RecordedPoint { key: PointKey { rate, attempt }, facts: None, duration_secs, records });
    }
    sort(&mut points);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_of_usual_size_is_kept_whole() {
        assert!((0..1000).all(|index| is_kept_whole(index, 1)));
        assert_eq!(thinned(Path::new("requests.jsonl"), 1), None);
    }

    #[test]
    fn of_a_large_one_every_turn_of_a_round_is_kept_as_often() {
        for (one_in, round) in [(4u64, 16u32), (10, 10), (16, 16)] {
            for turn in 0..round {
                let all: Vec<u32> = (turn..160_000).step_by(round as usize).collect();
                let kept = all.iter().filter(|index| is_kept_whole(**index, one_in)).count() as f64;
                let share = kept * one_in as f64 / all.len() as f64;
                assert!((0.8..1.2).contains(&share), "turn {turn} of {round}: {share} of one in {one_in}");
            }
        }
    }
}
