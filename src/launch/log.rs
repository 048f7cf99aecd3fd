//! An engine's log: copied byte for byte to a file, followed line by line for what it says about the start.
//!
//! A pipe that nobody drains blocks the engine at 64 KiB, so each pipe has a thread of its own, which neither the load
//! nor a full disk can hold up. Memory is bounded: a few last lines, each cut to a length.

use super::diagnose::is_doom;
use super::phase::{LoadingProgress, Phase, is_progress_bar};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Lines kept for messages.
const KEPT_LINES: usize = 80;
/// Bytes kept of a line; engines print whole configurations on one.
const KEPT_BYTES: usize = 2000;

/// The log of one engine while it is being written.
#[derive(Debug, Clone)]
pub(super) struct EngineLog {
    followed: Arc<Mutex<Followed>>,
    finished: watch::Receiver<bool>,
}

/// What is known of a log at one moment.
#[derive(Debug, Clone)]
pub(super) struct LogState {
    pub phase: Phase,
    /// When the start last got on.
    pub progressed_at: Instant,
    /// The line that says the start will hang for ever.
    pub doom: Option<String>,
    /// Bytes that could not be written to the file.
    pub lost_bytes: u64,
}

impl EngineLog {
    /// Drains `pipe` into `path` (nowhere, if `None`) until every writer is gone. A log that is there already is kept:
    /// the same instance may be started again in one run.
    pub(super) fn drain(pipe: PipeReader, path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
        let followed = Arc::new(Mutex::new(Followed::default()));
        let (finish, finished) = watch::channel(false);
        let state = Arc::clone(&followed);
        std::thread::Builder::new().name("engine-log".into()).spawn(move || {
            copy(pipe, Sink { file, lost: 0 }, &state);
            finish.send_replace(true);
        })?;
        Ok(EngineLog { followed, finished })
    }

    pub(super) fn state(&self) -> LogState {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        LogState {
            phase: followed.progress.phase(),
            progressed_at: followed.progressed_at,
            doom: followed.doom.clone(),
            lost_bytes: followed.lost_bytes,
        }
    }

    /// The last lines, oldest first.
    pub(super) fn tail(&self) -> Vec<String> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.lines.iter().cloned().chain(followed.unfinished_line()).collect()
    }

    /// Returns when every writer of the log is gone and all of it was read.
    pub(super) async fn finished(&self) {
        // An error means that the thread is gone, which is as finished as it gets.
        let _ = self.finished.clone().wait_for(|done| *done).await;
    }
}

fn copy(mut pipe: PipeReader, mut sink: Sink, state: &Mutex<Followed>) {
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let bytes = match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => &buffer[..n],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        sink.write(bytes);
        let mut followed = state.lock().unwrap_or_else(PoisonError::into_inner);
        followed.lost_bytes = sink.lost;
        followed.take(bytes);
    }
}

struct Sink {
    file: Option<File>,
    lost: u64,
}

impl Sink {
    /// Never fails: what a full disk refuses is counted, and the gap is marked in the file as soon as it takes bytes
    /// again.
    fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if self.lost > 0
            && file.write_all(b"\n[topobench: a part of this log was lost here, writing failed]\n").is_err()
        {
            self.lost += bytes.len() as u64;
            return;
        }
        if file.write_all(bytes).is_err() {
            self.lost += bytes.len() as u64;
        }
    }
}

#[derive(Debug)]
struct Followed {
    lines: VecDeque<String>,
    line: Vec<u8>,
    /// Bytes of the present line beyond those kept.
    cut: usize,
    progress: LoadingProgress,
    progressed_at: Instant,
    doom: Option<String>,
    lost_bytes: u64,
}

impl Default for Followed {
    fn default() -> Self {
        Followed {
            lines: VecDeque::with_capacity(KEPT_LINES),
            line: Vec::new(),
            cut: 0,
            progress: LoadingProgress::default(),
            progressed_at: Instant::now(),
            doom: None,
            lost_bytes: 0,
        }
    }
}

impl Followed {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.extend(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
        self.cut += bytes.len() - room;
    }

