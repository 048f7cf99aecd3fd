//! Do the 95 % intervals keep their promise? Simulated sweeps whose truth is known, judged by the same code as real ones.
//!
//! `cargo bench --bench intervals [-- RUNS]` (default 300; some minutes on all cores). For every scene and number of
//! requests a point: how often the interval of the crossing covered the truth, how often two equal arms were told apart
//! (at most 5 % would be honest), how often an arm that carries 1.3 times the rate was found, and how often the interval of
//! that ratio covered it. The queue is FIFO prefill with decoding that every prefill slows, so that misses come in clusters.

mod sweeps;

use kit::queue::{Dice, SCENES, SWEEP, Scene, serve, trace};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use sweeps::{point, question, sweep};
use topobench::analyse::{Comparison, PointInput};

fn main() {
    let runs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(300);
    println!("{runs} runs each; sweeps of {} rates; intervals of 95 %\n", SWEEP.len());
    println!("| scene | requests | crossing covered | equal arms told apart | 1.3x found | ratio covered |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let studies: Vec<(&Scene, usize)> =
        SCENES.iter().flat_map(|scene| [100, 500, 1000, 2000].map(|requests| (scene, requests))).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(studies.len());
    let rows: Vec<OnceLock<String>> = studies.iter().map(|_| OnceLock::new()).collect();
    // The longest first, so that the workers finish at about the same time.
    let next = AtomicUsize::new(0);
    let mut order: Vec<usize> = (0..studies.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(studies[*i].1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (scene, requests) = studies[i];
                    let row = format!("| {} | {requests} | {} |", scene.name, study(scene, requests, runs));
                    rows[i].set(row).expect("each row once");
                }
            });
        }
    });
    rows.iter().filter_map(OnceLock::get).for_each(|row| println!("{row}"));
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
