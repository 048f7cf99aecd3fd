//! requests.jsonl: one line a finished request, appended as it finishes. The source of truth of a run.
//!
//! Writing happens on a thread of its own, so that a slow disk never delays a send. A killed writer leaves at most one
//! torn line, the last; a reader drops it.

use super::error::RecordError;
use crate::files;
use crate::outcome::{PointKey, RequestRecord};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Lines between whoever appends and the disk.
const MOST_QUEUED: usize = 256;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub key: PointKey,
    #[serde(flatten)]
    pub record: RequestRecord,
}

/// What the lines of one point have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LineHead {
    #[serde(flatten)]
    pub key: PointKey,
    /// Which launch of the arm's fleet answered, from 1.
    pub launch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Serialises without cloning the record.
#[derive(Serialize)]
struct JournalLine<'a> {
    #[serde(flatten)]
    head: &'a LineHead,
    #[serde(flatten)]
    record: &'a RequestRecord,
}

enum JournalMessage {
    Line(Arc<LineHead>, Box<RequestRecord>),
    Sync(mpsc::Sender<std::io::Result<()>>),
    Close,
}

/// The writing end. Cloneable senders come from [`Journal::sender`].
pub struct Journal {
    path: PathBuf,
    messages: mpsc::SyncSender<JournalMessage>,
    writer: Option<JoinHandle<()>>,
}

/// Appends lines from any thread; waits while the disk is [`MOST_QUEUED`] lines behind.
#[derive(Clone)]
pub struct JournalSender(mpsc::SyncSender<JournalMessage>);

impl JournalSender {
    /// A write error is told by the next [`Journal::sync`], not here: whoever appends has nothing to do about it.
    pub fn append(&self, head: &Arc<LineHead>, record: RequestRecord) {
        let _ = self.0.send(JournalMessage::Line(Arc::clone(head), Box::new(record)));
    }
}

impl Journal {
    /// Opens for appending; a torn last line of an earlier life has to be cut off first (see [`truncate_torn_tail`]).
    pub fn open(path: &Path) -> Result<Journal, RecordError> {
        let file = File::options().create(true).append(true).open(path).map_err(RecordError::write(path))?;
        let (messages, inbox) = mpsc::sync_channel(MOST_QUEUED);
        let writer = std::thread::Builder::new()
            .name("journal".to_string())
            .spawn(move || write_all(BufWriter::with_capacity(1 << 16, file), &inbox))
            .map_err(RecordError::write(path))?;
        Ok(Journal { path: path.to_path_buf(), messages, writer: Some(writer) })
    }

    pub fn sender(&self) -> JournalSender {
        JournalSender(self.messages.clone())
    }

    /// Returns when every line appended so far is on disk.
    ///
    /// # Errors
    /// The first error of any write since the journal was opened.
    pub fn sync(&self) -> Result<(), RecordError> {
        let (reply, answer) = mpsc::channel();
        let gone = || std::io::Error::other("the journal's writer ended");
        let sent = self.messages.send(JournalMessage::Sync(reply)).is_ok();
        let result = if sent { answer.recv().unwrap_or_else(|_| Err(gone())) } else { Err(gone()) };
        result.map_err(RecordError::write(&self.path))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.messages.send(JournalMessage::Close);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// After an error nothing more is written: a line behind a torn one would read as damage.
fn write_all(mut out: BufWriter<File>, inbox: &mpsc::Receiver<JournalMessage>) {
    let mut failed: Option<std::io::Error> = None;
    let mut next = inbox.recv().ok();
    while let Some(message) = next {
        match message {
            JournalMessage::Line(head, record) if failed.is_none() => {
                failed = write_line(&mut out, &head, &record).err();
            }
            JournalMessage::Line(..) => {}
            JournalMessage::Close => break,
            JournalMessage::Sync(reply) => {
                if failed.is_none() {
                    failed = out.flush().and_then(|()| out.get_ref().sync_data()).err();
                }
                let told = failed.as_ref().map_or(Ok(()), |e| Err(std::io::Error::new(e.kind(), e.to_string())));
                let _ = reply.send(told);
            }
        }
        next = inbox.try_recv().ok().or_else(|| {
            // Idle: what is buffered would be lost by a kill, so it goes to the kernel before waiting.
            if failed.is_none() {
                failed = out.flush().err();
            }
            inbox.recv().ok()
        });
    }
}

fn write_line(out: &mut BufWriter<File>, head: &LineHead, record: &RequestRecord) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, &JournalLine { head, record })?;
    out.write_all(b"\n")
}

