//! Result files of other programs, read as requests: vLLM's (`vllm bench serve --save-result --save-detailed`, old and
//! new), those that write its fields (our own exports, sglang's `bench_serving --output-details`), and guidellm's reports.
//!
//! A value that a file doesn't hold is missing, never 0: a file from which TPOT can't be known is refused by name.

mod folder;
mod guidellm;
mod loose;
mod numbers;
mod point;
mod vllm;

pub(super) use folder::{files_in, is_summary, result_files};
pub use numbers::Numbers;
pub use point::{ImportedFacts, ImportedPoint};
pub use vllm::VllmFile;

use crate::files::{self, Pieces};
use guidellm::GuidellmReport;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::path::Path;

/// An object with the requests of a point takes some megabytes.
const LARGEST_OBJECT: usize = 1 << 30;

/// What a file tells of its deployment, whether its requests can be used or not; `None` if it is no result file.
pub(super) fn facts_of(path: &Path) -> Option<ImportedFacts> {
    let piece = Pieces::new(files::open(path).ok()?, LARGEST_OBJECT).next()?.ok()?;
    let file = VllmFile::parse(&piece.text).ok().filter(VllmFile::is_result);
    file.map(|file| file.facts()).or_else(|| {
        files::parse::<GuidellmReport>(&piece.text).ok()?.points().ok()?.into_iter().next().map(|point| point.facts)
    })
}

/// What one file holds.
#[derive(Debug, Default)]
pub struct Contents {
    pub points: Vec<ImportedPoint>,
    /// Why objects of it, or the file as a whole, can't be used.
    pub problems: Vec<String>,
}

impl Contents {
    /// Reads every object of a file.
    pub fn of_file(path: &Path) -> Contents {
        match files::open(path) {
            Ok(reader) => Contents::of_reader(reader),
            Err(e) => Contents { problems: vec![e.to_string()], ..Contents::default() },
        }
    }

    /// Reads every object of a file's text: one, several after each other, or an array.
    pub fn of_reader(reader: impl std::io::BufRead) -> Contents {
        let mut contents = Contents::default();
        let mut number = 0;
        for piece in Pieces::new(reader, LARGEST_OBJECT) {
            let text = match piece {
                Ok(piece) => piece.text,
                Err(e) => {
                    contents.problems.push(e.to_string());
                    break;
                }
            };
            let text = files::strict(&text);
            // Some programs put one object behind the other without a line's end.
            for object in serde_json::Deserializer::from_slice(&text).into_iter::<Box<RawValue>>() {
                number += 1;
                match object.map_err(|e| e.to_string()).and_then(|object| points_of(object.get())) {
                    Ok(points) => contents.points.extend(points),
                    Err(problem) if number == 1 => contents.problems.push(problem),
                    Err(problem) => contents.problems.push(format!("object {number}: {problem}")),
                }
            }
        }
        if number == 0 && contents.problems.is_empty() {
            contents.problems.push("it is empty".to_string());
        }
        contents
    }
}

/// Which program's format an object is in.
#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    benchmarks: Option<IgnoredAny>,
    #[serde(default)]
    ttfts: Option<IgnoredAny>,
    #[serde(default)]
    request_rate: Option<IgnoredAny>,
}

fn points_of(object: &str) -> Result<Vec<ImportedPoint>, String> {
    let probe: Probe = serde_json::from_str(object).map_err(|_| not_a_result())?;
    if probe.benchmarks.is_some() {
        return serde_json::from_str::<GuidellmReport>(object).map_err(|e| format!("guidellm's report: {e}"))?.points();
    }
    if probe.ttfts.is_none() && probe.request_rate.is_none() {
        return Err(not_a_result());
    }
    serde_json::from_str::<VllmFile>(object).map_err(|e| e.to_string())?.point().map(|point| vec![point])
}

fn not_a_result() -> String {
    "it is not a result file: it has neither vLLM's `ttfts` and `request_rate` nor guidellm's `benchmarks`".to_string()
}

#[cfg(test)]
mod tests;
