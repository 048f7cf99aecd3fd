//! One run as its files tell of it, while somebody writes them or long after.
//!
//! A finished point is read into the same columns as a report's. The point under way is judged by the requests that have
//! ended: they are the journal's lines of a point that the manifest doesn't know yet.

use super::tail::{FileTail, Look};
use crate::analyse::PointInput;
use crate::analyse::samples::SamplesBuilder;
use crate::outcome::{PointKey, RunStatus};
use crate::record::journal::Entry;
use crate::record::{Manifest, RecordError, RecordedPoint, RecordedRun, dir};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run that is looked at again and again.
pub(super) struct RunWatch {
    /// With the points that are finished.
    pub(super) run: RecordedRun,
    /// Whether its journal may still grow.
    is_open: bool,
    manifest_seen: Option<(u64, i64, i64)>,
    journal: FileTail,
    /// Points with lines in the journal that are not finished: one, or those found at the first look.
    under_way: Vec<UnderWay>,
}

/// A point without facts.
struct UnderWay {
    key: PointKey,
    builder: SamplesBuilder,
    ended: u32,
}

/// What a look changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changed {
    /// Points were finished, or the run has another status.
    pub(super) points: bool,
    /// More requests of the point under way have ended.
    pub(super) under_way: bool,
}

/// The point under way, as far as it went.
pub(super) struct SoFar {
    pub(super) input: PointInput,
    /// Requests of its schedule; `None` where the manifest doesn't tell.
    pub(super) offered: Option<u32>,
}

impl RunWatch {
    /// # Errors
    /// Where there is no run, or a file of it is damaged.
    pub(super) fn open(path: &Path) -> Result<RunWatch, RecordError> {
        let watch = |run, is_open| RunWatch {
            run,
            is_open,
            manifest_seen: None,
            journal: FileTail::of(path.join(dir::JOURNAL)),
            under_way: Vec::new(),
        };
        let manifest = path.join(dir::MANIFEST).is_file().then(|| Manifest::read(path)).transpose()?;
        // A run whose journal is packed, or gone, has ended whatever its manifest says.
        let may_grow = |m: &Manifest| path.join(dir::JOURNAL).is_file() || m.points.is_empty();
        match manifest {
            Some(manifest) if manifest.status == RunStatus::Incomplete && may_grow(&manifest) => {
                let run = RecordedRun {
                    dir: path.to_path_buf(),
                    mode: manifest.arm.name.clone(),
                    manifest: Some(manifest),
                    imported: None,
                    points: Vec::new(),
                    skipped: Vec::new(),
                };
                Ok(watch(run, true))
            }
            _ => Ok(watch(RecordedRun::read(path)?, false)),
        }
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.run.manifest.as_ref()
    }

    /// Whether somebody may be measuring it.
    pub(super) fn is_unfinished(&self) -> bool {
        self.manifest().is_some_and(|m| m.status == RunStatus::Incomplete)
    }

    /// Whether any engine of it was started.
    pub(super) fn was_launched(&self) -> bool {
        self.manifest().is_some_and(|m| !m.instances.is_empty())
    }

    /// Reads what is new. A finished run stays as it was read, unless its manifest is written anew.
    pub(super) fn look(&mut self) -> Result<Changed, RecordError> {
        let mut changed = Changed::default();
        if self.read_manifest()? {
            changed.points = true;
            self.is_open |= self.is_unfinished();
        }
        if !self.is_open {
            return Ok(changed);
        }
        self.read_journal(&mut changed)?;
        let known = self.run.points.len();
        self.finish_points()?;
        changed.points |= self.run.points.len() != known;
        Ok(changed)
    }

    /// Whether it is another one than was read last.
    fn read_manifest(&mut self) -> Result<bool, RecordError> {
        let path = self.run.dir.join(dir::MANIFEST);
        let Ok(facts) = std::fs::metadata(&path) else { return Ok(false) };
        let seen = Some((facts.ino(), facts.mtime(), facts.mtime_nsec()));
        if self.manifest_seen == seen {
            return Ok(false);
        }
        self.run.manifest = Some(Manifest::read(&self.run.dir)?);
        self.manifest_seen = seen;
        Ok(true)
    }

