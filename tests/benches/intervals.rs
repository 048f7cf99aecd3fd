//! Do the 95 % intervals keep their promise? Simulated sweeps whose truth is known, judged by the same code as real ones.
//!
//! `cargo bench --bench intervals [-- SWEEPS [REQUESTS,..]]` (default 600 sweeps a row of 300, 1000 and 2000 requests a
//! point; some hours on two cores, minutes on many). For every scene: how often the interval of the crossing covers the
//! truth, its mean width over the crossing (an open end counts as 2), how many sweeps have no crossing; how often a claim
//! is made of equal arms, and how often one that carries 1.15 or 1.3 times the rate is found, by any claim. Arms answer the
//! same arrivals,
//! with the same work or each with its own. Then whether the verdict's advice holds, and the same with launches that
//! differ by 5 %, in fewer sweeps.
//! docs/METHODOLOGY.md has the tables and what was tried.

mod mg1;
mod sweeps;

use kit::queue::Dice;
use mg1::{SWEEP, Scene, scenes};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use sweeps::{arm, judged, point};
use topobench::analyse::{Advice, ArmInput, Comparison, PointInput};

/// Of a point, where launches are compared.
const LAUNCH_REQUESTS: usize = 1000;

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let sweeps: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(600);
    let asked = words.next().unwrap_or_else(|| "300,1000,2000".to_string());
    let requests: Vec<usize> = asked.split(',').filter_map(|n| n.parse().ok()).collect();
    println!("{sweeps} sweeps of {} rates a row; intervals of 95 %; percent\n", SWEEP.len());
    let scenes = scenes();
    println!("| scene | requests | covered | width | refused | A/A same work | A/A own | 1.15x same | 1.3x own |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let rows = scenes.iter().flat_map(|scene| requests.iter().map(move |n| (scene, *n)));
    print(rows.collect(), |(scene, n)| {
        let truth = scene.truth(*n);
        tally(sweeps, |sweep| one(scene, *n, truth, sweep)).row(&format!("{scene} | {n}"))
    });
    if let Some(first) = requests.first() {
        follow(&scenes, *first, sweeps.div_ceil(6));
    }
    if !requests.contains(&LAUNCH_REQUESTS) {
        return;
    }
    let sweeps = sweeps.div_ceil(3);
    println!("\n{sweeps} sweeps a row, launches that differ by 5 %, {LAUNCH_REQUESTS} requests a point and launch\n");
    println!("| scene | launches | A/A | 1.15x | 1.3x |\n| --- | --- | --- | --- | --- |");
    let rows = [&scenes[1], &scenes[4]].into_iter().flat_map(|scene| [1, 2, 4].map(|launches| (scene, launches)));
    print(rows.collect(), |(scene, launches)| {
        tally(sweeps, |sweep| drifting(scene, *launches, sweep)).row(&format!("{scene} | {launches}"))
    });
}

/// Rows in their order.
fn print<T>(rows: Vec<T>, work: impl Fn(&T) -> String) {
    rows.iter().for_each(|row| println!("{}", work(row)));
}

/// Sums over sweeps, column by column.
struct Tally {
    columns: Vec<(f64, bool)>,
    sweeps: u64,
}

impl Tally {
    fn row(&self, name: &str) -> String {
        let cell = |&(sum, share): &(f64, bool)| {
            let mean = sum / self.sweeps as f64;
            if share { format!("{:.1}", 100.0 * mean) } else { format!("{mean:.3}") }
        };
        format!("| {name} | {} |", self.columns.iter().map(cell).collect::<Vec<_>>().join(" | "))
    }
}

#[derive(Clone, Copy)]
enum Seen {
    Counted(bool),
    Measured(f64),
}

/// Sweeps are worked on side by side.
fn tally(sweeps: u64, one: impl Fn(u64) -> Vec<Seen> + Sync) -> Tally {
    let (next, all) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let sweep = next.fetch_add(1, Ordering::Relaxed);
                    if sweep > sweeps {
                        break;
                    }
                    let seen = one(sweep);
                    all.lock().expect("no sweep panics").push(seen);
                }
            });
        }
    });
    let all = all.into_inner().expect("no sweep panics");
    let mut columns: Vec<(f64, bool)> = Vec::new();
    for sweep in all {
        columns.resize(sweep.len(), (0.0, false));
        for (column, seen) in columns.iter_mut().zip(sweep) {
            let (value, share) = match seen {
                Seen::Counted(hit) => (f64::from(u8::from(hit)), true),
                Seen::Measured(value) => (value, false),
            };
            *column = (column.0 + value, share);
        }
    }
    Tally { columns, sweeps }
}

/// One sweep of a plain arm, its twins, and faster ones.
fn one(scene: &Scene, n: usize, truth: f64, seed: u64) -> Vec<Seen> {
    let mut dice = Dice::seeded(seed);
    let kinds = [(1.0, true), (1.0, true), (1.0, false), (scene.speeds[0], true), (scene.speeds[1], false)];
    let mut points: Vec<Vec<PointInput>> = vec![Vec::new(); kinds.len()];
    for multiple in SWEEP {
        let load = scene.load(&mut dice, multiple * scene.load, n);
        for (arm, (speed, shared)) in points.iter_mut().zip(kinds) {
            let times = scene.serve(&mut dice, &load, speed, shared);
            arm.push(point(multiple * scene.load, &load.due, &times, vec![0.0; n]));
        }
    }
    let mut arms: Vec<ArmInput> = points.into_iter().map(arm).collect();
    let others = arms.split_off(1);
    let each: Vec<Comparison> = others.into_iter().map(|other| judged(&[arms[0].clone(), other])).collect();
    let own = &each[0].arms[0];
    let ci95 = own.max_rate.ci95;
    let width = ci95.lo.zip(ci95.hi).map_or(2.0, |(lo, hi)| (hi - lo) / truth);
    let mut seen =
        vec![Seen::Counted(ci95.contains(truth)), Seen::Measured(width), Seen::Counted(own.fitted.value.is_none())];
    seen.extend(
        each.iter().enumerate().map(|(i, c)| Seen::Counted(if i < 2 { claims(c, None) } else { claims(c, Some(1)) })),
    );
    seen
}

