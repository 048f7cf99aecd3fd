//! Figures by name: of a table, of one run, or of all runs below a directory.

use super::one::{question, write_all};
use crate::analyse::Question;
use crate::cli::aggregate;
use crate::cli::args::PlotArgs;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{out, present};
use crate::files;
use crate::plan::environment::{self, Environment};
use crate::record::{Manifest, RecordedRun, catalog, dir};
use crate::report::aggregate::{AggregateRow, interactive, latency, markdown, read, throughput};
use crate::report::figures::{self, Named};
use clap::ArgMatches;
use std::path::{Path, PathBuf};

/// Bytes of a table. A point is a row of a kilobyte at most.
const LARGEST_TABLE: u64 = 1 << 30;
const REPORT: &str = "performance_report.md";
const PAGE: &str = "interactive.html";

pub(super) fn run(args: &PlotArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let env = Environment::of_process()?;
    let source = RowSource::of(args)?;
    let rows = source.rows(args, matches, &env)?;
    let output = args.output.clone().or_else(|| env.get(environment::PLOT_OUTPUT_DIR).map(PathBuf::from));
    let output = output.unwrap_or_else(|| source.place());
    present::make_output(&output)?;
    // A table without a name of a figure gets all of them.
    let named = &args.named;
    let all = named.all || !(named.throughput || named.latency || named.interactive || named.report);
    let mut exit = draw(&rows, &output, (all || named.throughput, all || named.latency))?;
    if all || named.interactive {
        let page = interactive(&rows, &source.title()).map_err(|e| CliError::new(Exit::Internal, e))?;
        told(&output.join(PAGE), page.as_bytes())?;
    }
    if all || named.report {
        told(&output.join(REPORT), markdown(&rows, named.ratings.as_ref(), &source.title()).as_bytes())?;
        if let RowSource::Run(dir) = &source {
            exit = exit.and(write_all(args, dir, &output, matches, &env)?);
        }
    }
    Ok(exit)
}

/// Where rows come from.
enum RowSource {
    Table(PathBuf),
    Run(PathBuf),
    Tree(PathBuf),
}

impl RowSource {
    fn of(args: &PlotArgs) -> Result<RowSource, CliError> {
        if let Some(table) = &args.named.csv {
            return Ok(RowSource::Table(table.clone()));
        }
        let Some(run) = &args.run else { return Err(CliError::usage("name a run to plot, or a table with --csv")) };
        let place = catalog::resolve(&args.result_dir, run)?;
        let is_run = Manifest::read(&place).is_ok() || RecordedRun::read(&place).is_ok();
        Ok(if is_run { RowSource::Run(place) } else { RowSource::Tree(place) })
    }

    fn rows(&self, args: &PlotArgs, matches: &ArgMatches, env: &Environment) -> Result<Vec<AggregateRow>, CliError> {
        match self {
            RowSource::Table(path) => {
                let text = files::read(path, LARGEST_TABLE).map_err(|e| {
                    CliError::usage(format!(
                        "cannot read {}: {e}\nhint: `topobench aggregate` writes one",
                        path.display()
                    ))
                })?;
                let rows = read(&text).map_err(|e| {
                    CliError::usage(format!(
                        "{} is not a table of points: {e}\nhint: `topobench aggregate --columns` tells its columns",
                        path.display()
                    ))
                })?;
                (!rows.is_empty())
                    .then_some(rows)
                    .ok_or_else(|| CliError::usage(format!("{} has no row", path.display())))
            }
            RowSource::Run(place) | RowSource::Tree(place) => {
                let asked = RecordedRun::read_as(place, (&args.slo).into()).ok();
                let question = match &asked {
                    Some(run) => question(run, &args.slo, matches, env)?,
                    None => {
                        let (slo, target) = crate::cli::slo::resolve(&args.slo, matches, env)?;
                        Question { slo, target, ..Question::default() }
                    }
                };
                aggregate::rows(&[place.display().to_string()], &args.result_dir, &question)
            }
        }
    }

    /// Where files go by default.
    fn place(&self) -> PathBuf {
        match self {
            RowSource::Table(path) => {
                path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
            }
            RowSource::Run(place) => place.join(dir::PLOTS),
            RowSource::Tree(place) => place.clone(),
        }
    }

    fn title(&self) -> String {
        let (RowSource::Table(path) | RowSource::Run(path) | RowSource::Tree(path)) = self;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        format!("Performance report: {name}")
    }
}

fn draw(rows: &[AggregateRow], output: &Path, (rates, latencies): (bool, bool)) -> Result<Exit, CliError> {
    let named = |name: &str, figure| Named { name: name.to_string(), figure };
    let throughput = throughput(rows).filter(|_| rates).map(|figure| named("throughput_analysis", figure));
    let latency = latency(rows).filter(|_| latencies).map(|figure| named("latency_analysis", figure));
    let (drawn, undrawn) = figures::draw(throughput.into_iter().chain(latency).collect());
    let written = figures::write(output, &drawn)?;
    for path in &written.files {
        out::line(path.display())?;
    }
    let failed = || undrawn.iter().chain(&written.failed);
    failed().for_each(out::warn);
    if (rates || latencies) && drawn.is_empty() && failed().next().is_none() {
        out::warn("no point has a load and a number to draw over it");
    }
    Ok(if failed().next().is_some() { Exit::Internal } else { Exit::Good })
}

fn told(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    dir::write_atomically(path, bytes)?;
    out::line(path.display())
}
