//! Where a grid's runs lie. What has been measured is told by the runs themselves, so that to resume is to look again.

use crate::cli::exit::CliError;
use crate::plan::Plan;
use crate::record::{Manifest, dir, runs_below};
use chrono::Local;
use std::path::{Path, PathBuf};

const GRIDS: &str = "grids";
/// The grid as it was typed, beside its results.
const COMBOS: &str = "combos.yaml";

/// `<results>/grids/<name>_<stamp>`.
pub(super) struct GridPlace {
    dir: PathBuf,
}

impl GridPlace {
    pub(super) fn make(root: &Path, name: &str, text: &str) -> Result<GridPlace, CliError> {
        let dir = dir::create(root, GRIDS, name, Local::now()).map_err(CliError::usage)?;
        dir::write_atomically(&dir.join(COMBOS), text.as_bytes())?;
        Ok(GridPlace { dir })
    }

    /// The one that `what` names: a directory, the beginning of its name, or `latest` of this grid.
    pub(super) fn find(root: &Path, name: &str, what: &str) -> Result<GridPlace, CliError> {
        if Path::new(what).is_dir() {
            return Ok(GridPlace { dir: PathBuf::from(what) });
        }
        let grids = root.join(GRIDS);
        let wanted = if what == "latest" { format!("{}_", dir::safe_name(name)) } else { what.to_string() };
        let named = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&wanted));
        let entries = std::fs::read_dir(&grids).into_iter().flatten().flatten().map(|entry| entry.path());
        let found = entries.filter(|path| path.is_dir() && named(path)).max();
        found.map(|dir| GridPlace { dir }).ok_or_else(|| {
            CliError::usage(format!(
                "no grid in {} is called {wanted}..\nhint: leave out --resume to begin one",
                grids.display()
            ))
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The run of one arm of a plan, where one was begun.
    pub(super) fn run_of(&self, plan: &Plan, arm: usize) -> Result<Option<(PathBuf, Manifest)>, CliError> {
        let mut found = None;
        for run in runs_below(&self.dir)? {
            let Ok(manifest) = Manifest::read(&run) else { continue };
            let same_work = manifest.sweep.workload == plan.sweep.workload
                && manifest.sweep.load == plan.sweep.load
                && manifest.sweep.strategy == plan.sweep.strategy;
            if manifest.arm.label == plan.arms[arm].label && same_work {
                // Of several the last, which holds the most.
                found = Some((run, manifest));
            }
        }
        Ok(found)
    }
}
