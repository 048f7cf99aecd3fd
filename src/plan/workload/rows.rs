//! Rows of local files as people have them: JSON Lines, an array of objects, CSV, Parquet, one prompt a line; packed or
//! not; a file or a directory of them. A row that can't be used is skipped, counted and told; a file without any that can
//! is an error.

use super::error::WorkloadError;
#[cfg(feature = "parquet")]
use super::parquet_rows;
use super::row::{DatasetRow, RowPlace};
use crate::files::{self, Pieces};
use crate::words;
use serde_json::Value;
use std::fmt;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

const FORMATS: &str =
    "expected JSON Lines, an array of objects, CSV with a header line, or Parquet; .gz and .zst are unpacked";
/// Bytes of one row.
const LARGEST_ROW: usize = 64 << 20;
/// Bytes of a CSV file: a quote that is never closed makes a row of all that follows.
const LARGEST_CSV: u64 = 4 << 30;
/// Bytes that the rows kept of a dataset may take.
const MOST_KEPT: usize = 4 << 30;
/// Reasons that are told of rows that were skipped.
const REASONS: usize = 3;
/// Folders in folders: `data/train-00000-of-00002.parquet`.
const DEEPEST: u32 = 3;
const ENDINGS: [&str; 6] = ["json", "jsonl", "csv", "tsv", "parquet", "txt"];
/// Files about a dataset, beside those that hold it.
const ABOUT: [&str; 5] = ["dataset_info.json", "dataset_infos.json", "state.json", "config.json", "tokenizer.json"];
/// Names under which a file's one object keeps its rows.
const WRAPPERS: [&str; 6] = ["data", "rows", "train", "test", "examples", "instances"];

/// Rows that were passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) rows: usize,
    pub(super) bad: usize,
    /// The first few reasons, with their place.
    pub(super) reasons: Vec<String>,
}

impl Skipped {
    fn note(&mut self, place: impl fmt::Display, problem: &str) {
        self.bad += 1;
        if self.reasons.len() < REASONS {
            self.reasons.push(format!("{place}: {problem}"));
        }
    }

    /// One sentence for the user; `None` if every row was used.
    pub(super) fn warning(&self, path: &Path) -> Option<String> {
        let more = if self.bad > self.reasons.len() { "; ..." } else { "" };
        (self.bad > 0).then(|| {
            let (bad, rows, reasons) = (self.bad, self.rows, self.reasons.join("; "));
            format!("{}: {bad} of {rows} rows were skipped ({reasons}{more})", path.display())
        })
    }
}

/// Takes a row and says how many bytes of it are kept.
///
/// Errors are what is wrong with the row, in words.
pub(super) type TakeRow<'a> = &'a mut dyn FnMut(RowPlace, DatasetRow) -> Result<usize, String>;

/// Gives every row of a file, or of every data file in a directory (by name), to `take`.
///
/// # Errors
/// When the file can't be read, or no row of it can be used.
pub(super) fn for_each(path: &Path, take: TakeRow<'_>) -> Result<Skipped, WorkloadError> {
    let mut reading = Reading { skipped: Skipped::default(), kept: 0, file: PathBuf::new(), many: path.is_dir(), take };
    if !reading.many {
        reading.file(path)?;
        return reading.finish(path);
    }
    let mut files = Vec::new();
    collect(path, DEEPEST, &mut files).map_err(|source| WorkloadError::Read { path: path.into(), source })?;
    if files.is_empty() {
        let problem = format!("the directory holds no {} file", ENDINGS.map(|e| format!(".{e}")).join(", "));
        return Err(WorkloadError::File { path: path.into(), problem, remedy: FORMATS });
    }
    files.sort();
    for file in &files {
        match reading.file(file) {
            Err(WorkloadError::File { problem, .. }) => reading.skipped.note(file.display(), &problem),
            other => other?,
        }
    }
    reading.finish(path)
}

