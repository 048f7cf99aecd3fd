//! Do the 95 % intervals keep their promise? Simulated sweeps whose truth is known, judged by the same code as real ones.
//!
//! `cargo run --release --example interval_coverage [RUNS]` (default 300; about a minute). For every scene and number of
//! requests a point: how often the interval of the crossing covered the truth, how often two equal arms were told apart
//! (at most 5 % would be honest), how often an arm that carries 1.3 times the rate was found, and how often the interval
//! of that ratio covered it. Ends with how long an analysis takes.

#[path = "../src/analyse/tests/queue.rs"]
#[allow(dead_code)]
mod queue;

use queue::{Dice, SCENES, SWEEP, Scene, serve, trace};
use std::time::Instant;
use topobench::analyse::{ArmInput, ArmKind, Comparison, Identity, PointInput, Question, Samples, VllmColumns};
use topobench::plan::slo::{Slo, Target};
use topobench::units::{RequestRate, Tpot, Ttft};

fn main() {
    let runs = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(300);
    println!("| scene | requests | crossing covered | equal arms told apart | 1.3x found | ratio covered |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for scene in &SCENES {
        for requests in [100, 500, 1000, 2000] {
            println!("| {} | {requests} | {} |", scene.name, study(scene, requests, runs));
        }
    }
    timings();
}

fn point(rate: f64, due: &[f64], ttfts: &[f64], tpots: Vec<f64>) -> PointInput {
    let tpots: Vec<Option<f64>> = tpots.into_iter().map(Some).collect();
    let columns = VllmColumns {
        ttfts,
        latencies: None,
        tpots: Some(&tpots),
        itls: None,
        input_lens: None,
        output_lens: None,
        errors: None,
        start_times: Some(due),
    };
    let samples = Samples::from_vllm(&columns).expect("columns are as long as each other");
    PointInput { rate: RequestRate::new(rate).expect("a rate"), attempt: 1, facts: None, duration_secs: None, samples }
}

fn arm(points: Vec<PointInput>) -> ArmInput {
    ArmInput {
        label: "arm".to_string(),
        size: None,
        dir: String::new(),
        kind: ArmKind::Unknown,
        gpus: None,
        topology: serde_json::Value::Null,
        identity: Identity { trace_hash: Some("one".to_string()), ..Identity::default() },
        points,
    }
}

/// The plain arm, its twin, and one that carries 1.3 times the rate, on one trace.
fn sweep(scene: &Scene, requests: usize, rates: &[f64], seed: u64) -> Vec<ArmInput> {
    let mut dice = Dice::seeded(seed);
    let mut arms = vec![Vec::new(); 3];
    for &rate in rates {
        let load = trace(&mut dice, rate, requests, scene.spread);
        for (arm, speed) in arms.iter_mut().zip([1.0, 1.0, scene.speed_for_1_3]) {
            let (ttfts, tpots) = serve(&mut dice, &load, speed);
            arm.push(point(rate, &load.due, &ttfts, tpots));
        }
    }
    arms.into_iter().map(arm).collect()
}

fn question(scene: &Scene) -> Question {
    let slo = Slo { ttft: Ttft::from_secs(scene.ttft), tpot: Tpot::from_secs(scene.tpot), e2el: None };
    Question { slo, target: Target::default(), ..Question::default() }
}

fn study(scene: &Scene, requests: usize, runs: u64) -> String {
    let rates: Vec<f64> = SWEEP.iter().map(|multiple| multiple * scene.crossing).collect();
    let (plain, fast) = truths(scene, requests, &rates);
    let (mut covered, mut apart, mut found, mut ratio_covered) = (0, 0, 0, 0);
    for run in 1..=runs {
        let comparison = Comparison::new(&sweep(scene, requests, &rates, run), &question(scene));
        let (twin, faster) = (&comparison.ratios[0].max_rate, &comparison.ratios[1].max_rate);
        covered += u64::from(comparison.arms[0].max_rate.ci95.contains(plain));
        apart += u64::from(twin.claims());
        found += u64::from(faster.ci95.lo.is_some_and(|lo| lo > 1.0));
        ratio_covered += u64::from(faster.ci95.contains(fast / plain));
    }
    let percent = |n: u64| format!("{:.1} %", 100.0 * n as f64 / runs as f64);
    [covered, apart, found, ratio_covered].map(percent).join(" | ")
}

/// Crossings of the plain and the faster arm, from one very long set of runs of the same length.
fn truths(scene: &Scene, requests: usize, rates: &[f64]) -> (f64, f64) {
    let repeats = 400_000 / requests;
    let mut arms = [Vec::new(), Vec::new()];
    let mut dice = Dice::seeded(0xFEED);
    for &rate in rates {
        for attempt in 0..repeats {
            let load = trace(&mut dice, rate, requests, scene.spread);
            for (arm, speed) in arms.iter_mut().zip([1.0, scene.speed_for_1_3]) {
                let (ttfts, tpots) = serve(&mut dice, &load, speed);
                arm.push(PointInput { attempt: attempt as u32 + 1, ..point(rate, &load.due, &ttfts, tpots) });
            }
        }
    }
    let slo = question(scene).slo;
    let crossing = |points: &[PointInput]| {
        let attained = |rate: f64| {
            let here = points.iter().filter(|p| p.rate.per_second() == rate);
            let each = here.filter_map(|p| topobench::analyse::PointAttainment::of(&p.samples, &slo));
            each.reduce(topobench::analyse::PointAttainment::pooled).map_or(0.0, |a| a.both.percent())
        };
        let curve: Vec<(f64, f64)> = rates.iter().map(|rate| (*rate, attained(*rate))).collect();
        topobench::analyse::crossing::crossing(&curve, 90.0)
            .and_then(|c| c.first())
            .map_or(f64::NAN, |r| r.per_second())
    };
    (crossing(&arms[0]), crossing(&arms[1]))
}

fn timings() {
    let scene = &SCENES[0];
    let rates: Vec<f64> = (1..=12).map(|i| f64::from(i) * 0.15 * scene.crossing).collect();
    let mut arms = sweep(scene, 1000, &rates, 1);
    arms.remove(1);
    let start = Instant::now();
    let comparison = Comparison::new(&arms, &question(scene));
    println!("\ncompare 2 arms x 12 points x 1000 requests: {:.0?} ({} resamples)", start.elapsed(), {
        assert_eq!(comparison.arms.len(), 2);
        topobench::analyse::confidence::ROUNDS
    });
    let large = sweep(scene, 1_000_000 / 12, &rates, 1);
    let start = Instant::now();
    let slo = question(scene).slo;
    let mut curve = Vec::new();
    for p in &large[0].points {
        let attained = topobench::analyse::PointAttainment::of(&p.samples, &slo).expect("requests");
        curve.push((p.rate.per_second(), attained.both.percent()));
        let exact =
            topobench::analyse::scale::ScaleCurve::new([&p.samples], &slo, topobench::analyse::scale::Limits::Both);
        assert!(exact.at_target(Target::default()).is_some());
    }
    let crossing = topobench::analyse::crossing::crossing(&curve, 90.0);
    println!(
        "a million requests over 12 rates: attainment, exact scale curves, crossing {:.1?}: {crossing:?}",
        start.elapsed()
    );
    let start = Instant::now();
    let comparison = Comparison::new(&large[..2], &question(scene));
    println!("compare 2 arms x a million requests: {:.1?} ({} arms)", start.elapsed(), comparison.arms.len());
}
