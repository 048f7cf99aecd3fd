//! `topobench calibrate`: fits the model of a GPU to measured runs and holds it against others.

use super::args::CalibrateArgs;
use super::exit::{CliError, Exit};
use super::predict::gpu;
use super::{out, slo};
use crate::plan::deployment::Deployment;
use crate::plan::environment::Environment;
use crate::predict::arm::PredictedArm;
use crate::predict::calibrate;
use crate::predict::latency::Latency;
use crate::predict::measured::{MeasuredArm, MeasuredPoint};
use crate::predict::model::preset::{self, Model};
use crate::predict::workload::Arrival;
use crate::record::{RecordedPoint, RecordedRun};
use clap::ArgMatches;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn run(args: &CalibrateArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let (slo, target) = slo::resolve(&args.slo, matches, &Environment::of_process()?)?;
    let start = *gpu(&args.gpu)?;
    let (fitted_to, held_out) = (read(&args.runs)?, read(&args.hold_out)?);
    let (fitted, how) = if args.as_is { (start, "as is") } else { (calibrate::fit(start, &fitted_to), "fitted") };
    // Writing into a `String` cannot fail.
    let mut text = String::new();
    for (name, field) in calibrate::PARAMETERS.iter().filter(|_| !args.as_is) {
        let (now, before) = (*field(&mut fitted.clone()), *field(&mut start.clone()));
        let _ = writeln!(text, "{name}: {now:.4e} (was {before:.4e})");
    }
    for run in &fitted_to {
        text += &calibrate::compare(&fitted, run, how, &slo, target);
    }
    for run in &held_out {
        text += &calibrate::compare(&fitted, run, "held out", &slo, target);
    }
    out::text(&text)?;
    Ok(Exit::Good)
}

fn read(directories: &[PathBuf]) -> Result<Vec<MeasuredArm>, CliError> {
    directories.iter().map(|directory| measured(directory)).collect()
}

/// The first attempt at each rate.
fn measured(directory: &Path) -> Result<MeasuredArm, CliError> {
    let run = RecordedRun::read(directory)?;
    let unusable = |what: &str| {
        CliError::usage(format!(
            "{}: {what}\nhint: give the directory of a run that started its own engines",
            directory.display()
        ))
    };
    let manifest = run.manifest.as_ref().ok_or_else(|| unusable("there is no manifest.json"))?;
    let Deployment::Spawn(fleet) = &manifest.arm.deployment else {
        return Err(unusable("no engines were started in this run"));
    };
    let arm =
        PredictedArm::of(fleet).ok_or_else(|| unusable("its instances are neither simple nor prefill and decode"))?;
    let model = Model::find(&fleet.model).ok_or_else(|| {
        let known = preset::names(preset::MODELS.iter().map(|model| model.name));
        unusable(&format!("the model {} is not among those known: {known}", fleet.model))
    })?;
    let points = run.points.iter().filter(|point| point.key.attempt == 1).map(measured_point).collect();
    Ok(MeasuredArm { name: directory.display().to_string(), arm, model, points })
}

fn measured_point(point: &RecordedPoint) -> MeasuredPoint {
    let rows: Vec<_> = point.samples.rows().collect();
    // What was not served was asked for as much as the others, as far as anybody knows.
    let asked = rows.iter().filter_map(|row| row.output_tokens).map(|tokens| tokens.get()).max().unwrap_or(1);
    let mut arrivals: Vec<Arrival> = rows
        .iter()
        .map(|row| Arrival {
            at: Duration::from_secs_f64(row.due.max(0.0)),
            input_tokens: row.prompt_tokens.get(),
            output_tokens: row.output_tokens.map_or(0, |tokens| tokens.get()).max(1),
        })
        .collect();
    for (arrival, _) in arrivals.iter_mut().zip(&rows).filter(|(_, row)| !row.served()) {
        arrival.output_tokens = asked.max(1);
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    let latency = |row: &crate::analyse::Row| {
        Some(Latency {
            ttft_ms: row.ttft?.as_secs() * 1e3,
            tpot_ms: row.tpot.map_or(0.0, |tpot| tpot.as_secs() * 1e3),
            e2el_ms: row.e2el?.as_secs() * 1e3,
        })
    };
    MeasuredPoint { rate: point.key.rate.per_second(), arrivals, served: rows.iter().filter_map(latency).collect() }
}
