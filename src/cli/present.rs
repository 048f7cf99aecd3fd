//! Runs to what people see: console, figures, report, JSON, exit code. Shared by the measuring commands, `compare`,
//! `plot` and `show`.

use super::exit::{CliError, Exit};
use super::{given, out};
use crate::analyse::{Comparison, Question};
use crate::outcome::PointStatus;
use crate::plan::secrecy::masked_words;
use crate::plan::{MetricChoice, Plan};
use crate::record::{RecordedRun, dir};
#[cfg(feature = "parquet")]
use crate::report::parquet;
use crate::report::{Study, console, csv, figures, gpus, kept, page};
use crate::session::ArmRun;
use crate::units::{Percent, RequestRate};
use chrono::Local;
use std::path::{Path, PathBuf};

const REPORT: &str = "report.html";

/// After a single arm's sweep: its points, its table, its figures.
pub(super) fn alone(runs: &[ArmRun], plan: &Plan, json: bool) -> Result<Exit, CliError> {
    let mut exit = Exit::Good;
    for run in runs {
        let recorded = RecordedRun::read(&run.dir)?;
        if recorded.points.is_empty() {
            continue;
        }
        let study = Study::new(vec![recorded], question(plan, None));
        if json {
            out::json(&study.comparison)?;
        } else {
            out::text(&points(&study, &plan.sweep.metrics))?;
            out::text(&console::sweep(&study, 0, style()))?;
            out::text(&console::why(&study, style()))?;
            out::text(&console::energy(&study, style()))?;
            study.runs.iter().filter_map(kept::kept).try_for_each(out::line)?;
        }
        write_run(&run.dir, &study)?;
        exit = exit.and(judge(&study.comparison, plan.sweep.gate));
    }
    Ok(exit)
}

/// After all arms' sweeps: the comparison, and each arm's own figures.
pub(super) fn compared(
    runs: &[ArmRun],
    plan: &Plan,
    scale_rate: Option<RequestRate>,
    output: Option<PathBuf>,
    json: bool,
) -> Result<Exit, CliError> {
    let recorded = runs.iter().map(|r| RecordedRun::read(&r.dir)).collect::<Result<Vec<_>, _>>()?;
    let recorded: Vec<_> = recorded.into_iter().filter(|r| !r.points.is_empty()).collect();
    if recorded.is_empty() {
        return Ok(Exit::Good);
    }
    for run in &recorded {
        let study = Study::new(vec![run.clone()], question(plan, None));
        write_run(&run.dir, &study)?;
    }
    let study = Study::new(recorded, question(plan, scale_rate));
    let output = output.map_or_else(|| dir::create_comparison(&plan.result_dir, Local::now()), Ok)?;
    comparison(&study, &output, json)?;
    Ok(judge(&study.comparison, plan.sweep.gate))
}

fn question(plan: &Plan, scale_rate: Option<RequestRate>) -> Question {
    Question { slo: plan.sweep.slo, target: plan.sweep.target, scale_rate, ..Question::default() }
}

/// Makes the directory that somebody named for a comparison: before hours of measuring, not after.
pub(super) fn make_output(output: &Path) -> Result<(), CliError> {
    let made = std::fs::create_dir_all(output).and_then(|()| tempfile::tempfile_in(output).map(drop));
    made.map_err(|e| {
        CliError::usage(format!("cannot write to {}: {e}\nhint: choose another --output", output.display()))
    })
}

/// Prints a comparison and fills its directory.
pub(super) fn comparison(study: &Study, output: &Path, json: bool) -> Result<(), CliError> {
    let mut bytes = serde_json::to_vec_pretty(&study.comparison).map_err(|e| CliError::new(Exit::Internal, e))?;
    bytes.push(b'\n');
    dir::write_atomically(&output.join("compare.json"), &bytes)?;
    if json {
        out::json(&study.comparison)?;
    } else {
        out::text(&console::comparison(study, style()))?;
    }
    let (drawn, undrawn) = figures::draw(figures::of_comparison(study));
    let written = figures::write(output, &drawn)?;
    write_texts(output, study, &drawn)?;
    warn_of(undrawn.iter().chain(&written.failed));
    if !json {
        let figure = output.join(format!("{}.svg", figures::COMPARISON));
        out::line(format!("figure: {}\nreport: {}", figure.display(), output.join(REPORT).display()))?;
    }
    Ok(())
}

