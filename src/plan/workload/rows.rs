//! Rows of a local file: JSONL, a JSON array of objects, or CSV, told apart by content and name.

use super::error::WorkloadError;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

const FORMATS: &str = "expected JSONL, a JSON array of objects, or CSV with a header line";

/// One row; the fields of a CSV row are strings.
pub(super) struct Row {
    /// Line in the file, from 1; for a JSON array the row's position in it.
    pub(super) line: u64,
    pub(super) fields: Map<String, Value>,
}

pub(super) fn open(path: &Path) -> Result<BufReader<File>, WorkloadError> {
    File::open(path).map(BufReader::new).map_err(|source| WorkloadError::Read { path: path.into(), source })
}

/// What is done with every row of a file.
type EachRow<'a> = &'a mut dyn FnMut(&Path, Row) -> Result<(), WorkloadError>;

/// Calls `each` for every row of a file, or of every data file in a directory (by name).
pub(super) fn for_each(path: &Path, each: EachRow<'_>) -> Result<(), WorkloadError> {
    if !path.is_dir() {
        return for_each_in_file(path, each);
    }
    let read = |source| WorkloadError::Read { path: path.into(), source };
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(read)?.collect();
    let mut files: Vec<_> = entries.map_err(read)?.into_iter().map(|e| e.path()).filter(|p| is_data(p)).collect();
    if files.is_empty() {
        let problem = "the directory holds no .json, .jsonl or .csv file".to_string();
        return Err(WorkloadError::File { path: path.into(), problem, remedy: FORMATS });
    }
    files.sort();
    files.iter().try_for_each(|file| for_each_in_file(file, each))
}

fn is_data(path: &Path) -> bool {
    matches!(path.extension().and_then(|e| e.to_str()), Some("json" | "jsonl" | "csv"))
}

fn for_each_in_file(path: &Path, each: EachRow<'_>) -> Result<(), WorkloadError> {
    let mut reader = open(path)?;
    if path.extension().is_some_and(|e| e == "csv") {
        return csv_rows(path, reader, each);
    }
    let start = reader.fill_buf().map_err(|source| WorkloadError::Read { path: path.into(), source })?;
    match start.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => array_rows(path, reader, each),
        Some(_) => jsonl_rows(path, reader, each),
        None => Err(WorkloadError::File { path: path.into(), problem: "the file is empty".into(), remedy: FORMATS }),
    }
}

fn jsonl_rows(path: &Path, reader: BufReader<File>, each: EachRow<'_>) -> Result<(), WorkloadError> {
    for (index, line) in reader.lines().enumerate() {
        let text = line.map_err(|source| WorkloadError::Read { path: path.into(), source })?;
        let line = index as u64 + 1;
        if text.trim().is_empty() {
            continue;
        }
        let fields = serde_json::from_str(&text).map_err(|e| WorkloadError::Row {
            path: path.into(),
            line,
            problem: e.to_string(),
            remedy: FORMATS,
        })?;
        each(path, Row { line, fields })?;
    }
    Ok(())
}

fn array_rows(path: &Path, reader: BufReader<File>, each: EachRow<'_>) -> Result<(), WorkloadError> {
    let rows: Vec<Map<String, Value>> = serde_json::from_reader(reader).map_err(|e| WorkloadError::Row {
        path: path.into(),
        line: e.line() as u64,
        problem: e.to_string(),
        remedy: FORMATS,
    })?;
    (1u64..).zip(rows).try_for_each(|(line, fields)| each(path, Row { line, fields }))
}

fn csv_rows(path: &Path, reader: BufReader<File>, each: EachRow<'_>) -> Result<(), WorkloadError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let broken =
        |line, e: csv::Error| WorkloadError::Row { path: path.into(), line, problem: e.to_string(), remedy: FORMATS };
    let header = reader.headers().map_err(|e| broken(1, e))?.clone();
    for record in reader.records() {
        let record = record.map_err(|e| broken(e.position().map_or(0, csv::Position::line), e))?;
        let line = record.position().map_or(0, csv::Position::line);
        let fields = header.iter().zip(&record).map(|(k, v)| (k.to_string(), Value::from(v))).collect();
        each(path, Row { line, fields })?;
    }
    Ok(())
}
