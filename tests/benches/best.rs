//! Does the race find the deployment that carries the most, where the engines are not as the predictor thinks?
//!
//! `cargo bench --bench best [-- SEEDS]` (default 50 a workload; some twenty minutes on two cores). In virtual time, on the
//! scheduler and the costs of the simulated engine: four GPUs, all shapes with all curated settings, three workloads. In
//! every seed all-reduces and hand-overs of the true engines cost 0.3 to 3 times what the predictor believes, each launch
//! is 5 % faster or slower (standard error), and the race may take a quarter of the time that every candidate launched
//! once and measured at five rates would. Printed for each workload: how often the named winner carries at least 95 % of
//! what the truly best one does, what it loses on average and at the worst, the time it took beside the exhaustive one;
//! and the same for the best by prediction alone.

mod sweeps;

use kit::queue::Dice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use sweeps::point;
use topobench::analyse::{ArmKind, PointReport, Question};
use topobench::plan::candidates::{Candidate, Layout, Tune, read};
use topobench::plan::slo::{Slo, Target};
use topobench::predict::arm::EngineSettings;
use topobench::predict::capacity::{Demand, Predictor};
use topobench::predict::field::{Entrant, Field};
use topobench::predict::fleet::VirtualFleet;
use topobench::predict::model::preset::{Gpu, Model};
use topobench::predict::workload::Poisson;
use topobench::strategy::race::{Belief, Move, Race, Racer, Seen};
use topobench::units::{Tpot, Ttft};

const GPUS: u32 = 4;
/// Seconds of a launch, of a point and what lies between two.
const LAUNCH: f64 = 120.0;
const POINT: f64 = 30.0;
const BETWEEN: f64 = 3.0;
/// Of the exhaustive search.
const RATES: f64 = 5.0;
const SHARE: f64 = 0.25;
const DRIFT: f64 = 0.05;
/// A winner that carries less than this share of the best one's is a wrong answer.
const GOOD: f64 = 0.95;

struct Work {
    name: &'static str,
    input: u32,
    output: u32,
    slo: Slo,
}

fn work(name: &'static str, input: u32, output: u32, ttft: f64, tpot: f64) -> Work {
    Work { name, input, output, slo: Slo { ttft: Ttft::from_millis(ttft), tpot: Tpot::from_millis(tpot), e2el: None } }
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let seeds: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(50);
    println!("{seeds} seeds a workload, {GPUS} GPUs, a race of {:.0} % of the exhaustive time\n", SHARE * 100.0);
    println!(
        "| workload | candidates | raced | named within 5 % | lost: mean, worst | time, of exhaustive | launches | predicted alone within 5 % | lost: mean, worst |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for work in [
        work("2048 in, 128 out, 250/10 ms", 2048, 128, 250.0, 10.0),
        work("512 in, 256 out, 150/12 ms", 512, 256, 150.0, 12.0),
        work("4096 in, 64 out, 800/15 ms", 4096, 64, 800.0, 15.0),
    ] {
        study(&work, seeds);
    }
}

/// One seed's end.
struct End {
    named: f64,
    predicted: f64,
    share: f64,
    launches: f64,
}