    fn read_journal(&mut self, changed: &mut Changed) -> Result<(), RecordError> {
        loop {
            match self.read_lines(changed)? {
                Look::Whole => return Ok(()),
                Look::Part => {}
                Look::Replaced => {
                    // A resumed run: finished points stay byte for byte, and are read again with the rest, at once, for
                    // their facts are known.
                    self.under_way.clear();
                    self.run.points.clear();
                    changed.points = true;
                }
            }
        }
    }

    fn read_lines(&mut self, changed: &mut Changed) -> Result<Look, RecordError> {
        let (run, under_way) = (&self.run, &mut self.under_way);
        let is_finished = |key: PointKey| run.points.iter().any(|p| p.key == key);
        let look = self.journal.look(|line| {
            // A damaged line is for a report to tell of.
            let Ok(Entry { key, record }) = serde_json::from_slice(line) else { return };
            if is_finished(key) {
                return;
            }
            changed.under_way = true;
            let at = under_way.iter().rposition(|point| point.key == key).unwrap_or_else(|| {
                under_way.push(UnderWay { key, builder: SamplesBuilder::default(), ended: 0 });
                under_way.len() - 1
            });
            under_way[at].builder.push(&record);
            under_way[at].ended += 1;
        });
        look.map_err(RecordError::read(&run.dir.join(dir::JOURNAL)))
    }

    /// Points whose facts are known by now. Their requests were on disk before the facts were.
    fn finish_points(&mut self) -> Result<(), RecordError> {
        let Some(manifest) = &self.run.manifest else { return Ok(()) };
        let mut finished = Vec::new();
        for facts in &manifest.points {
            if self.run.points.iter().any(|p| p.key == facts.key) {
                continue;
            }
            let at = self.under_way.iter().position(|point| point.key == facts.key);
            let builder = at.map(|at| self.under_way.remove(at).builder).unwrap_or_default();
            finished.push(RecordedPoint::of_samples(
                facts.key,
                Some(facts.clone()),
                builder.finish(Some(facts.offered)),
            ));
        }
        if finished.is_empty() {
            return Ok(());
        }
        if manifest.sweep.window.is_some() {
            // Only a part of each point is judged, and which one is told by the whole of it.
            self.run.points = RecordedRun::read(&self.run.dir)?.points;
            return Ok(());
        }
        finished.iter_mut().for_each(|point| point.count_per(manifest.sweep.goodput_per));
        self.run.points.append(&mut finished);
        self.run.points.sort_by(|a, b| a.key.rate.total_cmp(&b.key.rate).then(a.key.attempt.cmp(&b.key.attempt)));
        Ok(())
    }

    /// The point whose requests are ending now; `None` between two points.
    pub(super) fn so_far(&self) -> Option<SoFar> {
        let manifest = self.manifest().filter(|m| m.status == RunStatus::Incomplete)?;
        let point = self.under_way.last()?;
        let offered = manifest.traces.iter().find(|t| t.key == point.key).map(|t| t.requests);
        let launch = manifest.instances.iter().map(|i| i.launch).max().unwrap_or(1);
        let input = PointInput {
            rate: point.key.rate,
            attempt: point.key.attempt,
            launch: launch.max(1),
            host: None,
            facts: None,
            duration_secs: None,
            samples: Arc::new(point.builder.clone().finish(None).per(manifest.sweep.goodput_per)),
        };
        Some(SoFar { input, offered })
    }

    /// The point that was begun last and is not finished, whether a request of it has ended or not.
    pub(super) fn begun(&self) -> Option<(PointKey, u32, u32)> {
        let manifest = self.manifest().filter(|m| m.status == RunStatus::Incomplete)?;
        let trace = manifest.traces.last().filter(|t| manifest.point(t.key).is_none())?;
        let ended = self.under_way.iter().find(|point| point.key == trace.key).map_or(0, |point| point.ended);
        Some((trace.key, trace.requests, ended))
    }