    fn end_line(&mut self) {
        let Some(line) = self.unfinished_line() else { return };
        self.line.clear();
        self.cut = 0;
        if self.progress.advance(&line) {
            self.progressed_at = Instant::now();
        }
        if self.doom.is_none() && is_doom(&line) {
            self.doom = Some(line.clone());
        }
        self.keep(line);
    }

    fn unfinished_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.line);
        match (text.trim_end(), self.cut) {
            ("", 0) => None,
            (text, 0) => Some(text.to_string()),
            (text, cut) => Some(format!("{text} [... {cut} bytes more]")),
        }
    }

    /// A progress bar takes the place of its predecessor, as on a terminal, lest it push out everything else.
    fn keep(&mut self, line: String) {
        let redrawn = is_progress_bar(&line) && self.lines.back().is_some_and(|last| is_progress_bar(last));
        if redrawn || self.lines.len() == KEPT_LINES {
            if redrawn {
                self.lines.pop_back()
            } else {
                self.lines.pop_front()
            };
        }
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(bytes: &[u8]) -> Vec<String> {
        let mut followed = Followed::default();
        // One byte at a time: a read may end anywhere.
        bytes.iter().for_each(|b| followed.take(&[*b]));
        followed.lines.iter().cloned().chain(followed.unfinished_line()).collect()
    }

    #[test]
    fn lines_survive_any_split_and_bad_utf8() {
        assert_eq!(tail_of("first\n\nsecond \u{2588}\nthird".as_bytes()), ["first", "second \u{2588}", "third"]);
        assert_eq!(tail_of(b"bad \xff byte\n"), ["bad \u{fffd} byte"]);
    }

    #[test]
    fn a_progress_bar_keeps_one_line() {
        let log = b"start\nGraphs:   0%|   | 0/51\rGraphs:  50%|#  | 25/51\rGraphs: 100%|###| 51/51\ndone\n";
        assert_eq!(tail_of(log), ["start", "Graphs: 100%|###| 51/51", "done"]);
    }

    #[test]
    fn memory_stays_bounded_under_a_monster_line_and_a_flood() {
        let mut followed = Followed::default();
        let megabyte = vec![b'x'; 1 << 20];
        (0..50).for_each(|_| followed.take(&megabyte));
        assert!(followed.line.capacity() <= 2 * KEPT_BYTES);
        followed.take(b"\n");
        let kept = followed.lines.back().expect("a line");
        assert!(kept.ends_with(&format!("[... {} bytes more]", 50 * (1 << 20) - KEPT_BYTES)), "{kept}");
        (0..10_000).for_each(|n| followed.take(format!("line {n}\n").as_bytes()));
        assert_eq!(followed.lines.len(), KEPT_LINES);
        assert_eq!(followed.lines.back().map(String::as_str), Some("line 9999"));
    }

    #[test]
    fn doom_is_remembered_when_its_line_has_left_the_tail() {
        let mut followed = Followed::default();
        followed.take(b"zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:5600')\n");
        (0..200).for_each(|n| followed.take(format!("later {n}\n").as_bytes()));
        assert!(followed.doom.is_some_and(|line| line.contains("5600")));
    }

    #[tokio::test]
    async fn a_full_disk_loses_bytes_and_says_so_but_never_blocks() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let log = EngineLog::drain(reader, Some(Path::new("/dev/full"))).expect("opens");
        // More than a pipe holds: an undrained one would block here for ever.
        writer.write_all(&vec![b'y'; 1 << 20]).expect("is drained");
        writer.write_all(b"\nlast words\n").expect("is drained");
        drop(writer);
        log.finished().await;
        assert_eq!(log.state().lost_bytes, (1 << 20) + 12);
        assert_eq!(log.tail().last().map(String::as_str), Some("last words"));
    }

    #[tokio::test]
    async fn the_file_holds_every_byte() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("engine.log");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let log = EngineLog::drain(reader, Some(&path)).expect("opens");
        let bytes = b"bar 10%|\rbar 20%|\r\nbinary \x00\xff\n";
        writer.write_all(bytes).expect("writes");
        drop(writer);
        log.finished().await;
        assert_eq!(std::fs::read(&path).expect("reads"), bytes);
    }
}