/// Where a run's journal is kept packed once the run is over, `requests.jsonl.gz`.
pub fn packed(path: &Path) -> PathBuf {
    path.with_added_extension("gz")
}

/// Whether there is a journal at `path`, as it was written or packed.
pub fn exists(path: &Path) -> bool {
    path.is_file() || packed(path).is_file()
}

/// Reads every whole line; a torn last line is dropped. `keep` sees entries in file order. Where only the packed
/// journal is there, that is read.
pub fn read(path: &Path, keep: impl FnMut(Entry)) -> Result<(), RecordError> {
    let packed = packed(path);
    if path.is_file() || !packed.is_file() {
        return read_from(path, 0, keep);
    }
    let file = files::open_raw(&packed).map_err(RecordError::read(&packed))?;
    read_lines(&packed, flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)), keep)
}

/// As [`read`], from a position between two lines: a point's own part of the journal.
pub fn read_from(path: &Path, start: u64, keep: impl FnMut(Entry)) -> Result<(), RecordError> {
    let mut file = files::open_raw(path).map_err(RecordError::read(path))?;
    file.seek(SeekFrom::Start(start)).map_err(RecordError::read(path))?;
    read_lines(path, file, keep)
}

fn read_lines(path: &Path, from: impl Read, mut keep: impl FnMut(Entry)) -> Result<(), RecordError> {
    let mut reader = BufReader::with_capacity(1 << 20, from);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(RecordError::read(path))?;
        if read == 0 {
            break;
        }
        let whole = line.last() == Some(&b'\n');
        match serde_json::from_slice::<Entry>(&line) {
            Ok(entry) if whole => keep(entry),
            _ if !whole => break,
            Ok(_) => {}
            Err(e) => {
                return Err(RecordError::Journal { path: path.to_path_buf(), line: number, detail: e.to_string() });
            }
        }
    }
    Ok(())
}

/// Cuts a torn last line off, so that appending goes on with a whole line.
pub fn truncate_torn_tail(path: &Path) -> Result<(), RecordError> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RecordError::write(path)(e)),
    };
    let mut cut = || -> std::io::Result<()> {
        let length = file.seek(SeekFrom::End(0))?;
        let whole = end_of_last_line(&mut file, length)?;
        if whole < length { file.set_len(whole) } else { Ok(()) }
    };
    cut().map_err(RecordError::write(path))
}

