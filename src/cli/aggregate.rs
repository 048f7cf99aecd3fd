//! `topobench aggregate`: points of many runs as one table.

use super::args::AggregateArgs;
use super::exit::{CliError, Exit};
use super::{out, slo};
use crate::analyse::Question;
use crate::plan::environment::Environment;
use crate::record::{Numbers, RecordedRun, catalog, dir, runs_below};
use crate::report::aggregate::{self, AggregateRow};
use clap::ArgMatches;
use std::path::{Path, PathBuf};

/// The table's usual name.
pub(super) const TABLE: &str = "aggregate_results.csv";

pub(super) fn run(args: &AggregateArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    if args.columns {
        let width = aggregate::COLUMNS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, what) in aggregate::COLUMNS {
            out::line(format!("{name:width$}  {}", what.trim()))?;
        }
        return Ok(Exit::Good);
    }
    let (slo, target) = slo::resolve(&args.slo, matches, &Environment::of_process()?)?;
    let question = Question { slo, target, ..Question::default() };
    let rows = rows(&args.dirs, &args.result_dir, &question)?;
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(TABLE));
    write(&rows, &output)?;
    out::line(format!("{} rows: {}", rows.len(), output.display()))?;
    Ok(Exit::Good)
}

pub(super) fn write(rows: &[AggregateRow], output: &Path) -> Result<(), CliError> {
    let table = aggregate::write(rows).map_err(|e| CliError::new(Exit::Internal, e))?;
    if let Some(parent) = output.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|e| {
            CliError::usage(format!("cannot write to {}: {e}\nhint: choose another --output", parent.display()))
        })?;
    }
    Ok(dir::write_atomically(output, &table)?)
}

/// Rows of every run at or below these places. What can't be used is told; nothing at all is an error.
pub(super) fn rows(places: &[String], root: &Path, question: &Question) -> Result<Vec<AggregateRow>, CliError> {
    let mut rows = Vec::new();
    for place in places {
        let path = Path::new(place);
        let place = if path.is_dir() { path.to_path_buf() } else { catalog::resolve(root, place)? };
        for run in runs_below(&place)? {
            rows.extend(rows_of(&run, question));
        }
    }
    if rows.is_empty() {
        return Err(CliError::usage(format!(
            "no point of a run lies at or below {}\nhint: give directories of topobench's runs, of `vllm bench serve` or of `vllm bench sweep`",
            places.join(", ")
        )));
    }
    Ok(rows)
}

fn rows_of(run: &Path, question: &Question) -> Vec<AggregateRow> {
    if run.join(dir::MANIFEST).is_file() {
        return match RecordedRun::read(run) {
            Ok(recorded) => aggregate::of_run(&recorded, question),
            Err(error) => {
                out::warn(error);
                Vec::new()
            }
        };
    }
    let numbers = numbers(run);
    let recorded = match RecordedRun::read(run) {
        Ok(recorded) => recorded,
        Err(error) if numbers.is_empty() => {
            out::warn(error);
            return Vec::new();
        }
        Err(_) => return numbers,
    };
    aggregate::of_run(&recorded, question).into_iter().chain(numbers).collect()
}

/// Files that state numbers and hold no requests.
fn numbers(run: &Path) -> Vec<AggregateRow> {
    let files = std::fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    let row = |path: &PathBuf| Some(aggregate::of_numbers(path, &Numbers::of_file(path)?));
    files.iter().filter_map(row).collect()
}