/// Whether anything is claimed; for an arm, if one is named.
fn claims(comparison: &Comparison, better: Option<usize>) -> bool {
    let found = comparison.ratios[0].claim.better;
    found.is_some() && (better.is_none() || found == better)
}

/// Most requests a point that advice is followed with.
const PATIENCE: f64 = 8000.0;

/// Whether advice holds: sweeps without a claim are measured again with as many requests as the verdict advises.
fn follow(scenes: &[Scene], n: usize, sweeps: u64) {
    println!(
        "\n{sweeps} sweeps a row with {n} requests a point; of those without a claim: how many get advice, and of the"
    );
    println!("ones that follow it (up to {PATIENCE} requests), how many then find the difference\n");
    println!("| scene | arms | advised | claimed then |\n| --- | --- | --- | --- |");
    for scene in scenes {
        let [some, more] = scene.speeds;
        for (name, speed, shared) in [
            ("equal, same work", 1.0, true),
            ("equal, own work", 1.0, false),
            ("1.15x same", some, true),
            ("1.3x own", more, false),
        ] {
            let seen = tally(sweeps, |sweep| followed(scene, n, (speed, shared), sweep));
            let [(unclaimed, _), (advised, _), (tried, _), (found, _)] = seen.columns[..] else { return };
            let share = |part: f64, of: f64| if of > 0.0 { format!("{part:.0} of {of:.0}") } else { "-".to_string() };
            let then = if speed > 1.0 { share(found, tried) } else { "-".to_string() };
            println!("| {scene} | {name} | {} | {then} |", share(advised, unclaimed));
        }
    }
}

fn followed(scene: &Scene, n: usize, (speed, shared): (f64, bool), seed: u64) -> Vec<Seen> {
    let measured = |n: usize, seed: u64| {
        let mut dice = Dice::seeded(seed);
        let mut points: [Vec<PointInput>; 2] = [Vec::new(), Vec::new()];
        for multiple in SWEEP {
            let load = scene.load(&mut dice, multiple * scene.load, n);
            for (arm, (speed, shared)) in points.iter_mut().zip([(1.0, true), (speed, shared)]) {
                let times = scene.serve(&mut dice, &load, speed, shared);
                arm.push(point(multiple * scene.load, &load.due, &times, vec![0.0; n]));
            }
        }
        judged(&points.map(arm))
    };
    let first = measured(n, seed);
    let ratio = &first.ratios[0];
    let unclaimed = ratio.claim.better.is_none();
    let times = match ratio.advice(&ratio.max_rate).filter(|_| unclaimed) {
        Some(Advice::Requests(times)) => Some(times),
        _ => None,
    };
    let wanted = times.map(|times| times * n as f64).filter(|wanted| speed > 1.0 && *wanted <= PATIENCE);
    let found = wanted.is_some_and(|wanted| claims(&measured(wanted as usize, seed + 1_000_000), Some(1)));
    [unclaimed, times.is_some(), wanted.is_some(), found].map(Seen::Counted).to_vec()
}

/// Several launches of a plain arm, its twin and faster ones on the same traces, each launch with a speed of its own.
fn drifting(scene: &Scene, launches: u32, seed: u64) -> Vec<Seen> {
    let mut dice = Dice::seeded(seed);
    let speeds = [1.0, 1.0, scene.speeds[0], scene.speeds[1]];
    let mut points: Vec<Vec<PointInput>> = vec![Vec::new(); speeds.len()];
    for launch in 1..=launches {
        // A launch carries so much more or less; between 1 and 1.3 times the rate, speed follows it almost in proportion.
        let slope = (scene.speeds[1] - 1.0) / 0.3;
        let drift: Vec<f64> = speeds.iter().map(|_| 1.0 + slope * 0.05 * dice.normal()).collect();
        for multiple in SWEEP {
            let load = scene.load(&mut dice, multiple * scene.load, LAUNCH_REQUESTS);
            for ((arm, speed), drift) in points.iter_mut().zip(speeds).zip(&drift) {
                let times = scene.serve(&mut dice, &load, speed * drift, true);
                let measured = point(multiple * scene.load, &load.due, &times, vec![0.0; LAUNCH_REQUESTS]);
                arm.push(PointInput { attempt: launch, launch, ..measured });
            }
        }
    }
    let mut arms: Vec<ArmInput> = points.into_iter().map(arm).collect();
    let others = arms.split_off(1);
    let each = others.into_iter().map(|other| judged(&[arms[0].clone(), other]));
    each.enumerate().map(|(i, c)| Seen::Counted(if i == 0 { claims(&c, None) } else { claims(&c, Some(1)) })).collect()
}
