//! Files that another thread or process appends to: what is new in them, line by line.

use crate::words;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Read at one look: what is more comes with the next.
const MOST_AT_ONCE: u64 = 32 << 20;

/// How far a file has been read.
#[derive(Debug)]
pub(super) struct FileTail {
    path: PathBuf,
    inode: u64,
    read: u64,
}

/// What a look at a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// All there is has been read.
    Whole,
    /// There is more.
    Part,
    /// It is another file than before, or was cut: whoever kept something of it begins anew.
    Replaced,
}

impl FileTail {
    pub(super) fn of(path: PathBuf) -> FileTail {
        FileTail { path, inode: 0, read: 0 }
    }

    /// Hands on each new line that is whole, without its end. A file that isn't there yet is empty.
    pub(super) fn look(&mut self, mut line: impl FnMut(&[u8])) -> std::io::Result<Look> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Look::Whole),
            Err(e) => return Err(e),
        };
        let facts = file.metadata()?;
        if (self.inode != 0 && self.inode != facts.ino()) || facts.len() < self.read {
            *self = FileTail::of(std::mem::take(&mut self.path));
            return Ok(Look::Replaced);
        }
        self.inode = facts.ino();
        file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::with_capacity(1 << 18, file.take(MOST_AT_ONCE));
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let n = reader.read_until(b'\n', &mut bytes)? as u64;
            if bytes.last() != Some(&b'\n') {
                break;
            }
            self.read += n;
            bytes.pop();
            line(&bytes);
        }
        // The rest of the file is a torn line, or lies behind what was read at once.
        let whole = self.read + bytes.len() as u64 >= facts.len();
        Ok(if whole { Look::Whole } else { Look::Part })
    }
}

/// The last lines of a file, as people may read them.
pub(super) fn last_lines(path: &Path, count: usize) -> std::io::Result<Vec<String>> {
    const ENOUGH: u64 = 64 << 10;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(ENOUGH);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // Where reading began in mid-line, that line is left out.
    let lines = text.split('\n').skip(usize::from(start > 0)).map(readable);
    let lines: Vec<String> = lines.filter(|line| !line.is_empty() && !is_routine(line)).collect();
    Ok(lines[lines.len().saturating_sub(count)..].to_vec())
}

/// Whether a line only says that a request was answered: under load an engine's log is full of them.
fn is_routine(line: &str) -> bool {
    line.contains(" HTTP/1.1\" 200")
}

/// Without colours, control characters and what is longer than anybody reads.
pub(super) fn readable(line: &str) -> String {
    const LONGEST: usize = 400;
    let mut out = String::new();
    let mut chars = line.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                // Parameters, then one final byte.
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                chars.next();
            }
            '\t' => out.push(' '),
            // A progress bar writes over itself: its last state counts.
            '\r' => out.clear(),
            c if c.is_control() || is_invisible(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
        if out.len() > LONGEST {
            out.push('…');
            break;
        }
    }
    out
}

/// Marks under which a line shows something else than it says.
fn is_invisible(c: char) -> bool {
    words::turns_direction(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn look(tail: &mut FileTail) -> (Look, Vec<String>) {
        let mut lines = Vec::new();
        let found = tail.look(|line| lines.push(String::from_utf8_lossy(line).into_owned())).expect("readable");
        (found, lines)
    }

    #[test]
    fn whole_lines_are_handed_on_once_each() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("journal");
        let mut tail = FileTail::of(path.clone());
        assert_eq!(look(&mut tail), (Look::Whole, vec![]));
        let mut file = File::options().create(true).append(true).open(&path).expect("opens");
        file.write_all(b"one\ntw").expect("written");
        assert_eq!(look(&mut tail).1, ["one"]);
        file.write_all(b"o\nthree\n").expect("written");
        assert_eq!(look(&mut tail), (Look::Whole, vec!["two".to_string(), "three".to_string()]));
        assert_eq!(look(&mut tail), (Look::Whole, vec![]));
    }

    #[test]
    fn a_file_that_was_replaced_or_cut_is_read_anew() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("journal");
        std::fs::write(&path, "one\ntwo\n").expect("written");
        let mut tail = FileTail::of(path.clone());
        assert_eq!(look(&mut tail).1.len(), 2);
        std::fs::write(&path, "one\n").expect("cut");
        assert_eq!(look(&mut tail), (Look::Replaced, vec![]));
        assert_eq!(look(&mut tail).1, ["one"]);
        std::fs::write(dir.path().join("new"), "three\nfour\nfive\n").expect("written");
        std::fs::rename(dir.path().join("new"), &path).expect("replaced");
        assert_eq!(look(&mut tail), (Look::Replaced, vec![]));
        assert_eq!(look(&mut tail).1, ["three", "four", "five"]);
    }

    #[test]
    fn lines_of_engines_are_made_readable() {
        assert_eq!(readable("\u{1b}[1;36mINFO\u{1b}[0m  up\u{7}\u{202e}x"), "INFO  up\u{fffd}\u{fffd}x");
        assert_eq!(readable("10 %\r 20 %\r\n"), " 20 %");
        assert!(readable(&"é".repeat(1000)).ends_with('…'));
    }

    #[test]
    fn the_last_lines_of_a_long_file_are_whole() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("log");
        let text: String = (0..5000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, text + "torn").expect("written");
        assert_eq!(last_lines(&path, 3).expect("readable"), ["line 4998", "line 4999", "torn"]);
        let answered = "INFO: 127.0.0.1:1 - \"GET /metrics HTTP/1.1\" 200 OK\n".repeat(20);
        std::fs::write(&path, format!("one\n{answered}two\n{answered}")).expect("written");
        assert_eq!(last_lines(&path, 3).expect("readable"), ["one", "two"]);
    }
}
