//! What the model of an engine predicts for a workload, in virtual time.
//!
//! The same scheduler and costs as the live engine, driven without sleeping: Poisson arrivals,
//! distinct prompts, one tensor-parallel instance ("simple") or prefill and decode instances
//! with a KV hand-off between them ("pd"). `enginesim predict` prints it; the tests hold its shape.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::ExitCode;
use std::time::Duration;

use crate::args::PredictArgs;
use crate::blocks::{BlockPool, PrefixHash, mix, prefix_hashes};
use crate::cost::{CostModel, Link};
use crate::preset::{Gpu, Model};
use crate::scheduler::{Limits, Scheduler};
use crate::sequence::{KvOrigin, NewSequence, SequenceId};

/// Time that a router adds to each hop.
const ROUTER_HOP: Duration = Duration::from_micros(500);
const BLOCK_SIZE: u32 = 16;
const MEMORY_UTILIZATION: f64 = 0.85;

/// The two ways to spend GPUs that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// One instance over `tensor_parallel` GPUs.
    Simple { tensor_parallel: u32 },
    /// One prefill and one decode instance of one GPU each.
    OnePrefillOneDecode,
}

/// A synthetic workload.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Mean arrivals per second.
    pub rate: f64,
    pub requests: u32,
    pub seed: u64,
}

/// Latencies of one request, both in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub ttft_ms: f64,
    pub tpot_ms: f64,
}

/// Runs `workload` on `arm`; one entry a request.
pub fn predict(model: &'static Model, gpu: &'static Gpu, arm: Arm, workload: &Workload) -> Vec<Latency> {
    let arrivals = poisson(workload);
    let hashes = prompts(workload);
    let job = |index: usize, at: Duration| Job { id: index as SequenceId, at, hashes: &hashes[index] };
    match arm {
        Arm::Simple { tensor_parallel } => {
            let mut instance = Instance::new(model, gpu, tensor_parallel);
            let jobs = arrivals.iter().enumerate().map(|(i, at)| job(i, *at));
            let finished = instance.run(jobs.collect(), workload, workload.output_tokens, KvOrigin::Local);
            latencies(&arrivals, &finished, workload)
        }
        Arm::OnePrefillOneDecode => {
            let mut prefill = Instance::new(model, gpu, 1);
            let jobs = arrivals.iter().enumerate().map(|(i, at)| job(i, *at + ROUTER_HOP));
            let first = prefill.run(jobs.collect(), workload, 1, KvOrigin::Local);
            let mut decode = Instance::new(model, gpu, 1);
            let mut handed: Vec<Job<'_>> =
                first.iter().enumerate().map(|(i, span)| job(i, span.first + ROUTER_HOP)).collect();
            handed.sort_by_key(|job| job.at);
            let finished = decode.run(handed, workload, workload.output_tokens, KvOrigin::Remote);
            latencies(&arrivals, &finished, workload)
        }
    }
}

/// Prints a table of both arms; the command `enginesim predict`.
pub fn print(args: &PredictArgs) -> ExitCode {
    let (Some(model), Some(gpu)) = (Model::find(&args.model), Gpu::find(&args.sim_gpu)) else {
        eprintln!("enginesim: error: no preset {} on {}", args.model, args.sim_gpu);
        return ExitCode::from(2);
    };
    println!(
        "{} on 2 x {}, {} in, {} out, objectives TTFT {} ms and TPOT {} ms",
        model.name, gpu.name, args.input_len, args.output_len, args.ttft_slo, args.tpot_slo
    );
    println!("  rate  arm   TTFT p50     p90   TPOT p50    p90   attainment");
    let arms = [("TP2 ", Arm::Simple { tensor_parallel: 2 }), ("1P1D", Arm::OnePrefillOneDecode)];
    for rate in &args.request_rate {
        let workload = Workload {
            input_tokens: args.input_len,
            output_tokens: args.output_len,
            rate: *rate,
            requests: args.num_prompts,
            seed: args.seed,
        };
        for (name, arm) in arms {
            let latencies = predict(model, gpu, arm, &workload);
            println!("{rate:>6}  {name} {}", row(&latencies, args));
        }
    }
    ExitCode::SUCCESS
}