/// Figures, table and report of one run, into the run's own directory. What can't be drawn is told.
pub(super) fn write_run(run: &Path, study: &Study) -> Result<figures::Written, CliError> {
    study.runs.iter().try_for_each(|recorded| write_gpus(run, recorded))?;
    let (drawn, undrawn) = figures::draw(figures::of_run(study));
    let mut written = figures::write(&run.join(dir::PLOTS), &drawn)?;
    write_texts(run, study, &drawn)?;
    written.failed.splice(0..0, undrawn);
    warn_of(&written.failed);
    Ok(written)
}

/// What the samples of the GPUs come to, where there are any.
pub(super) fn write_gpus(output: &Path, run: &RecordedRun) -> Result<(), CliError> {
    let table = gpus::table(run).map_err(|e| CliError::new(Exit::Internal, e))?;
    table.map_or(Ok(()), |table| Ok(dir::write_atomically(&output.join(dir::GPU_SUMMARY), &table)?))
}

fn warn_of<'a>(failed: impl IntoIterator<Item = &'a figures::FigureError>) {
    failed.into_iter().for_each(out::warn);
}

/// The block for each point that people know from `vllm bench serve`.
pub(super) fn points(study: &Study, choice: &MetricChoice) -> String {
    let arms = study.arms.iter();
    let of_arm = |arm: &crate::analyse::ArmInput| {
        let points = arm.points.iter();
        points.map(|p| console::point(p, arm.kind, &study.question, choice, style())).collect::<String>()
    };
    arms.map(of_arm).collect()
}

/// summary.csv and report.html.
fn write_texts(output: &Path, study: &Study, figures: &[figures::Drawn]) -> Result<(), CliError> {
    let csv = csv::summary(study).map_err(|e| CliError::new(Exit::Internal, e))?;
    dir::write_atomically(&output.join("summary.csv"), &csv)?;
    let command = masked_words(&given::command_line());
    let now = Local::now().format("%Y-%m-%d %H:%M:%S %z").to_string();
    let page = page::page(study, figures, &command, &now).map_err(|e| CliError::new(Exit::Internal, e))?;
    dir::write_atomically(&output.join(REPORT), page.as_bytes())?;
    Ok(())
}

/// The table of all requests, into the directory of the figures.
pub(super) fn write_requests(output: &Path, study: &Study) -> Result<PathBuf, CliError> {
    let path = output.join("requests.parquet");
    let bytes = requests(study)?;
    dir::write_atomically(&path, &bytes)?;
    Ok(path)
}

/// Refuses `--parquet` before anything is written.
///
/// # Errors
/// Where this program can't write such files.
pub(super) fn check_parquet(asked: bool) -> Result<(), CliError> {
    match asked && cfg!(not(feature = "parquet")) {
        true => Err(CliError::usage(WITHOUT_PARQUET)),
        false => Ok(()),
    }
}

const WITHOUT_PARQUET: &str = "--parquet: this topobench was built without Parquet\nhint: build it with the feature \
                               `parquet`, or leave --parquet out: requests.jsonl holds the same";

#[cfg(feature = "parquet")]
fn requests(study: &Study) -> Result<Vec<u8>, CliError> {
    parquet::requests(study).map_err(|e| CliError::new(Exit::Internal, format!("cannot write requests.parquet: {e}")))
}

#[cfg(not(feature = "parquet"))]
fn requests(_: &Study) -> Result<Vec<u8>, CliError> {
    Err(CliError::usage(WITHOUT_PARQUET))
}

/// Colours only for a person who hasn't declined them.
pub(super) fn style() -> console::Style {
    console::Style { color: out::colours_are_welcome() }
}

/// 4 for any point that can't be trusted, 5 for any below the gate.
pub(super) fn judge(comparison: &Comparison, gate: Option<Percent>) -> Exit {
    let points = || comparison.arms.iter().flat_map(|a| &a.points);
    let doubtful = points().any(|p| p.status != PointStatus::Measured || p.valid == Some(false));
    let missed =
        gate.is_some_and(|gate| points().any(|p| p.attainment.both.is_none_or(|percent| percent < gate.get())));
    let of = |condition: bool, exit: Exit| if condition { exit } else { Exit::Good };
    of(doubtful, Exit::PointDoubtful).and(of(missed, Exit::GateMissed))
}
