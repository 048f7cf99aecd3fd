//! Runs in a tree of directories, and result files that hold numbers but no requests.

use super::error::RecordError;
use super::{dir, import};
use std::path::{Path, PathBuf};

/// Levels of directories that are looked through.
const DEEPEST: usize = 8;

/// Directories at or below `root` that hold a run: ours, or result files of others. In order of their paths.
///
/// # Errors
/// When a directory can't be read.
pub fn runs_below(root: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let mut found = Vec::new();
    walk(root, DEEPEST, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(place: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), RecordError> {
    if place.join(dir::MANIFEST).is_file() {
        found.push(place.to_path_buf());
        return Ok(());
    }
    if !import::files_in(place)?.is_empty() {
        found.push(place.to_path_buf());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = std::fs::read_dir(place).map_err(RecordError::read(place))?;
    // Links might lead in circles.
    let folders = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path());
    folders.filter(|folder| !hidden(folder)).try_for_each(|folder| walk(&folder, depth - 1, found))
}

fn hidden(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