fn study(work: &Work, seeds: u64) {
    let model = Model::find("qwen3-8b").expect("a preset");
    let believed = Gpu::find("h100").expect("a preset");
    let entrants = entrants();
    let demand = demand(work, 300, 1);
    let predictor = Predictor { model, gpu: believed, demand: &demand, slo: work.slo, target: Target::default() };
    let field = Field::of(&entrants, Some(&predictor));
    let raced: Vec<usize> = field.raced().collect();
    let (next, ends) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                break;
            }
            let end = one(work, model, believed, &entrants, &field, seed);
            eprintln!(
                "{} seed {seed}: named {:.3}, predicted {:.3}, {:.2} of the time, {} launches",
                work.name, end.named, end.predicted, end.share, end.launches
            );
            ends.lock().expect("no panic").push(end);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    let ends = ends.into_inner().expect("no panic");
    let count = ends.len() as f64;
    let share = |of: fn(&End) -> f64| 100.0 * ends.iter().filter(|e| of(e) >= GOOD).count() as f64 / count;
    let lost = |of: fn(&End) -> f64| {
        let mean = ends.iter().map(|e| 1.0 - of(e)).sum::<f64>() / count;
        let worst = ends.iter().map(|e| 1.0 - of(e)).fold(0.0, f64::max);
        format!("{:.1} %, {:.0} %", mean * 100.0, worst * 100.0)
    };
    let mean = |of: fn(&End) -> f64| ends.iter().map(of).sum::<f64>() / count;
    println!(
        "| {} | {} | {} | {:.0} % | {} | {:.0} % | {:.1} | {:.0} % | {} |",
        work.name,
        entrants.len(),
        raced.len(),
        share(|e| e.named),
        lost(|e| e.named),
        mean(|e| e.share) * 100.0,
        mean(|e| e.launches),
        share(|e| e.predicted),
        lost(|e| e.predicted),
    );
}

fn entrants() -> Vec<Entrant> {
    let tunings = read(&Tune::Curated).expect("built in");
    let tunings: Vec<_> = tunings.into_iter().filter(|t| t.suits(Some((0, 22))) && !t.changes_outputs).collect();
    let settings = |candidate: &Candidate| {
        let words: Vec<String> =
            candidate.tuning.settings.shown().iter().map(|(key, value)| format!("--{key}={value}")).collect();
        EngineSettings::of_args(&words)
    };
    let candidates = Candidate::all(&Layout::all(GPUS, false), &tunings).into_iter();
    candidates.map(|candidate| Entrant { settings: [settings(&candidate); 2], candidate, pushed: false }).collect()
}

fn demand(work: &Work, requests: u32, seed: u64) -> Demand {
    let poisson = Poisson { input_tokens: work.input, output_tokens: work.output, rate: 1.0, requests, seed };
    Demand::new(poisson.arrivals()).expect("many requests")
}

/// The engines as they truly are: all-reduces and hand-overs cost so many times as much.
fn true_gpu(believed: &Gpu, parallel: f64, hand_over: f64) -> Gpu {
    Gpu {
        allreduce_latency: believed.allreduce_latency * parallel,
        allreduce_bandwidth: believed.allreduce_bandwidth / parallel,
        parallel_admission: believed.parallel_admission * parallel,
        transfer_latency: believed.transfer_latency * hand_over,
        transfer_bandwidth: believed.transfer_bandwidth / hand_over,
        post_latency: believed.post_latency * hand_over,
        descriptor_post: believed.descriptor_post * hand_over,
        descriptor_transfer: believed.descriptor_transfer * hand_over,
        ..*believed
    }
}

/// All of it slower or faster.
fn drifted(gpu: &Gpu, factor: f64) -> Gpu {
    Gpu {
        peak_flops: gpu.peak_flops * factor,
        memory_bandwidth: gpu.memory_bandwidth * factor,
        step_overhead: gpu.step_overhead / factor,
        ..*gpu
    }
}

