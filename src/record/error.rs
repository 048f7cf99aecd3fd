//! What can go wrong with results on disk.

use std::path::{Path, PathBuf};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum RecordError {
    #[error("cannot write {path}: {source}\nhint: {hint}; what was measured before is kept", path = path.display(), hint = remedy(source))]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}, line {line}: {detail}\nhint: only the last line of a journal may be torn; this file was changed or damaged", path = path.display())]
    Journal { path: PathBuf, line: usize, detail: String },
    #[error("{path}: request {index} of {point} stands there twice\nhint: this file was changed or damaged: restore it, or measure that point again", path = path.display())]
    Doubled { path: PathBuf, point: String, index: u32 },
    #[error("{path} is being written by another topobench\nhint: wait until that one has ended, then resume", path = path.display())]
    Busy { path: PathBuf },
    #[error("{path} is not a manifest of this program: {detail}\nhint: it was changed or damaged; a run can't be read without it: restore it, or remove its directory", path = path.display())]
    Manifest { path: PathBuf, detail: String },
    #[error("there is no run in {path}: {why}\nhint: `topobench list` shows the runs there are", path = path.display(), why = none_left(skipped))]
    NoRun { path: PathBuf, skipped: Vec<String> },
    #[error("{path} holds results of several deployments\nhint: name one of them: {}", names.join(", "), path = path.display())]
    SeveralDeployments { path: PathBuf, names: Vec<String> },
    #[error("{what} names no run below {root}\nhint: `topobench list` shows the runs there are", root = root.display())]
    NotFound { what: String, root: PathBuf },
    #[error("`{what}` could be any of: {candidates}\nhint: give more of the name")]
    Ambiguous { what: String, candidates: String },
}

impl RecordError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> RecordError + use<> {
        let path = path.to_path_buf();
        move |source| RecordError::Write { path, source }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> RecordError + use<> {
        let path = path.to_path_buf();
        move |source| RecordError::Read { path, source }
    }
}

/// Reasons beyond these would hide the first ones.
const REASONS: usize = 20;

fn none_left(skipped: &[String]) -> String {
    if skipped.is_empty() {
        return "neither requests.jsonl nor result files in vLLM's format".to_string();
    }
    let mut text = "none of its result files can be used".to_string();
    for reason in skipped.iter().take(REASONS) {
        text.push_str(&format!("\n  {reason}"));
    }
    if skipped.len() > REASONS {
        text.push_str(&format!("\n  and {} more", skipped.len() - REASONS));
    }
    text
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "free some disk space, or choose another --result-dir"
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "choose a --result-dir that you may write to"
        }
        std::io::ErrorKind::FileTooLarge => {
            "raise the limit on the size of files (ulimit -f), or choose a --result-dir whose file system allows larger ones"
        }
        _ => "check the path, or choose another --result-dir",
    }
}
