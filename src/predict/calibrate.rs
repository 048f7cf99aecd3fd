//! Fits a GPU preset to measured runs, and tells how well it predicts runs that it has not seen.
//!
//! Every measured point is replayed in virtual time with its own arrivals and lengths, one after another on the same
//! engines; the error is the mean square of the logarithms of predicted over measured TTFT and TPOT percentiles. The
//! search is a pattern search (Hooke and Jeeves, 1961) over the logarithms of the preset's numbers: no derivatives, and
//! the same result every time.

use super::fleet::VirtualFleet;
use super::latency::{Latency, attainment, quantile};
use super::measured::{MeasuredArm, MeasuredPoint};
use super::model::preset::Gpu;
use crate::plan::slo::{Slo, Target};

/// Percentiles that the fit compares, as shares.
const QUANTILES: [f64; 2] = [0.5, 0.9];
/// What it compares: TTFT and TPOT.
const FIELDS: [fn(&Latency) -> f64; 2] = [|l| l.ttft_ms, |l| l.tpot_ms];
/// First and last relative step of the search.
const STEPS: [f64; 6] = [0.3, 0.15, 0.08, 0.04, 0.02, 0.01];
/// Rounds over all parameters at one step width, at most.
const ROUNDS: usize = 12;

/// A number of the preset that is fitted, and its name there.
pub type Parameter = (&'static str, fn(&mut Gpu) -> &mut f64);

pub const PARAMETERS: [Parameter; 12] = [
    ("compute_efficiency", |gpu| &mut gpu.compute_efficiency),
    ("memory_efficiency", |gpu| &mut gpu.memory_efficiency),
    ("step_overhead", |gpu| &mut gpu.step_overhead),
    ("admission", |gpu| &mut gpu.admission),
    ("admission_per_token", |gpu| &mut gpu.admission_per_token),
    ("parallel_admission", |gpu| &mut gpu.parallel_admission),
    ("allreduce_latency", |gpu| &mut gpu.allreduce_latency),
    ("allreduce_bandwidth", |gpu| &mut gpu.allreduce_bandwidth),
    ("transfer_latency", |gpu| &mut gpu.transfer_latency),
    ("post_latency", |gpu| &mut gpu.post_latency),
    ("descriptor_post", |gpu| &mut gpu.descriptor_post),
    ("descriptor_transfer", |gpu| &mut gpu.descriptor_transfer),
];

/// What `gpu` predicts for each point of a measured arm.
pub fn replay(gpu: &Gpu, measured: &MeasuredArm) -> Vec<Vec<Latency>> {
    let mut fleet = VirtualFleet::new(measured.model, gpu, measured.arm);
    measured.points.iter().map(|point| fleet.serve(&point.arrivals)).collect()
}

/// The preset nearest to the runs that the search finds from `start`.
pub fn fit(start: Gpu, runs: &[MeasuredArm]) -> Gpu {
    let error = |gpu: &Gpu| -> f64 {
        let of_run = |run: &MeasuredArm| -> f64 {
            replay(gpu, run).iter().zip(&run.points).map(|(predicted, point)| misfit(predicted, point)).sum()
        };
        runs.iter().map(of_run).sum()
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
    best
}

/// Sum of the squared logarithms of predicted over measured percentiles.
fn misfit(predicted: &[Latency], measured: &MeasuredPoint) -> f64 {
    let each = FIELDS.iter().flat_map(|field| {
        let of = |latencies: &[Latency], q| quantile(latencies.iter().map(field), q);
        QUANTILES.map(|q| (of(predicted, q) / of(&measured.served, q)).ln().powi(2))
    });
    each.filter(|error| error.is_finite()).sum()
}

/// Predicted beside measured, a line a point, and the crossings of the target.
pub fn compare(gpu: &Gpu, measured: &MeasuredArm, how: &str, slo: &Slo, target: Target) -> String {
    let mut text = format!("\n{} {} ({how}), predicted/measured\n", measured.arm, measured.name);
    text += "  rate      TTFT p50           p90      TPOT p50           p90  attainment %\n";
    let (mut predicted_curve, mut measured_curve) = (Vec::new(), Vec::new());
    for (point, predicted) in measured.points.iter().zip(replay(gpu, measured)) {
        let share = |latencies: &[Latency]| attainment(latencies, point.arrivals.len(), slo);
        let (theirs, ours) = (share(&point.served), share(&predicted));
        text += &format!("{:>6}", point.rate);
        for (field, digits) in FIELDS.iter().zip([0, 1]) {
            for q in QUANTILES {
                let [p, m] = [&predicted, &point.served].map(|latencies| quantile(latencies.iter().map(field), q));
                text += &format!(" {p:>6.digits$}/{m:<6.digits$}");
            }
        }
        text += &format!(" {ours:>6.1}/{theirs:<6.1}\n");
        predicted_curve.push((point.rate, ours));
        measured_curve.push((point.rate, theirs));
    }
    let target = target.percent().get();
    text += &match [&predicted_curve, &measured_curve].map(|curve| crossing(curve, target)) {
        [Some(ours), Some(theirs)] => format!(
            "  crosses {target} % at {ours:.2} predicted, {theirs:.2} req/s measured: {:+.1} %\n",
            (ours / theirs - 1.0) * 100.0
        ),
        [ours, theirs] => {
            let words = |at: Option<f64>| at.map_or("outside the rates".to_owned(), |at| format!("{at:.2} req/s"));
            format!("  crosses {target} %: {} predicted, {} measured\n", words(ours), words(theirs))
        }
    };
    text
}

/// Where a curve of (rate, percent) last falls through `target`, on straight lines between its points.
pub fn crossing(curve: &[(f64, f64)], target: f64) -> Option<f64> {
    let falls = curve.windows(2).rev().find(|pair| pair[0].1 >= target && pair[1].1 < target)?;
    let [(r0, a0), (r1, a1)] = [falls[0], falls[1]];
    Some(r0 + (a0 - target) / (a0 - a1) * (r1 - r0))
}
