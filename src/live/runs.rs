//! Which runs are looked at, and what they are called.

use super::run::RunWatch;
use crate::record::race::{self, RaceRecord};
use crate::record::{Manifest, RecordError, RecordedRun, dir, runs_below};
use crate::report::inputs;
use std::path::{Path, PathBuf};

/// Runs that are shown at once: as many as have a colour. Of more, the latest.
const MOST_RUNS: usize = 8;

/// What a page is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// What this process measures: its events name the runs.
    Session,
    /// The race in this directory.
    Race(PathBuf),
    /// These runs.
    Runs(Vec<PathBuf>),
}

impl Watched {
    /// What a directory holds: a race, a run with those of its session, or a tree of runs.
    ///
    /// # Errors
    /// Where there is no run in it.
    pub fn of(place: &Path) -> Result<Watched, RecordError> {
        if place.join(race::RACE).is_file() {
            return Ok(Watched::Race(place.to_path_buf()));
        }
        if let Ok(manifest) = Manifest::read(place) {
            let beside = |name: &String| place.canonicalize().ok().map(|whole| whole.with_file_name(name));
            let session: Vec<PathBuf> =
                manifest.session.iter().filter_map(beside).filter(|run| run.join(dir::MANIFEST).is_file()).collect();
            return Ok(Watched::Runs(if session.is_empty() { vec![place.to_path_buf()] } else { session }));
        }
        let mut below = runs_below(place)?;
        if below.is_empty() {
            return Err(RecordError::NotFound { what: place.display().to_string(), root: place.to_path_buf() });
        }
        below.sort_by_key(|run| std::fs::metadata(run).and_then(|facts| facts.modified()).ok());
        below.drain(..below.len().saturating_sub(MOST_RUNS));
        Ok(Watched::Runs(below))
    }
}

/// The runs that are looked at, in their order.
pub(super) struct LiveRuns {
    watched: Watched,
    pub(super) runs: Vec<RunWatch>,
}

impl LiveRuns {
    pub(super) fn new(watched: Watched) -> LiveRuns {
        LiveRuns { watched, runs: Vec::new() }
    }

    /// Takes up runs that are there by now. `told` by the session's events.
    pub(super) fn find(&mut self, told: &[PathBuf]) -> Result<(), RecordError> {
        let known = |runs: &[RunWatch], place: &Path| runs.iter().any(|watch| watch.run.dir == place);
        let there: Vec<PathBuf> = match &self.watched {
            Watched::Session => told[told.len().saturating_sub(MOST_RUNS)..].to_vec(),
            Watched::Runs(runs) => runs.clone(),
            Watched::Race(place) => RaceRecord::read(place)?.runs(place).map(|(_, run)| run).collect(),
        };
        self.runs.retain(|watch| there.contains(&watch.run.dir));
        for place in there {
            if !known(&self.runs, &place) && (place.join(dir::MANIFEST).is_file() || self.watched != Watched::Session) {
                match RunWatch::open(&place) {
                    Ok(watch) => self.runs.push(watch),
                    // A race makes the directories of its candidates one after the other.
                    Err(_) if matches!(self.watched, Watched::Race(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    pub(super) fn race(&self) -> Option<&Path> {
        match &self.watched {
            Watched::Race(place) => Some(place),
            _ => None,
        }
    }

    /// A name for each, by which it is told from the others.
    pub(super) fn names(&self) -> Vec<String> {
        match self.race() {
            Some(_) => {
                self.runs.iter().map(|run| run.manifest().map_or_else(String::new, |m| m.arm.label.clone())).collect()
            }
            None => {
                // Labels are made of what runs say of themselves; their points are of no matter.
                let bare = |watch: &RunWatch| RecordedRun { points: Vec::new(), ..watch.run.clone() };
                inputs::labels(&self.runs.iter().map(bare).collect::<Vec<_>>())
            }
        }
    }

    /// Those under load or about to be: the ones with engines up.
    pub(super) fn busy(&self) -> Option<usize> {
        self.runs.iter().position(|run| run.begun().is_some())
    }
}
