//! A run while it is being made: its directory, manifest, journal and the files beside them.

use super::dir;
use super::error::RecordError;
use super::journal::{self, Journal, JournalSender};
use super::manifest::Manifest;
use crate::outcome::PointKey;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Owns a run directory for writing.
pub struct RunWriter {
    dir: PathBuf,
    manifest: Manifest,
    journal: Journal,
    /// Kept from other topobench processes; gone with this one, however it ends.
    _lock: File,
}

impl RunWriter {
    /// Makes the directory and writes the manifest before anything is started.
    pub fn create(dir: PathBuf, manifest: Manifest) -> Result<RunWriter, RecordError> {
        let lock = lock(&dir)?;
        let logs = dir.join(dir::LOGS);
        std::fs::create_dir_all(&logs).map_err(RecordError::write(&logs))?;
        manifest.write(&dir)?;
        let journal = Journal::open(&dir.join(dir::JOURNAL))?;
        Ok(RunWriter { dir, manifest, journal, _lock: lock })
    }

    /// Opens an interrupted run: finished points stay byte for byte, everything of an unfinished one is dropped, and so
    /// is what a kill left half-written.
    pub fn resume(dir: PathBuf) -> Result<RunWriter, RecordError> {
        let lock = lock(&dir)?;
        let manifest = Manifest::read(&dir)?;
        let finished = |key: PointKey| manifest.point(key).is_some();
        dir::remove_half_written(&dir)?;
        dir::remove_half_written(&dir.join(dir::PLOTS))?;
        for file in [dir::JOURNAL, dir::TRACE, dir::ENGINE_METRICS, dir::GPU_CSV] {
            journal::truncate_torn_tail(&dir.join(file))?;
        }
        let journal_path = dir.join(dir::JOURNAL);
        journal::retain_points(&journal_path, finished)?;
        journal::retain_points(&dir.join(dir::TRACE), finished)?;
        let journal = Journal::open(&journal_path)?;
        Ok(RunWriter { dir, manifest, journal, _lock: lock })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Of its directory, beside those of other runs.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join(dir::LOGS)
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Changes the manifest and replaces it on disk.
    pub fn update(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<(), RecordError> {
        change(&mut self.manifest);
        self.manifest.write(&self.dir)
    }

    pub fn journal(&self) -> JournalSender {
        self.journal.sender()
    }

    /// Bytes of the journal so far: where the next point begins.
    pub fn journal_len(&self) -> Result<u64, RecordError> {
        let path = self.dir.join(dir::JOURNAL);
        Ok(std::fs::metadata(&path).map_err(RecordError::read(&path))?.len())
    }

    /// Returns when every request appended so far is on disk.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.journal.sync()
    }

    /// Appends lines to a JSON-lines file of the run.
    pub fn append_lines<T: serde::Serialize>(
        &self,
        name: &str,
        lines: impl IntoIterator<Item = T>,
    ) -> Result<(), RecordError> {
        let path = self.dir.join(name);
        let write = || -> std::io::Result<()> {
            let file = File::options().create(true).append(true).open(&path)?;
            let mut out = std::io::BufWriter::new(file);
            for line in lines {
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        write().map_err(RecordError::write(&path))
    }
}

/// Two writers would tear each other's lines.
fn lock(dir: &Path) -> Result<File, RecordError> {
    let handle = File::open(dir).map_err(RecordError::read(dir))?;
    match handle.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy { path: dir.to_path_buf() }),
        // A file system without locks has to do without.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(handle),
    }
}