fn row(latencies: &[Latency], args: &PredictArgs) -> String {
    let met = |latency: &&Latency| latency.ttft_ms <= args.ttft_slo && latency.tpot_ms <= args.tpot_slo;
    let share = latencies.iter().filter(met).count() as f64 / latencies.len().max(1) as f64;
    let ttft = |q| quantile(latencies.iter().map(|latency| latency.ttft_ms), q);
    let tpot = |q| quantile(latencies.iter().map(|latency| latency.tpot_ms), q);
    format!("{:>9.0} {:>7.0}   {:>8.1} {:>6.1}   {:>8.1} %", ttft(0.5), ttft(0.9), tpot(0.5), tpot(0.9), share * 100.0)
}

/// One request as an instance sees it.
struct Job<'a> {
    id: SequenceId,
    at: Duration,
    hashes: &'a [PrefixHash],
}

/// When the first and the last token of a request appeared.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    first: Duration,
    last: Duration,
}

struct Instance {
    scheduler: Scheduler,
    cost: CostModel,
    link: Link,
    arriving_kv: BinaryHeap<Reverse<(Duration, SequenceId)>>,
}

impl Instance {
    fn new(model: &'static Model, gpu: &'static Gpu, tensor_parallel: u32) -> Self {
        let cost = CostModel::new(model, gpu, tensor_parallel);
        let blocks = cost.kv_blocks(cost.kv_memory(MEMORY_UTILIZATION), BLOCK_SIZE);
        let limits = Limits {
            batched_tokens: gpu.default_batched_tokens,
            sequences: gpu.default_sequences,
            block_size: BLOCK_SIZE,
        };
        Self {
            scheduler: Scheduler::new(limits, cost.clone(), BlockPool::new(blocks, true)),
            cost,
            link: Link::default(),
            arriving_kv: BinaryHeap::new(),
        }
    }

    /// Serves `jobs` (sorted by time) to the end.
    fn run(&mut self, jobs: Vec<Job<'_>>, workload: &Workload, output_tokens: u32, kv: KvOrigin) -> Vec<Span> {
        let mut spans = vec![Span::default(); jobs.len()];
        let admission = self.cost.admission(workload.input_tokens);
        let mut jobs = jobs.into_iter().peekable();
        let mut now = Duration::ZERO;
        loop {
            while let Some(job) = jobs.next_if(|job| job.at + admission <= now) {
                let spec = NewSequence {
                    id: job.id,
                    prompt_tokens: workload.input_tokens,
                    hashes: job.hashes.to_vec(),
                    output_tokens,
                    kv,
                    hold_blocks: false,
                };
                self.scheduler.submit(spec, job.at + admission);
            }
            self.deliver_kv(now, output_tokens);
            let step = self.scheduler.begin_step(now);
            self.book_transfers(now);
            if let Some(duration) = step {
                now += duration;
                for output in self.scheduler.end_step(now) {
                    let span = &mut spans[output.id as usize];
                    span.last = now;
                    if output.first.is_some() {
                        span.first = now;
                    }
                }
                continue;
            }
            let kv_at = self.arriving_kv.peek().map(|Reverse((at, _))| *at);
            let job_at = jobs.peek().map(|job| job.at + admission);
            let Some(next) = kv_at.into_iter().chain(job_at).min() else {
                return spans;
            };
            now = next;
        }
    }

    fn deliver_kv(&mut self, now: Duration, output_tokens: u32) {
        while let Some(Reverse((at, id))) = self.arriving_kv.peek().copied() {
            if at > now {
                return;
            }
            self.arriving_kv.pop();
            self.scheduler.kv_loaded(id, output_tokens);
        }
    }

    fn book_transfers(&mut self, now: Duration) {
        for fetch in self.scheduler.take_fetches() {
            let bytes = self.cost.kv_bytes(fetch.missing_tokens);
            let takes = self.link.transfer(now, &self.cost, bytes);
            self.arriving_kv.push(Reverse((now + takes, fetch.id)));
        }
    }
}

fn latencies(arrivals: &[Duration], spans: &[Span], workload: &Workload) -> Vec<Latency> {
    let gaps = f64::from(workload.output_tokens.saturating_sub(1).max(1));
    arrivals
        .iter()
        .zip(spans)
        .map(|(arrived, span)| Latency {
            ttft_ms: (span.first - *arrived).as_secs_f64() * 1e3,
            tpot_ms: (span.last - span.first).as_secs_f64() * 1e3 / gaps,
        })
        .collect()
}