    /// Where its engines' logs lie.
    pub(super) fn logs(&self) -> PathBuf {
        self.run.dir.join(dir::LOGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::PointFacts;
    use crate::record::journal;

    /// A curated run with its journal unpacked, put together anew by whoever writes the test.
    struct Copy {
        dir: tempfile::TempDir,
        manifest: Manifest,
        lines: Vec<Vec<u8>>,
    }

    impl Copy {
        fn new() -> Copy {
            let source =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("results/curated/h100x2-qwen3-8b/nixl_20261122_001955");
            let manifest = Manifest::read(&source).expect("a manifest");
            let mut lines = Vec::new();
            let mut bytes = Vec::new();
            let packed = std::fs::File::open(journal::packed(&source.join(dir::JOURNAL))).expect("a packed journal");
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(packed), &mut bytes).expect("unpacks");
            bytes.split_inclusive(|b| *b == b'\n').for_each(|line| lines.push(line.to_vec()));
            Copy { dir: tempfile::tempdir().expect("tempdir"), manifest, lines }
        }

        fn whole(&self) -> RecordedRun {
            self.write_manifest(RunStatus::Completed, self.manifest.points.clone());
            std::fs::write(self.dir.path().join(dir::JOURNAL), self.lines.concat()).expect("written");
            RecordedRun::read(self.dir.path()).expect("a run")
        }

        fn write_manifest(&self, status: RunStatus, points: Vec<PointFacts>) {
            Manifest { status, points, ..self.manifest.clone() }.write(self.dir.path()).expect("written");
        }

        fn append(&self, lines: &[Vec<u8>]) {
            let path = self.dir.path().join(dir::JOURNAL);
            let mut file = std::fs::File::options().create(true).append(true).open(path).expect("opens");
            std::io::Write::write_all(&mut file, &lines.concat()).expect("written");
        }
    }

    fn judged(run: &RecordedRun) -> Vec<(PointKey, usize, usize)> {
        run.points.iter().map(|p| (p.key, p.samples.len(), p.samples.served())).collect()
    }

    #[test]
    fn a_run_watched_from_its_beginning_is_the_run_that_is_read_at_its_end() {
        let copy = Copy::new();
        let whole = judged(&copy.whole());
        std::fs::remove_file(copy.dir.path().join(dir::JOURNAL)).expect("removed");
        copy.write_manifest(RunStatus::Incomplete, Vec::new());
        let mut watch = RunWatch::open(copy.dir.path()).expect("a run");
        let key_of = |line: &Vec<u8>| serde_json::from_slice::<PointKey>(line).expect("a key");
        let mut known = Vec::new();
        for facts in &copy.manifest.points {
            let own: Vec<Vec<u8>> = copy.lines.iter().filter(|l| key_of(l) == facts.key).cloned().collect();
            let (first, rest) = own.split_at(own.len() / 2);
            copy.append(first);
            let changed = watch.look().expect("readable");
            assert!(changed.under_way);
            let so_far = watch.so_far().expect("a point under way");
            assert_eq!((so_far.input.rate, so_far.input.samples.len()), (facts.key.rate, first.len()));
            copy.append(rest);
            known.push(facts.clone());
            copy.write_manifest(RunStatus::Incomplete, known.clone());
            assert!(watch.look().expect("readable").points);
            assert!(watch.so_far().is_none(), "nothing is under way");
        }
        assert_eq!(judged(&watch.run), whole);
    }

    #[test]
    fn a_run_that_is_resumed_is_read_anew() {
        let copy = Copy::new();
        let whole = judged(&copy.whole());
        let points = copy.manifest.points.clone();
        copy.write_manifest(RunStatus::Incomplete, points[..1].to_vec());
        let mut watch = RunWatch::open(copy.dir.path()).expect("a run");
        watch.look().expect("readable");
        assert_eq!(watch.run.points.len(), 1);
        // As `--resume` does: the lines of unfinished points are dropped, in a file that takes the old one's place.
        journal::retain_points(&copy.dir.path().join(dir::JOURNAL), |key| key == points[0].key).expect("retained");
        watch.look().expect("readable");
        assert!(watch.so_far().is_none());
        copy.append(
            &copy
                .lines
                .iter()
                .filter(|l| serde_json::from_slice::<PointKey>(l).is_ok_and(|k| k != points[0].key))
                .cloned()
                .collect::<Vec<_>>(),
        );
        copy.write_manifest(RunStatus::Completed, points);
        watch.look().expect("readable");
        assert_eq!(judged(&watch.run), whole);
    }
}
