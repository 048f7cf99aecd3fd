//! What the model of an engine predicts for a workload, in virtual time.
//!
//! The same scheduler and costs as the live engine, driven without sleeping: `fleet` routes requests over `instance`s,
//! `workload` says what arrives, `runs` reads what was measured, `calibrate` fits the one to the other. `enginesim
//! predict` prints a table; the tests hold its shape.

mod calibrate;
mod fleet;
mod instance;
mod runs;
#[cfg(test)]
mod tests;
mod workload;

pub use calibrate::print as calibrate;

use std::process::ExitCode;

use crate::enginesim::args::PredictArgs;
use crate::enginesim::preset::{Gpu, Model};
use fleet::{Arm, Group, Latency};
use workload::Poisson;

const TP1: Group = Group { replicas: 1, tensor_parallel: 1 };

/// The ways to spend two GPUs.
const ARMS: [Arm; 3] = [
    Arm::Simple(Group { replicas: 1, tensor_parallel: 2 }),
    Arm::Simple(Group { replicas: 2, tensor_parallel: 1 }),
    Arm::PrefillDecode { prefill: TP1, decode: TP1 },
];

/// Prints a table of the arms; the command `enginesim predict`.
pub fn print(args: &PredictArgs) -> ExitCode {
    let (Some(model), Some(gpu)) = (Model::find(&args.model), Gpu::find(&args.sim_gpu)) else {
        eprintln!("enginesim: error: no preset {} on {}", args.model, args.sim_gpu);
        return ExitCode::from(2);
    };
    println!(
        "{} on 2 x {}, {} in, {} out, objectives TTFT {} ms and TPOT {} ms",
        model.name, gpu.name, args.input_len, args.output_len, args.ttft_slo, args.tpot_slo
    );
    println!("  rate  arm    TTFT p50     p90   TPOT p50    p90   attainment");
    for rate in &args.request_rate {
        let workload = Poisson {
            input_tokens: args.input_len,
            output_tokens: args.output_len,
            rate: *rate,
            requests: args.num_prompts,
            seed: args.seed,
        };
        for arm in ARMS {
            let latencies = fleet::predict(model, gpu, arm, &workload.arrivals());
            println!("{rate:>6}  {:<5} {}", arm.to_string(), row(&latencies, args));
        }
    }
    ExitCode::SUCCESS
}

fn row(latencies: &[Latency], args: &PredictArgs) -> String {
    let share = attainment(latencies, latencies.len(), args.ttft_slo, args.tpot_slo);
    let ttft = |q| quantile(latencies.iter().map(|latency| latency.ttft_ms), q);
    let tpot = |q| quantile(latencies.iter().map(|latency| latency.tpot_ms), q);
    format!("{:>9.0} {:>7.0}   {:>8.1} {:>6.1}   {share:>8.1} %", ttft(0.5), ttft(0.9), tpot(0.5), tpot(0.9))
}

/// Percentage of `offered` requests that met both limits, in milliseconds.
fn attainment(latencies: &[Latency], offered: usize, ttft_slo: f64, tpot_slo: f64) -> f64 {
    let met = |latency: &&Latency| latency.ttft_ms <= ttft_slo && latency.tpot_ms <= tpot_slo;
    latencies.iter().filter(met).count() as f64 / offered.max(1) as f64 * 100.0
}

/// The `q` quantile (0 to 1) of `values`, linear between neighbours.
fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}
