//! A run as one entry of the history, in words.

use crate::outcome::RunStatus;
use crate::record::catalog::CatalogEntry;
use crate::words::bytes;
use std::fmt::Write as _;

/// A run as history shows it. Writing into a `String` cannot fail.
pub(super) fn lines(entry: &CatalogEntry, long: bool) -> String {
    let when = entry.when.format("%Y-%m-%d %H:%M:%S");
    let mut text = format!("{when} - {} ({} files, {} plots)", entry.name, entry.files, entry.plots);
    if let Some(status) = entry.status.filter(|s| *s != RunStatus::Completed) {
        let _ = write!(text, " [{}]", status.word());
    }
    text.push('\n');
    let config = entry.config.to_string();
    if !config.is_empty() {
        let _ = writeln!(text, "  Config: {config}");
    }
    if long {
        let status = entry.status.map_or("imported", RunStatus::word);
        let _ = writeln!(text, "  Size: {}, Status: {status}, Path: {}", bytes(entry.bytes), entry.path.display());
    }
    text
}