/// Exponential gaps from a counter-based generator, so that results never change.
fn poisson(workload: &Workload) -> Vec<Duration> {
    let mut at = 0.0;
    (0..workload.requests)
        .map(|index| {
            let uniform = (mix(workload.seed, index) >> 11) as f64 / (1u64 << 53) as f64;
            at += -(1.0 - uniform).ln() / workload.rate;
            Duration::from_secs_f64(at)
        })
        .collect()
}

fn prompts(workload: &Workload) -> Vec<Vec<PrefixHash>> {
    (0..workload.requests)
        .map(|index| prefix_hashes(&vec![index; workload.input_tokens as usize], BLOCK_SIZE))
        .collect()
}

/// The `q` quantile (0 to 1) of `values`, linear between neighbours.
pub fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests a rate: enough for a steady p90, few enough for a debug build.
    const REQUESTS: u32 = 300;
    const LOWEST: f64 = 1.0;
    /// The highest rate that both arms sustain with one H100 of prefill: 72 ms a prompt.
    const HIGHEST: f64 = 12.0;

    fn at(arm: Arm, rate: f64) -> Vec<Latency> {
        let workload = Workload { input_tokens: 2048, output_tokens: 128, rate, requests: REQUESTS, seed: 7 };
        let (model, gpu) = (Model::find("qwen3-8b").unwrap(), Gpu::find("h100").unwrap());
        predict(model, gpu, arm, &workload)
    }

    fn ttft(latencies: &[Latency], q: f64) -> f64 {
        quantile(latencies.iter().map(|l| l.ttft_ms), q)
    }

    fn tpot(latencies: &[Latency], q: f64) -> f64 {
        quantile(latencies.iter().map(|l| l.tpot_ms), q)
    }

    const TP2: Arm = Arm::Simple { tensor_parallel: 2 };

    fn near(value: f64, measured: f64, tolerance: f64) {
        let error = (value / measured - 1.0).abs();
        assert!(error < tolerance, "{value:.1} against {measured:.1}");
    }

    #[test]
    fn two_requests_a_second_look_like_the_measured_h100s() {
        let (simple, pd) = (at(TP2, 2.0), at(Arm::OnePrefillOneDecode, 2.0));
        near(ttft(&simple, 0.5), 66.0, 0.1);
        near(ttft(&pd, 0.5), 119.0, 0.1);
        near(tpot(&simple, 0.5), 5.2, 0.1);
        near(tpot(&simple, 0.9), 5.6, 0.15);
        near(tpot(&pd, 0.5), 7.3, 0.1);
        near(tpot(&pd, 0.9), 7.6, 0.1);
    }

    #[test]
    fn load_slows_tp2_decoding_more_than_twofold_and_1p1d_hardly() {
        let growth = |arm| tpot(&at(arm, HIGHEST), 0.9) / tpot(&at(arm, LOWEST), 0.9);
        assert!(growth(TP2) > 2.0, "TP2 grew by {:.2}", growth(TP2));
        let pd = growth(Arm::OnePrefillOneDecode);
        assert!(pd < 1.3, "1P1D grew by {pd:.2}");
    }

    #[test]
    fn the_hand_off_costs_first_token_latency_at_low_load() {
        let ratio = ttft(&at(Arm::OnePrefillOneDecode, LOWEST), 0.5) / ttft(&at(TP2, LOWEST), 0.5);
        assert!((1.5..3.0).contains(&ratio), "{ratio:.2}");
    }

    #[test]
    fn both_arms_sustain_the_highest_rate() {
        for arm in [TP2, Arm::OnePrefillOneDecode] {
            let latencies = at(arm, HIGHEST);
            let (early, late) = latencies.split_at(latencies.len() / 2);
            assert!(ttft(late, 0.5) < ttft(early, 0.5) * 3.0, "{arm:?} falls behind");
        }
    }

    #[test]
    fn the_same_seed_predicts_the_same() {
        assert_eq!(at(TP2, 4.0), at(TP2, 4.0));
    }

    #[test]
    fn arrivals_have_the_rate_asked_for() {
        let workload = Workload { input_tokens: 1, output_tokens: 1, rate: 5.0, requests: 4000, seed: 1 };
        let last = poisson(&workload).pop().unwrap().as_secs_f64();
        assert!((last / 800.0 - 1.0).abs() < 0.05, "{last}");
    }
}
