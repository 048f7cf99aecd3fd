//! Fits a GPU preset to measured runs, and tells how well it predicts runs that it has not seen.
//!
//! Every measured point is replayed in virtual time with its own arrivals and lengths; the error is the mean square of
//! the logarithms of predicted over measured TTFT and TPOT percentiles. The search is a pattern search (Hooke and
//! Jeeves, 1961) over the logarithms of the preset's numbers: no derivatives, and the same result every time.

use std::path::PathBuf;
use std::process::ExitCode;

use super::fleet::{Latency, predict};
use super::runs::{self, Measured, MeasuredPoint};
use super::{attainment, quantile};
use crate::enginesim::args::CalibrateArgs;
use crate::enginesim::preset::{Gpu, Model};

/// Percentiles that the fit compares, as shares.
const QUANTILES: [f64; 2] = [0.5, 0.9];
/// What it compares: TTFT and TPOT.
const FIELDS: [fn(&Latency) -> f64; 2] = [|l| l.ttft_ms, |l| l.tpot_ms];
/// First and last relative step of the search.
const STEPS: [f64; 6] = [0.3, 0.15, 0.08, 0.04, 0.02, 0.01];
/// Rounds over all parameters at one step width, at most.
const ROUNDS: usize = 12;

/// A number of the preset that is fitted, and its name in `preset.rs`.
type Parameter = (&'static str, fn(&mut Gpu) -> &mut f64);

const PARAMETERS: [Parameter; 9] = [
    ("compute_efficiency", |gpu| &mut gpu.compute_efficiency),
    ("memory_efficiency", |gpu| &mut gpu.memory_efficiency),
    ("step_overhead", |gpu| &mut gpu.step_overhead),
    ("admission", |gpu| &mut gpu.admission),
    ("admission_per_token", |gpu| &mut gpu.admission_per_token),
    ("allreduce_latency", |gpu| &mut gpu.allreduce_latency),
    ("allreduce_bandwidth", |gpu| &mut gpu.allreduce_bandwidth),
    ("transfer_latency", |gpu| &mut gpu.transfer_latency),
    ("transfer_setup_per_token", |gpu| &mut gpu.transfer_setup_per_token),
];

/// The command `enginesim calibrate`.
pub fn print(args: &CalibrateArgs) -> ExitCode {
    match report(args) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("enginesim: error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn report(args: &CalibrateArgs) -> Result<String, String> {
    let start = *Gpu::find(&args.sim_gpu).ok_or_else(|| format!("no preset {}", args.sim_gpu))?;
    let fitted_to = read(&args.runs)?;
    let held_out = read(&args.hold_out)?;
    let gpu = if args.as_is { start } else { fit(start, &fitted_to)? };
    let mut text = String::new();
    if !args.as_is {
        for (name, field) in PARAMETERS {
            text += &format!("{name}: {:.4e} (was {:.4e})\n", field(&mut gpu.clone()), field(&mut start.clone()));
        }
    }
    for (measured, how) in fitted_to.iter().map(|m| (m, "fitted")).chain(held_out.iter().map(|m| (m, "held out"))) {
        text += &compare(gpu, measured, how, args)?;
    }
    Ok(text)
}

fn read(directories: &[PathBuf]) -> Result<Vec<Measured>, String> {
    directories.iter().map(|directory| runs::read(directory).map_err(|e| e.to_string())).collect()
}

fn model(measured: &Measured) -> Result<&'static Model, String> {
    Model::find(&measured.model)
        .ok_or_else(|| format!("{}: no preset {}", measured.directory.display(), measured.model))
}

/// The preset nearest to the runs that the search finds from `start`.
fn fit(start: Gpu, runs: &[Measured]) -> Result<Gpu, String> {
    let models = runs.iter().map(model).collect::<Result<Vec<_>, _>>()?;
    let error = |gpu: &Gpu| -> f64 {
        let points = runs.iter().zip(&models).flat_map(|(run, model)| {
            run.points.iter().map(|point| misfit(&predict(model, gpu, run.arm, &point.arrivals), point))
        });
        points.sum()
    };
    let (mut best, mut least) = (start, error(&start));
    for step in STEPS {
        for _ in 0..ROUNDS {
            let before = least;
            for (_, field) in PARAMETERS {
                for factor in [1.0 + step, 1.0 / (1.0 + step)] {
                    let mut candidate = best;
                    *field(&mut candidate) *= factor;
                    let its = error(&candidate);
                    if its < least {
                        (best, least) = (candidate, its);
                        break;
                    }
                }
            }
            if least >= before * 0.999 {
                break;
            }
        }
    }
    Ok(best)
}

/// Sum of the squared logarithms of predicted over measured percentiles.
fn misfit(predicted: &[Latency], measured: &MeasuredPoint) -> f64 {
    let served = measured.served();
    let each = FIELDS.iter().flat_map(|field| {
        let of = |latencies: &[Latency], q| quantile(latencies.iter().map(field), q);
        QUANTILES.map(|q| (of(predicted, q) / of(&served, q)).ln().powi(2))
    });
    each.sum()
}

/// Predicted beside measured, a line a point, and the crossings of the target.
fn compare(gpu: Gpu, measured: &Measured, how: &str, args: &CalibrateArgs) -> Result<String, String> {
    let model = model(measured)?;
    let mut text = format!("\n{} {} ({how}), predicted/measured\n", measured.arm, measured.directory.display());
    text += "  rate      TTFT p50           p90      TPOT p50           p90  attainment %\n";
    let (mut predicted_curve, mut measured_curve) = (Vec::new(), Vec::new());
    for point in &measured.points {
        let predicted = predict(model, &gpu, measured.arm, &point.arrivals);
        let served = point.served();
        let share = |latencies: &[Latency]| attainment(latencies, point.latencies.len(), args.ttft_slo, args.tpot_slo);
        let (theirs, ours) = (share(&served), share(&predicted));
        text += &format!("{:>6}", point.rate);
        for (field, digits) in FIELDS.iter().zip([0, 1]) {
            for q in QUANTILES {
                let [p, m] = [&predicted, &served].map(|latencies| quantile(latencies.iter().map(field), q));
                text += &format!(" {p:>6.digits$}/{m:<6.digits$}");
            }
        }
        text += &format!(" {ours:>6.1}/{theirs:<6.1}\n");
        predicted_curve.push((point.rate, ours));
        measured_curve.push((point.rate, theirs));
    }
    let crossings = [&predicted_curve, &measured_curve].map(|curve| crossing(curve, args.target));
    text += &match crossings {
        [Some(ours), Some(theirs)] => format!(
            "  crosses {} % at {ours:.2} predicted, {theirs:.2} req/s measured: {:+.1} %\n",
            args.target,
            (ours / theirs - 1.0) * 100.0
        ),
        [ours, theirs] => {
            let words = |at: Option<f64>| at.map_or("outside the rates".to_owned(), |at| format!("{at:.2} req/s"));
            format!("  crosses {} %: {} predicted, {} measured\n", args.target, words(ours), words(theirs))
        }
    };
    Ok(text)
}

/// Where a curve of (rate, percent) last falls through `target`, on straight lines between its points.
fn crossing(curve: &[(f64, f64)], target: f64) -> Option<f64> {
    let falls = curve.windows(2).rev().find(|pair| pair[0].1 >= target && pair[1].1 < target)?;
    let [(r0, a0), (r1, a1)] = [falls[0], falls[1]];
    Some(r0 + (a0 - target) / (a0 - a1) * (r1 - r0))
}
