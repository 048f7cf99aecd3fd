//! The last lines of every engine's log.

use super::run::RunWatch;
use super::tail;
use serde::Serialize;
use std::path::PathBuf;
use std::time::SystemTime;

/// Logs that are shown at once: those written last.
const MOST_LOGS: usize = 16;
const LINES: usize = 12;

#[derive(Debug, Serialize)]
pub(super) struct LogView {
    of: String,
    lines: Vec<String>,
}

/// `names` of the runs stand before their engines'; where there is one run, they are left out.
pub(super) fn last(runs: &[RunWatch], names: &[String]) -> Vec<LogView> {
    let mut found: Vec<(SystemTime, String, PathBuf)> = Vec::new();
    for (run, name) in runs.iter().zip(names) {
        let entries = std::fs::read_dir(run.logs()).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            let is_log = path.extension().is_some_and(|e| e == "log") && entry.file_type().is_ok_and(|t| t.is_file());
            let Some(engine) = path.file_stem().filter(|_| is_log).map(|stem| stem.to_string_lossy().into_owned())
            else {
                continue;
            };
            let written = entry.metadata().and_then(|facts| facts.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let of = if runs.len() > 1 { format!("{name} · {engine}") } else { engine };
            found.push((written, of, path));
        }
    }
    found.sort_by_key(|entry| std::cmp::Reverse(entry.0));
    found.truncate(MOST_LOGS);
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let view = |(_, of, path): (SystemTime, String, PathBuf)| {
        let lines = tail::last_lines(&path, LINES).unwrap_or_default();
        LogView { of, lines }
    };
    found.into_iter().map(view).filter(|log| !log.lines.is_empty()).collect()
}
