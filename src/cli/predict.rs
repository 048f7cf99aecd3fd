//! `topobench predict`: what the model of the engines expects of arms, without an engine.

use super::args::PredictArgs;
use super::exit::{CliError, Exit};
use super::{out, slo};
use crate::plan::environment::Environment;
use crate::plan::parallelism::Parallelism;
use crate::predict::arm::{EngineSettings, Group, PredictedArm};
use crate::predict::fleet::VirtualFleet;
use crate::predict::latency::{attainment, quantile};
use crate::predict::model::preset::{self, Gpu, Model};
use crate::predict::workload::Poisson;
use clap::ArgMatches;
use std::fmt::Write as _;

pub(super) fn run(args: &PredictArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let (slo, _) = slo::resolve(&args.slo, matches, &Environment::of_process()?)?;
    let gpu = gpu(&args.gpu)?;
    let model = Model::find(&args.model).ok_or_else(|| {
        let known = preset::names(preset::MODELS.iter().map(|model| model.name));
        CliError::usage(format!("--model {}: not known to the model of the engines; it knows {known}", args.model))
    })?;
    // Writing into a `String` cannot fail.
    let mut text = String::new();
    let _ = writeln!(
        text,
        "predicted, not measured: {} on {} x {}, block size {}, {} in, {} out, {slo}",
        model.name, args.gpus, gpu.name, args.block_size, args.random_input_len, args.random_output_len
    );
    let _ = writeln!(text, "  rate  arm     TTFT p50     p90   TPOT p50    p90   attainment");
    for rate in &args.request_rate {
        for arm in arms(args) {
            let workload = Poisson {
                input_tokens: args.random_input_len,
                output_tokens: args.random_output_len,
                rate: rate.per_second(),
                requests: args.num_prompts,
                seed: args.seed,
            };
            let latencies = VirtualFleet::new(model, gpu, arm).serve(&workload.arrivals());
            let ttft = |q| quantile(latencies.iter().map(|latency| latency.ttft_ms), q);
            let tpot = |q| quantile(latencies.iter().map(|latency| latency.tpot_ms), q);
            let share = attainment(&latencies, latencies.len(), &slo);
            let _ = writeln!(
                text,
                "{rate:>6}  {:<6} {:>9.0} {:>7.0}   {:>8.1} {:>6.1}   {share:>8.1} %",
                arm.to_string(),
                ttft(0.5),
                ttft(0.9),
                tpot(0.5),
                tpot(0.9)
            );
        }
    }
    out::text(&text)?;
    Ok(Exit::Good)
}

/// The even ways to spend the GPUs: replicas of every tensor-parallel size, and half for prefill, half for decode.
fn arms(args: &PredictArgs) -> Vec<PredictedArm> {
    let settings = EngineSettings {
        block_size: args.block_size.max(1),
        max_num_batched_tokens: args.max_num_batched_tokens,
        max_num_seqs: args.max_num_seqs,
        ..EngineSettings::default()
    };
    let group = |replicas, tensor_parallel| Group { replicas, ranks: Parallelism::tensor(tensor_parallel), settings };
    let sizes = (0..).map(|power| 1 << power).take_while(|size| *size <= args.gpus);
    let mut arms: Vec<PredictedArm> = sizes
        .filter(|size| args.gpus.is_multiple_of(*size))
        .map(|size| PredictedArm::Simple(group(args.gpus / size, size)))
        .collect();
    if args.gpus >= 2 {
        let decode = args.gpus / 2;
        arms.push(PredictedArm::PrefillDecode {
            prefill: group(args.gpus - decode, 1),
            decode: group(decode, 1),
            pushed: false,
        });
    }
    arms
}

/// The preset of this name.
pub(super) fn gpu(name: &str) -> Result<&'static Gpu, CliError> {
    Gpu::find(name).ok_or_else(|| {
        let known = preset::names(preset::GPUS.iter().map(|gpu| gpu.name));
        CliError::usage(format!("--gpu {name}: not known to the model of the engines; it knows {known}"))
    })
}