fn collect(dir: &Path, depth: u32, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') || ABOUT.contains(&name.as_str()) {
            continue;
        }
        // Links may lead in circles; the Hugging Face cache links its files, not its folders.
        if entry.file_type()?.is_dir() {
            if depth > 1 {
                collect(&path, depth - 1, files)?;
            }
        } else if ENDINGS.contains(&ending(&path).as_str()) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// Of a name without `.gz` and `.zst`.
fn ending(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    name.rsplit_once('.').map(|(_, ending)| ending.to_string()).unwrap_or_default()
}

struct Reading<'a> {
    skipped: Skipped,
    kept: usize,
    file: PathBuf,
    /// Whether reasons must name their file.
    many: bool,
    take: TakeRow<'a>,
}

impl Reading<'_> {
    fn finish(self, path: &Path) -> Result<Skipped, WorkloadError> {
        let Skipped { rows, bad, ref reasons } = self.skipped;
        if rows == 0 && bad == 0 {
            return Err(WorkloadError::File { path: path.into(), problem: "it holds no rows".into(), remedy: FORMATS });
        }
        if bad >= rows {
            let problem = format!("none of its {rows} rows can be used ({})", reasons.join("; "));
            return Err(WorkloadError::File {
                path: path.into(),
                problem,
                remedy: "mend these rows, or give another file",
            });
        }
        Ok(self.skipped)
    }

    fn file(&mut self, path: &Path) -> Result<(), WorkloadError> {
        self.file = path.to_path_buf();
        let unreadable = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::InvalidData => {
                WorkloadError::File { path: path.into(), problem: source.to_string(), remedy: FORMATS }
            }
            _ => WorkloadError::Read { path: path.into(), source },
        };
        let mut reader = files::open(path).map_err(unreadable)?;
        let start = reader.fill_buf().map_err(unreadable)?;
        if start.is_empty() {
            return Err(self.damaged("the file is empty".to_string()));
        }
        if start.starts_with(b"PAR1") {
            return self.parquet();
        }
        match ending(path).as_str() {
            "csv" | "tsv" => self.csv(reader),
            "txt" => self.lines(reader),
            _ => self.json(reader),
        }
    }

    #[cfg(feature = "parquet")]
    fn parquet(&mut self) -> Result<(), WorkloadError> {
        let path = self.file.clone();
        parquet_rows::for_each(&path, &mut |spot, row| self.give(spot, row)).map_err(|e| self.damaged(e))
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(&mut self) -> Result<(), WorkloadError> {
        Err(self.damaged("this topobench was built without Parquet".to_string()))
    }

    fn damaged(&self, problem: String) -> WorkloadError {
        WorkloadError::File { path: self.file.clone(), problem, remedy: FORMATS }
    }

    fn give(&mut self, spot: RowPlace, row: Result<DatasetRow, String>) {
        self.skipped.rows += 1;
        let taken = row.and_then(|row| (self.take)(spot, row));
        match taken {
            Ok(bytes) => self.kept = self.kept.saturating_add(bytes),
            Err(problem) if self.many => {
                self.skipped.note(format_args!("{}, {spot}", self.file.display()), &problem);
            }
            Err(problem) => self.skipped.note(spot, &problem),
        }
    }

    /// Whether there is no room for more.
    fn check_room(&self) -> Result<(), WorkloadError> {
        if self.kept <= MOST_KEPT {
            return Ok(());
        }
        let problem = format!("its prompts take more than {}", words::bytes(MOST_KEPT as u64));
        Err(WorkloadError::File { path: self.file.clone(), problem, remedy: "give a part of it" })
    }

    fn json(&mut self, reader: impl BufRead) -> Result<(), WorkloadError> {
        for piece in Pieces::new(reader, LARGEST_ROW) {
            let piece = piece.map_err(|e| self.damaged(e.to_string()))?;
            let spot = if piece.in_array { RowPlace::Row(piece.number) } else { RowPlace::Line(piece.number) };
            match object(&piece.text) {
                Ok(mut row) if piece.number == 1 && !piece.in_array => match wrapped(&mut row) {
                    Some(rows) => (1..).zip(rows).for_each(|(n, row)| self.give(RowPlace::Row(n), as_row(row))),
                    None => self.give(spot, Ok(row)),
                },
                row => self.give(spot, row),
            }
            self.check_room()?;
        }
        Ok(())
    }

    fn csv(&mut self, reader: impl BufRead) -> Result<(), WorkloadError> {
        let mut reader = reader.take(LARGEST_CSV);
        let start = reader.fill_buf().map_err(|source| WorkloadError::Read { path: self.file.clone(), source })?;
        let delimiter = delimiter(start);
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(reader);
        let header = reader.headers().map_err(|e| self.damaged(format!("its header: {e}")))?.clone();
        let mut record = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    let line = record.position().map_or(line, csv::Position::line);
                    let fields = header.iter().zip(&record).map(|(k, v)| (k.trim().to_string(), Value::from(v)));
                    self.give(RowPlace::Line(line), Ok(fields.collect()));
                }
                Err(e) if e.is_io_error() => return Err(self.damaged(e.to_string())),
                Err(_) => self.give(RowPlace::Line(line), Err(NOT_UTF8.to_string())),
            }
            self.check_room()?;
        }
    }

    /// Each line is a prompt.
    fn lines(&mut self, mut reader: impl BufRead) -> Result<(), WorkloadError> {
        for number in 1.. {
            let mut line = Vec::new();
            let read = (&mut reader).take(LARGEST_ROW as u64).read_until(b'\n', &mut line);
            if read.map_err(|source| WorkloadError::Read { path: self.file.clone(), source })? == 0 {
                break;
            }
            let text = std::str::from_utf8(&line).map(str::trim_end);
            if text == Ok("") {
                continue;
            }
            let row = text.map(|text| DatasetRow::from_iter([("prompt".to_string(), Value::from(text))]));
            self.give(RowPlace::Line(number), row.map_err(|_| NOT_UTF8.to_string()));
            self.check_room()?;
        }
        Ok(())
    }
}