fn one(work: &Work, model: &'static Model, believed: &Gpu, entrants: &[Entrant], field: &Field, seed: u64) -> End {
    let mut dice = Dice::seeded(seed);
    let mut factor = || 0.3 * 10f64.powf(dice.uniform());
    let (parallel, hand_over) = (factor(), factor());
    let gpu = true_gpu(believed, parallel, hand_over);
    let demand = demand(work, 600, 1000 + seed);
    let predictor = Predictor { model, gpu: &gpu, demand: &demand, slo: work.slo, target: Target::default() };
    let truth: Vec<f64> =
        Field::of(entrants, Some(&predictor)).carried.iter().map(|c| c.map_or(0.0, |c| c.rate)).collect();
    let best = truth.iter().copied().fold(0.0, f64::max);
    let raced: Vec<usize> = field.raced().collect();
    let exhaustive = truth.len() as f64 * (LAUNCH + RATES * (POINT + BETWEEN));
    let (mean, covariance) = field.prior(entrants);
    let race = Race {
        prior: Belief::new(mean, covariance),
        kinds: raced.iter().map(|i| entrants[*i].candidate.layout.kind()).collect(),
        target: 0.9,
        budget: Duration::from_secs_f64(exhaustive * SHARE),
        launch_takes: Duration::from_secs_f64(LAUNCH),
        point_takes: Duration::from_secs_f64(POINT + BETWEEN),
    };
    let (named, spent, launches) = run(&race, &raced, entrants, work, model, &gpu, &mut dice);
    let rate = |i: usize| field.carried[i].map_or(0.0, |c| c.rate);
    let predicted = (0..entrants.len()).max_by(|a, b| rate(*a).total_cmp(&rate(*b))).expect("candidates");
    End {
        named: truth[named] / best,
        predicted: truth[predicted] / best,
        share: spent / exhaustive,
        launches: f64::from(launches),
    }
}

/// The winner, the seconds it took, and the launches.
fn run(
    race: &Race,
    raced: &[usize],
    entrants: &[Entrant],
    work: &Work,
    model: &'static Model,
    gpu: &Gpu,
    dice: &mut Dice,
) -> (usize, f64, u32) {
    let mut points: Vec<Vec<Seen>> = vec![Vec::new(); raced.len()];
    let mut launches = vec![0u32; raced.len()];
    let (mut up, mut spent): (Option<(usize, VirtualFleet)>, f64) = (None, 0.0);
    loop {
        let racer = |arm: usize| Racer {
            points: &points[arm],
            launches: launches[arm],
            is_up: up.as_ref().is_some_and(|(on, _)| *on == arm),
            is_out: false,
            launch_secs: None,
        };
        let racers: Vec<Racer<'_>> = (0..raced.len()).map(racer).collect();
        match race.next(&racers, Duration::from_secs_f64(spent)) {
            None => {
                let named = raced[race.standing(&racers).order[0]];
                return (named, spent, launches.iter().sum());
            }
            Some(Move::Launch(arm)) => {
                launches[arm] += 1;
                spent += LAUNCH;
                let gpu = drifted(gpu, 1.0 + DRIFT * dice.normal());
                up = Some((arm, VirtualFleet::new(model, &gpu, entrants[raced[arm]].arm())));
            }
            Some(Move::Measure { arm, key }) => {
                let (_, fleet) = up.as_mut().expect("launched");
                let rate = key.rate.per_second();
                points[arm].push(measured(fleet, work, rate, key.attempt, launches[arm]));
                spent += POINT + BETWEEN;
            }
        }
    }
}

/// A point as the session would tell it. All deployments answer the same arrivals at a rate and attempt.
fn measured(fleet: &mut VirtualFleet, work: &Work, rate: f64, attempt: u32, launch: u32) -> Seen {
    let seed = (rate * 1000.0) as u64 * 31 + u64::from(attempt);
    let requests = (rate * POINT).round().max(20.0) as u32;
    let poisson = Poisson { input_tokens: work.input, output_tokens: work.output, rate, requests, seed };
    let arrivals = poisson.arrivals();
    let served = fleet.serve(&arrivals);
    let due: Vec<f64> = arrivals.iter().map(|a| a.at.as_secs_f64()).collect();
    let ttft = served.iter().map(|l| l.ttft_ms / 1e3).collect::<Vec<_>>();
    let tpot = served.iter().map(|l| l.tpot_ms / 1e3).collect();
    let input = point(rate, &due, &ttft, tpot);
    let question = Question { slo: work.slo, ..Question::default() };
    let report = PointReport::new(&input, ArmKind::Unknown, &question).expect("requests");
    let offered = report.realised_rate.unwrap_or(rate);
    Seen {
        rate,
        offered,
        attempt,
        launch,
        met: report.attainment.both.expect("counted") / 100.0,
        weight: report.effective_requests,
    }
}
