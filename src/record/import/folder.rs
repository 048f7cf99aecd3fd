//! Which files of a directory are result files. They lie in it, or, as `vllm bench sweep` leaves them, below it:
//! `SERVE--<deployment>/BENCH--<load>/run=0.json`, or both in one name. One directory is one deployment: files of several
//! would be one curve of none of them.

use crate::record::dir;
use crate::record::error::RecordError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// `<stamp>/SERVE--x/BENCH--y/run=0.json`.
const DEEPEST: usize = 4;
/// A directory with more is none of results.
const MOST_FILES: usize = 20_000;
const SERVE: &str = "SERVE--";
const BENCH: &str = "BENCH--";
/// What our own directories hold beside result files.
const OURS: [&str; 5] = [dir::MANIFEST, dir::JOURNAL, dir::TRACE, dir::ENGINE_METRICS, "compare.json"];

/// Result files of a run, by name. Other files of JSON may be among them.
///
/// # Errors
/// When the directory can't be read, or holds several deployments.
pub(in crate::record) fn result_files(run: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let mut files = files_in(run)?;
    if files.is_empty() {
        below(run, DEEPEST, &mut files)?;
        let deployments: BTreeSet<String> = files.iter().filter_map(|file| deployment(run, file)).collect();
        if deployments.len() > 1 {
            let names = deployments.into_iter().map(|d| run.join(d).display().to_string()).collect();
            return Err(RecordError::SeveralDeployments { path: run.to_path_buf(), names });
        }
    }
    files.sort();
    Ok(files)
}

/// The part of a file's path that names its deployment.
fn deployment(run: &Path, file: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in file.strip_prefix(run).ok()?.parent()?.components() {
        let name = part.as_os_str().to_string_lossy();
        let serve = name.split(BENCH).next().unwrap_or_default().trim_end_matches('-');
        if name.starts_with(SERVE) {
            parts.push(serve.to_string());
            return Some(parts.join("/"));
        }
        if name.starts_with(BENCH) {
            return None;
        }
        parts.push(name.into_owned());
    }
    None
}

/// Whether a file sums up runs that lie beside it in files of their own, as `vllm bench sweep` has it.
pub(in crate::record) fn is_summary(file: &Path, all: &[PathBuf]) -> bool {
    let beside = |other: &PathBuf| other != file && other.parent() == file.parent();
    file.file_name().is_some_and(|name| name == "summary.json") && all.iter().any(beside)
}

/// Those that lie in the directory itself, by name.
///
/// # Errors
/// When it can't be read.
pub(in crate::record) fn files_in(run: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let entries = std::fs::read_dir(run).map_err(RecordError::read(run))?;
    let named = entries.flatten().map(|e| e.path()).filter(|p| is_json(p) && !is_ours(p));
    let mut files: Vec<PathBuf> = named.take(MOST_FILES).collect();
    files.sort();
    Ok(files)
}

fn below(run: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), RecordError> {
    if depth == 0 || files.len() >= MOST_FILES {
        return Ok(());
    }
    let entries = std::fs::read_dir(run).map_err(RecordError::read(run))?;
    // Links might lead in circles, and a run of ours is one of its own.
    let folders = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path());
    for folder in folders.filter(|f| !f.join(dir::MANIFEST).exists()) {
        files.extend(files_in(&folder)?);
        below(&folder, depth - 1, files)?;
    }
    Ok(())
}

/// By its name, packed or not.
fn is_json(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    !name.starts_with('.') && (name.ends_with(".json") || name.ends_with(".jsonl"))
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| OURS.iter().any(|ours| name == *ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("tempdir");
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "{}").expect("written");
        }
        dir
    }

    fn found(dir: &tempfile::TempDir) -> Result<Vec<String>, String> {
        let files = result_files(dir.path()).map_err(|e| e.to_string())?;
        let name = |p: &PathBuf| p.strip_prefix(dir.path()).expect("below").display().to_string();
        Ok(files.iter().map(name).collect())
    }

    #[test]
    fn files_lie_in_the_directory_or_below_it() {
        let flat = made(&["a.json", "b.jsonl", "c.json.gz", "manifest.json", "notes.txt", "sub/d.json"]);
        assert_eq!(found(&flat).expect("one"), ["a.json", "b.jsonl", "c.json.gz"]);
        let sweep = made(&["SERVE--tp=1/BENCH--r=2/run=0.json", "SERVE--tp=1/BENCH--r=4/run=0.json"]);
        assert_eq!(found(&sweep).expect("one").len(), 2);
        let joined = made(&["t/SERVE--a-BENCH--r=2/run=0.json", "t/SERVE--a-BENCH--r=4/summary.json"]);
        assert_eq!(found(&joined).expect("one").len(), 2);
    }

    #[test]
    fn several_deployments_are_never_mixed() {
        let two = made(&["SERVE--tp=1/BENCH--r=2/run=0.json", "SERVE--tp=2/BENCH--r=2/run=0.json"]);
        let error = found(&two).expect_err("two");
        assert!(error.contains("SERVE--tp=1") && error.contains("SERVE--tp=2"), "{error}");
        let own = made(&["simple_1/manifest.json", "simple_1/vllm-2qps.json"]);
        assert_eq!(found(&own).expect("none"), [""; 0]);
    }
}
