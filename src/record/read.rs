//! Reading a run back: our own directories from their journal, others' from their result files.

use super::dir;
use super::error::RecordError;
use super::imported;
use super::journal;
use super::manifest::Manifest;
pub use super::run::{ImportedFacts, RecordedPoint, RecordedRun, mode_of_name, stamp_position};
use super::run::{Stretch, sort};
use crate::analyse::samples::SamplesBuilder;
use crate::outcome::{PointFacts, PointKey};
use crate::plan::goodput_unit::GoodputUnit;
use crate::plan::options::SloOptions;
use crate::plan::window::Window;
use crate::words;
use std::path::Path;

/// Records to make room for at once, whatever the manifest says was offered.
const MOST_RESERVED: u32 = 1 << 20;

/// What of a run is judged; the run's own choice where it is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JudgedPart {
    pub window: Option<Window>,
    pub per: Option<GoodputUnit>,
}

impl From<&SloOptions> for JudgedPart {
    fn from(options: &SloOptions) -> JudgedPart {
        JudgedPart { window: options.window, per: options.goodput_per }
    }
}

impl RecordedRun {
    /// # Errors
    /// When the directory holds no run, or a file of it is damaged in the middle.
    pub fn read(run: &Path) -> Result<RecordedRun, RecordError> {
        RecordedRun::read_as(run, JudgedPart::default())
    }

    /// Only requests due within a window, or sessions in place of requests.
    pub fn read_as(run: &Path, judged: JudgedPart) -> Result<RecordedRun, RecordError> {
        let JudgedPart { window, per } = judged;
        if journal::exists(&run.join(dir::JOURNAL)) && run.join(dir::MANIFEST).is_file() {
            own(run, window, per)
        } else {
            imported::read(run, window.unwrap_or_default())
        }
    }
}

/// The journal goes by line by line, and only columns of it stay. A steady state has to be found first: then, and only
/// then, it goes by twice.
fn own(run: &Path, window: Option<Window>, per: Option<GoodputUnit>) -> Result<RecordedRun, RecordError> {
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
    let per = per.unwrap_or(manifest.sweep.goodput_per);
    points.iter_mut().for_each(|point| point.count_per(per));
    Ok(RecordedRun {
        dir: run.to_path_buf(),
        mode: manifest.arm.name.clone(),
        manifest: Some(manifest),
        imported: None,
        points,
        skipped: Vec::new(),
    })
}

impl RecordedPoint {
    /// One point of our own, whose lines begin at byte `start` of the journal or later. All of its requests, whatever the
    /// run's window.
    pub fn read(run: &Path, facts: PointFacts, start: u64) -> Result<RecordedPoint, RecordError> {
        let mut builder = SamplesBuilder::with_capacity(facts.offered.min(MOST_RESERVED) as usize);
        journal::read_from(&run.join(dir::JOURNAL), start, |entry| {
            if entry.key == facts.key {
                builder.push(&entry.record);
            }
        })?;
        let samples = builder.finish(Some(facts.offered));
        Ok(RecordedPoint::of_samples(facts.key, Some(facts), samples))
    }
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
    for (facts, _, builder) in &building {
        if let Some(index) = builder.doubled() {
            let (path, point) = (run.join(dir::JOURNAL), words::named(facts.key.rate));
            return Err(RecordError::Doubled { path, point, index });
        }
    }
    let point = |(facts, stretch, builder): (&PointFacts, Option<Stretch>, SamplesBuilder)| {
        let all = stretch.is_none().then_some(facts.offered);
        let samples = builder.finish(all);
        let facts = stretch.map_or_else(|| facts.clone(), |s| s.facts(facts, samples.len()));
        RecordedPoint::of_samples(facts.key, Some(facts), samples)
    };
    Ok(building.into_iter().map(point).collect())
}
