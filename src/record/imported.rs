//! Reading others' result files: which can be used, and why the others can't.

use super::error::RecordError;
use super::import::{self, Contents, ImportedPoint};
use super::run::{RecordedPoint, RecordedRun, Stretch, mode_of_name, sort};
use crate::analyse::Samples;
use crate::outcome::PointKey;
use crate::plan::window::Window;
use std::path::Path;

pub(super) fn read(run: &Path, window: Window) -> Result<RecordedRun, RecordError> {
    let mut skipped = Vec::new();
    let mut found: Vec<ImportedPoint> = Vec::new();
    let files = import::result_files(run)?;
    for path in &files {
        let Contents { points, problems } = Contents::of_file(path);
        if import::is_summary(path, &files) && !points.is_empty() {
            skipped.push(format!("{}: it repeats what the files beside it hold", path.display()));
            continue;
        }
        found.extend(points);
        skipped.extend(problems.into_iter().map(|problem| format!("{}: {problem}", path.display())));
    }
    // Repeats of a rate are told apart by when they were made; of the same moment, by the order of their files.
    found.sort_by(|a, b| a.date.cmp(&b.date));
    let Some(first) = found.first() else {
        return Err(RecordError::NoRun { path: run.to_path_buf(), skipped });
    };
    let mode = first.mode.clone().unwrap_or_else(|| mode_of_name(run));
    let facts = first.facts.clone();
    let mut points: Vec<RecordedPoint> = Vec::new();
    for point in &found {
        let attempt = 1 + points.iter().filter(|p| p.key.rate == point.rate).count() as u32;
        points.push(within(point, attempt, window));
    }
    sort(&mut points);
    if window != Window::All {
        skipped.push(format!("requests that were due outside of the window `{window}`"));
    }
    Ok(RecordedRun { dir: run.to_path_buf(), mode, manifest: None, imported: Some(facts), points, skipped })
}

/// The part of a point that is to be judged.
fn within(point: &ImportedPoint, attempt: u32, window: Window) -> RecordedPoint {
    let stretch = match window {
        Window::All => None,
        Window::Between { from, to } => Some(Stretch::between(from, to)),
        Window::Steady => Some(Stretch::steady(&Samples::from_records(&point.records, None))),
    };
    let held = point.records.iter().filter(|r| stretch.is_none_or(|s| s.holds(r)));
    RecordedPoint {
        duration_secs: point.duration_secs.filter(|_| window == Window::All),
        launch: point.launch,
        host: point.host.clone(),
        ..RecordedPoint::new(PointKey { rate: point.rate, attempt }, None, held)
    }
}