const NOT_UTF8: &str = "it is not UTF-8 (convert the file, e.g. with iconv -f latin1 -t utf-8)";

fn object(text: &[u8]) -> Result<DatasetRow, String> {
    if std::str::from_utf8(text).is_err() {
        return Err(NOT_UTF8.to_string());
    }
    match files::parse::<Value>(text) {
        Ok(value) => as_row(value),
        Err(e) => Err(format!("it is not JSON: {e}")),
    }
}

fn as_row(value: Value) -> Result<DatasetRow, String> {
    match value {
        // As the Hugging Face dataset server wraps rows.
        Value::Object(mut row) => match row.remove("row") {
            Some(Value::Object(inner)) => Ok(inner),
            Some(other) => {
                row.insert("row".to_string(), other);
                Ok(row)
            }
            None => Ok(row),
        },
        _ => Err("it is not a JSON object".to_string()),
    }
}

/// The rows of a file that is one object around them.
fn wrapped(row: &mut DatasetRow) -> Option<Vec<Value>> {
    let holds_rows = |v: &Value| v.as_array().is_some_and(|items| items.first().is_some_and(Value::is_object));
    let name = WRAPPERS.iter().find(|name| row.get(**name).is_some_and(holds_rows))?;
    match row.remove(*name) {
        Some(Value::Array(rows)) => Some(rows),
        _ => None,
    }
}

/// What separates most often in the first line.
fn delimiter(start: &[u8]) -> u8 {
    let line = start.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |sought: u8| line.iter().filter(|b| **b == sought).count();
    let best = [b',', b'\t', b';'].into_iter().rev().max_by_key(|d| count(*d));
    best.filter(|d| count(*d) > 0).unwrap_or(b',')
}
