//! Names and places: `results/<dataset>/<name>_<stamp>/` and what lies in it.

use super::error::RecordError;
use chrono::{DateTime, Local};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub const MANIFEST: &str = "manifest.json";
pub const JOURNAL: &str = "requests.jsonl";
pub const TRACE: &str = "trace.jsonl";
pub const ENGINE_METRICS: &str = "engine-metrics.jsonl";
pub const GPU_CSV: &str = "gpu.csv";
/// What the samples come to.
pub const GPU_SUMMARY: &str = "gpu_summary.csv";
pub const LOGS: &str = "logs";
pub const PLOTS: &str = "plots";
/// Traces of the engines' profiler.
pub const PROFILE: &str = "profile";
pub const COMPARISONS: &str = "comparisons";
pub const STAMP: &str = "%Y%m%d_%H%M%S";

/// Letters, digits, `-`, `_` and `.`; whatever else a dataset's or model's name holds becomes `-`.
pub fn safe_name(name: &str) -> String {
    let cleaned: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
    let trimmed = cleaned.trim_start_matches(['.', '-']);
    if trimmed.is_empty() { "unnamed".to_string() } else { trimmed.chars().take(100).collect() }
}

/// Makes `<root>/<group>/<name>_<stamp>`, with `-2`, `-3` .. appended when two runs start in the same second.
pub fn create(root: &Path, group: &str, name: &str, now: DateTime<Local>) -> Result<PathBuf, RecordError> {
    let parent = root.join(safe_name(group));
    std::fs::create_dir_all(&parent).map_err(RecordError::write(&parent))?;
    create_unique(&parent, &format!("{}_{}", safe_name(name), now.format(STAMP)))
}

/// Makes `<root>/comparisons/<stamp>`.
pub fn create_comparison(root: &Path, now: DateTime<Local>) -> Result<PathBuf, RecordError> {
    let parent = root.join(COMPARISONS);
    std::fs::create_dir_all(&parent).map_err(RecordError::write(&parent))?;
    create_unique(&parent, &now.format(STAMP).to_string())
}

/// Makes `<parent>/<name>`, with `-2`, `-3` .. appended where there is one.
pub fn create_named(parent: &Path, name: &str) -> Result<PathBuf, RecordError> {
    std::fs::create_dir_all(parent).map_err(RecordError::write(parent))?;
    create_unique(parent, &plain_name(name))
}

/// Words of letters and digits with one `-` between them: `nixl-1P1D-block-size-128`.
pub fn plain_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    safe_name(&words.collect::<Vec<_>>().join("-"))
}

pub(super) fn create_unique(parent: &Path, stem: &str) -> Result<PathBuf, RecordError> {
    let names = std::iter::once(stem.to_string()).chain((2..).map(|n| format!("{stem}-{n}")));
    for name in names {
        let path = parent.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(RecordError::write(&path)(e)),
        }
    }
    unreachable!("the names never end")
}

const HALF_WRITTEN: (&str, &str) = (".", ".tmp");

/// Removes what [`write_atomically`] was writing when it was killed.
pub fn remove_half_written(dir: &Path) -> Result<(), RecordError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RecordError::read(dir)(e)),
    };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(HALF_WRITTEN.0) && name.ends_with(HALF_WRITTEN.1) {
            std::fs::remove_file(&path).map_err(RecordError::write(&path))?;
        }
    }
    Ok(())
}

/// Replaces a file as a whole: a reader sees the old one or the new one, and a crash leaves one of them.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    replace_atomically(path, |file| std::io::Write::write_all(file, bytes))
}

/// As [`write_atomically`], for what can be made again from what is on disk, such as figures: after a loss of power it
/// may be missing. Waiting for the disk twenty times is what a short run would notice.
pub fn write_derived(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    replace(path, |file| std::io::Write::write_all(file, bytes))
}

/// As [`write_atomically`], for what is written piece by piece.
pub fn replace_atomically(
    path: &Path,
    fill: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>,
) -> Result<(), RecordError> {
    replace(path, |file| {
        fill(file)?;
        // What is no file has no disk to wait for.
        if file.metadata()?.is_file() { file.sync_data() } else { Ok(()) }
    })
}

fn replace(path: &Path, fill: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>) -> Result<(), RecordError> {
    // A link goes on pointing where it does, and what it points at is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let is_special = std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        // A device or a pipe is written into: in its place a file would be put, where whoever uses it finds it broken.
        if is_special {
            return fill(&mut std::fs::File::options().write(true).open(path)?);
        }
        let mut file = tempfile::Builder::new().prefix(HALF_WRITTEN.0).suffix(HALF_WRITTEN.1).tempfile_in(dir)?;
        fill(file.as_file_mut())?;
        // Temporary files are private; results are for everybody who may read the directory.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.persist(&target).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(RecordError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn two_runs_of_one_second_get_two_directories() {
        let root = tempfile::tempdir().expect("tempdir");
        let now = Local.with_ymd_and_hms(2026, 11, 21, 15, 30, 22).single().expect("a moment");
        let first = create(root.path(), "sharegpt", "nixl", now).expect("first");
        let second = create(root.path(), "sharegpt", "nixl", now).expect("second");
        assert!(first.ends_with("sharegpt/nixl_20261121_153022"), "{}", first.display());
        assert!(second.ends_with("sharegpt/nixl_20261121_153022-2"), "{}", second.display());
    }

    #[test]
    fn names_never_leave_their_directory() {
        assert_eq!(safe_name("../../etc/passwd"), "etc-passwd");
        assert_eq!(safe_name("org/Model 8B"), "org-Model-8B");
        assert_eq!(safe_name(".."), "unnamed");
        assert_eq!(plain_name("nixl 1P1D TP1/TP2 (block-size 128)"), "nixl-1P1D-TP1-TP2-block-size-128");
    }

    #[test]
    fn what_is_no_file_is_written_into_and_a_link_keeps_pointing() {
        let root = tempfile::tempdir().expect("tempdir");
        let [pipe, file, link] = ["pipe", "file", "link"].map(|name| root.path().join(name));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe).expect("read")
        });
        write_atomically(&pipe, b"table").expect("written");
        assert_eq!(reader.join().expect("joined"), "table");
        write_atomically(Path::new("/dev/null"), b"table").expect("written");
        for special in [&*pipe, Path::new("/dev/null")] {
            assert!(!std::fs::metadata(special).expect("there").is_file(), "{}", special.display());
        }
        std::fs::write(&file, "old").expect("written");
        std::os::unix::fs::symlink("file", &link).expect("linked");
        write_atomically(&link, b"new").expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "new");
        assert!(std::fs::symlink_metadata(&link).expect("there").is_symlink());
    }

    #[test]
    fn an_unwritable_place_is_an_error_with_a_remedy() {
        let root = tempfile::tempdir().expect("tempdir");
        let file = root.path().join("file");
        std::fs::write(&file, "").expect("write");
        let error = create(&file, "random", "nixl", Local::now()).expect_err("a file is no directory").to_string();
        assert!(error.contains("file") && error.contains("--result-dir"), "{error}");
    }
}
