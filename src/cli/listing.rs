//! A run as one entry of the history, in words.

use crate::outcome::RunStatus;
use crate::record::catalog::CatalogEntry;
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
        let _ = writeln!(text, "  Size: {}, Status: {status}, Path: {}", size(entry.bytes), entry.path.display());
    }
    text
}

/// `3.4 MB`, in powers of ten as `du --si` counts.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1e3, 0);
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1e3;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_one_decimal_and_a_unit() {
        let shown = [0, 999, 1000, 999_949, 999_950, 3_400_000, 5_000_000_000_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "3.4 MB", "5000.0 TB"]);
    }
}