/// Looks from the end backwards: a journal may be larger than the memory.
fn end_of_last_line(file: &mut File, length: u64) -> std::io::Result<u64> {
    let mut block = vec![0; 1 << 16];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let piece = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        if let Some(at) = memchr::memrchr(b'\n', piece) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Drops every line of points that are to be measured again; whole lines of the others stay byte-identical.
pub fn retain_points(path: &Path, keep: impl Fn(PointKey) -> bool) -> Result<(), RecordError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RecordError::read(path)(e)),
    };
    let mut damage = None;
    let written = super::dir::replace_atomically(path, |out| {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            match serde_json::from_slice::<PointKey>(&line) {
                Ok(key) if keep(key) => out.write_all(&line)?,
                Ok(_) => {}
                Err(e) => {
                    let path = path.to_path_buf();
                    damage = Some(RecordError::Journal { path, line: number, detail: e.to_string() });
                    return Err(std::io::ErrorKind::InvalidData.into());
                }
            }
        }
        out.flush()
    });
    damage.map_or(written, Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Chunk, CountedBy, Failure, Outcome, Timeline};
    use crate::units::{Offset, RequestRate, TokenCount};

    fn key(rate: f64) -> PointKey {
        PointKey { rate: RequestRate::new(rate).expect("rate"), attempt: 1 }
    }

    fn head(rate: f64) -> Arc<LineHead> {
        Arc::new(LineHead { key: key(rate), launch: 2, host: Some("node-7".to_string()) })
    }

    fn record(index: u32, outcome: Outcome) -> RequestRecord {
        let at = |ms: u64| Offset::from_nanos(ms * 1_000_000);
        RequestRecord {
            index,
            id: format!("tb-{index}"),
            prompt_tokens: TokenCount(8),
            max_tokens: TokenCount(2),
            timeline: Timeline {
                due: at(10),
                slot: at(10),
                sent: Some(at(11)),
                first_token: Some(at(60)),
                last_token: Some(at(70)),
                end: at(71),
                chunks: vec![Chunk { at: at(60), tokens: 1 }, Chunk { at: at(70), tokens: 1 }],
                tokens_per_chunk_known: true,
                output_tokens: Some(TokenCount(2)),
                counted_by: CountedBy::default(),
                prompt_tokens: Some(TokenCount(8)),
            },
            outcome,
            stages: None,
            turn: None,
            text: Some("é\n".to_string()),
        }
    }

    fn entries(path: &Path) -> Vec<Entry> {
        let mut out = Vec::new();
        read(path, |e| out.push(e)).expect("readable");
        out
    }

    fn written(dir: &Path) -> (PathBuf, Vec<RequestRecord>) {
        let path = dir.join("requests.jsonl");
        let records = vec![
            record(0, Outcome::Completed),
            record(1, Outcome::Failed(Failure::Status { code: 500, detail: "x\"y".to_string() })),
            record(2, Outcome::Failed(Failure::Stalled { after_secs: 1.5, tokens: 3 })),
            record(3, Outcome::Unfinished),
        ];
        let journal = Journal::open(&path).expect("opens");
        let sender = journal.sender();
        for r in &records {
            sender.append(&head(2.0), r.clone());
        }
        journal.sync().expect("on disk");
        (path, records)
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, records) = written(dir.path());
        let read: Vec<_> = entries(&path).into_iter().map(|e| (e.key, e.record)).collect();
        assert_eq!(read, records.into_iter().map(|r| (key(2.0), r)).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_tells_the_launch_and_the_host() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, _) = written(dir.path());
        let text = std::fs::read_to_string(&path).expect("text");
        let begins = r#"{"rate":2.0,"attempt":1,"launch":2,"host":"node-7","index":"#;
        assert!(text.lines().all(|line| line.starts_with(begins)), "{text}");
    }

    #[test]
    fn a_kill_at_any_byte_loses_at_most_the_line_being_written() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, _) = written(dir.path());
        let bytes = std::fs::read(&path).expect("bytes");
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).expect("cut");
            let whole = bytes[..cut].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(entries(&path).len(), whole, "cut at byte {cut}");
            truncate_torn_tail(&path).expect("truncates");
            assert!(bytes.starts_with(&std::fs::read(&path).expect("bytes")));
        }
    }

    #[test]
    fn damage_in_the_middle_is_told_with_its_line() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, _) = written(dir.path());
        let text = std::fs::read_to_string(&path).expect("text").replacen("\"index\":1", "\"index\":x", 1);
        std::fs::write(&path, text).expect("write");
        let error = read(&path, |_| ()).expect_err("damaged").to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_packed_journal_reads_as_the_one_that_was_packed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, _) = written(dir.path());
        let plain = entries(&path);
        let mut gz =
            flate2::write::GzEncoder::new(File::create(packed(&path)).expect("made"), flate2::Compression::best());
        gz.write_all(&std::fs::read(&path).expect("read")).expect("packs");
        gz.finish().expect("packs");
        std::fs::remove_file(&path).expect("removed");
        assert!(exists(&path));
        let mut again = Vec::new();
        read(&path, |entry| again.push(entry)).expect("reads");
        assert!(!plain.is_empty());
        assert_eq!(again, plain);
    }

    #[test]
    fn lines_of_kept_points_stay_byte_identical() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, _) = written(dir.path());
        let before = std::fs::read(&path).expect("bytes");
        let journal = Journal::open(&path).expect("opens again");
        journal.sender().append(&head(4.0), record(0, Outcome::Completed));
        journal.sync().expect("on disk");
        drop(journal);
        retain_points(&path, |k| k == key(2.0)).expect("retains");
        assert_eq!(std::fs::read(&path).expect("bytes"), before);
    }

    #[test]
    fn a_full_disk_is_told_by_sync() {
        let Ok(journal) = Journal::open(Path::new("/dev/full")) else { return };
        journal.sender().append(&head(1.0), record(0, Outcome::Completed));
        let error = journal.sync().expect_err("no space").to_string();
        assert!(error.contains("/dev/full") && error.contains("disk space"), "{error}");
    }
}
