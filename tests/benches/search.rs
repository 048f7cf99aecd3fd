//! Does a search find crossings and ratios, how surely, and for how much load? In virtual time, on queues whose truth is
//! known, beside a grid of five rates with the same load time, and beside doubling and bisection on point estimates.
//!
//! `cargo bench --bench search [-- SEEDS]` (default 200; some minutes on two cores). A unit of work takes 50 ms, so that the
//! scenes carry 9 to 15 requests a second, as an 8B model on two GPUs does. docs/METHODOLOGY.md has the tables.

#[allow(dead_code, reason = "intervals uses the rest")]
mod mg1;
mod sweeps;

use kit::queue::Dice;
use mg1::{Scene, scenes};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sweeps::{arm, judged, point};
use topobench::analyse::{ArmInput, PointAttainment, PointInput, Question};
use topobench::outcome::{EarlyStop, PointFacts, PointKey, PointStatus};
use topobench::plan::load::Extent;
use topobench::plan::slo::Slo;
use topobench::plan::strategy::{Order, SearchPlan};
use topobench::strategy::{ArmProgress, PointOrder, Search, SessionProgress, Step};
use topobench::units::{RequestRate, Tpot, Ttft};

/// Seconds of a unit of work.
const UNIT: f64 = 0.05;
/// Load seconds of both arms together.
const BUDGETS: [f64; 4] = [240.0, 480.0, 960.0, 1920.0];
/// What a point takes beside its load, and when a request's miss is known.
const TAIL: f64 = 1.0;
const COUNTED_WITHIN: f64 = 1.5;
/// A grid's rates, as parts of a guess of the crossing that is off by up to this factor either way.
const GRID: [f64; 5] = [0.5, 0.75, 1.0, 1.25, 1.5];
const GUESS: f64 = 2.0;

fn main() {
    let seeds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(200);
    let all = scenes();
    let chosen = [all[0], all[3], all[4]];
    let rows: Vec<(Scene, f64, How)> = chosen
        .iter()
        .flat_map(|scene| BUDGETS.map(|budget| (*scene, budget)))
        .flat_map(|(scene, budget)| [How::Search, How::Grid, How::Bisection].map(|how| (scene, budget, how)))
        .collect();
    println!("{seeds} seeds a row; intervals of 95 %; percent\n");
    println!(
        "| scene | budget s | how | load s | crossing off by | crossing covered | ratio off by | ratio covered | equal claimed | 1.15x found | 1.3x found |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    print(&rows, |(scene, budget, how)| row(scene, *budget, *how, seeds));
}

/// Rows in their order, worked on side by side.
fn print<T: Sync>(rows: &[T], work: impl Fn(&T) -> String + Sync) {
    let done: Vec<OnceLock<String>> = rows.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((row, slot)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    rows.get(i).zip(done.get(i))
                } {
                    let text = work(row);
                    eprintln!("{text}");
                    slot.set(text).expect("each row once");
                }
            });
        }
    });
    done.iter().filter_map(OnceLock::get).for_each(|row| println!("{row}"));
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Search,
    Grid,
    Bisection,
}

fn row(scene: &Scene, budget: f64, how: How, seeds: u64) -> String {
    let truth = scene.truth(600) / UNIT;
    let (mut load, mut covered, mut ratio_covered, mut claims) = (0.0, 0, 0, [0u32; 3]);
    let (mut errors, mut ratio_errors) = (Vec::new(), Vec::new());
    let gains = [(1.0, 1.0), (1.15, scene.speeds[0]), (1.3, scene.speeds[1])];
    for seed in 1..=seeds {
        for (i, (gain, speed)) in gains.into_iter().enumerate() {
            let mut world = World::new(scene, [1.0, speed], seed * 10 + i as u64);
            match how {
                How::Search => world.search(budget),
                How::Grid => world.grid(budget, truth),
                How::Bisection => world.bisect(budget),
            }
            load += world.spent;
            let comparison = judged(&world.inputs());
            let better = comparison.ratios[0].claim.better;
            claims[i] += u32::from(if i == 0 { better.is_some() } else { better == Some(1) });
            let fitted = comparison.arms[0].fitted;
            covered += u32::from(fitted.ci95.contains(truth));
            errors.extend(fitted.value.map(|v| (v / truth).ln().abs()));
            let ratio = comparison.ratios[0].fitted;
            ratio_covered += u32::from(ratio.ci95.contains(gain));
            ratio_errors.extend(ratio.value.map(|v| (v / gain).ln().abs()));
        }
    }
    let runs = seeds as f64 * 3.0;
    let percent = |n: u32, of: f64| 100.0 * f64::from(n) / of;
    format!(
        "| {scene} | {budget:.0} | {how:?} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
        load / runs,
        100.0 * median(&mut errors),
        percent(covered, runs),
        100.0 * median(&mut ratio_errors),
        percent(ratio_covered, runs),
        percent(claims[0], seeds as f64),
        percent(claims[1], seeds as f64),
        percent(claims[2], seeds as f64),
    )
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Two arms that can be measured, in virtual time.
struct World<'a> {
    scene: &'a Scene,
    speeds: [f64; 2],
    seed: u64,
    arms: [ArmInput; 2],
    facts: [Vec<PointFacts>; 2],
    up: bool,
    spent: f64,
}

fn question() -> Question {
    let slo = Slo { ttft: Ttft::from_secs(1.0), tpot: Tpot::from_secs(1.0), e2el: None };
    Question { slo, ..Question::default() }
}

impl<'a> World<'a> {
    fn new(scene: &'a Scene, speeds: [f64; 2], seed: u64) -> World<'a> {
        let empty = || arm(Vec::new());
        World { scene, speeds, seed, arms: [empty(), empty()], facts: Default::default(), up: false, spent: 0.0 }
    }

    fn inputs(&self) -> [ArmInput; 2] {
        self.arms.clone()
    }

    fn search(&mut self, budget: f64) {
        let goal = SearchPlan {
            // Never reached: what the whole budget tells.
            precision: 1e-3,
            budget: Duration::from_secs_f64(budget),
            first_rate: rate(1.0),
            pilot: Duration::from_secs(6),
        };
        let extent = Extent::Duration(Duration::from_secs(60));
        let labels = ["a", "b"].map(String::from).to_vec();
        let search = Search::new(labels, (Order::Interleaved, 1), goal, extent, question());
        while let Some(step) = self.next(&search) {
            match step {
                Step::Launch(_) => self.up = true,
                Step::Measure { arm, point } => self.measure(arm, &point),
            }
        }
    }

    fn next(&self, search: &Search) -> Option<Step> {
        let arms = [0, 1].map(|i| ArmProgress {
            points: &self.facts[i],
            launch: self.up.then_some(1),
            judged: &self.arms[i],
            launch_secs: Some(0.0),
            is_out: false,
        });
        search.next(&SessionProgress { arms: &arms, engine_secs: self.spent })
    }

    /// Five rates on both arms, each point a tenth of the budget.
    fn grid(&mut self, budget: f64, truth: f64) {
        let guess = truth * GUESS.powf(2.0 * Dice::seeded(self.seed ^ 0x5eed).uniform() - 1.0);
        let secs = budget / (2.0 * GRID.len() as f64) - TAIL;
        for multiple in GRID {
            for arm in [0, 1] {
                self.whole_point(arm, guess * multiple, secs);
            }
        }
    }

    /// Doubling until the target is missed, then halving the bracket, each arm for half of the budget in points of 60 s.
    fn bisect(&mut self, budget: f64) {
        for arm in [0, 1] {
            let (mut met, mut missed) = (None, None::<f64>);
            let end = budget / 2.0 * (arm + 1) as f64;
            let mut at = 1.0;
            while self.spent + 60.0 <= end {
                self.whole_point(arm, at, 60.0 - TAIL);
                let last = self.arms[arm].points.last().expect("just measured");
                let attained = PointAttainment::of(&last.samples, &question().slo).map_or(0.0, |a| a.both.fraction());
                *(if attained >= 0.9 { &mut met } else { &mut missed }) = Some(at);
                at = match (met, missed) {
                    (Some(met), Some(missed)) => f64::midpoint(met, missed),
                    (Some(met), None) => 2.0 * met,
                    _ => at / 2.0,
                };
            }
        }
    }

    fn whole_point(&mut self, arm: usize, per_second: f64, secs: f64) {
        let rate = rate((per_second * 1000.0).round() / 1000.0);
        let requests = (rate.per_second() * secs).max(5.0).round() as u32;
        let attempt = 1 + self.facts[arm].iter().filter(|f| f.key.rate == rate).count() as u32;
        let key = PointKey { rate, attempt };
        self.measure(arm, &PointOrder { key, extent: Extent::Requests(requests), pilot: false, may_stop: false });
    }

    fn measure(&mut self, arm: usize, order: &PointOrder) {
        let Extent::Requests(n) = order.extent else { unreachable!("points count requests") };
        let PointKey { rate, attempt } = order.key;
        // Both arms get the same trace at the same key.
        let mut dice = Dice::seeded(self.seed ^ rate.per_second().to_bits() ^ (u64::from(attempt) << 20));
        let load = self.scene.load(&mut dice, rate.per_second() * UNIT, n as usize);
        let mut own = Dice::seeded(dice.0 ^ (arm as u64 + 1));
        let times = self.scene.serve(&mut own, &load, self.speeds[arm], true);
        let due: Vec<f64> = load.due.iter().map(|due| due * UNIT).collect();
        let limit = self.scene.limit * UNIT;
        let stopped =
            if order.may_stop { early_stop(&due, &times, limit, if order.pilot { 0.2 } else { 0.6 }) } else { None };
        let secs = stopped.map_or_else(|| due.last().copied().unwrap_or(0.0), |stop| stop.after_secs);
        self.spent += secs + TAIL;
        let facts = facts(order, n, secs, stopped);
        let measured = point(rate.per_second(), &due, &times, vec![0.0; n as usize]);
        self.arms[arm].add(PointInput { attempt, facts: Some(facts.clone()), ..measured });
        self.facts[arm].push(facts);
    }
}

/// When so large a share of the whole point is certain to miss as ends it.
fn early_stop(due: &[f64], times: &[f64], limit: f64, share: f64) -> Option<EarlyStop> {
    let planned = due.len();
    let enough = (share * planned as f64).ceil() as usize;
    let mut misses: Vec<f64> = due.iter().zip(times).filter(|(_, t)| **t > 1.0).map(|(due, _)| due + limit).collect();
    misses.sort_by(f64::total_cmp);
    let after_secs = misses.get(enough - 1)? + COUNTED_WITHIN;
    let stop = EarlyStop { after_secs, planned: planned as u32, missed: enough as u32 };
    (after_secs < *due.last()?).then_some(stop)
}

fn facts(order: &PointOrder, offered: u32, secs: f64, stopped: Option<EarlyStop>) -> PointFacts {
    PointFacts {
        key: order.key,
        launch: 1,
        host: None,
        status: PointStatus::Measured,
        why: Vec::new(),
        offered,
        repeated_prompts: 0,
        repeated_tokens: None,
        duration_secs: secs,
        started_at: String::new(),
        engine_restarts: 0,
        ranks: Vec::new(),
        engines: None,
        gpus: None,
        hand_over: None,
        profiled: false,
        pilot: order.pilot,
        stopped,
    }
}

fn rate(per_second: f64) -> RequestRate {
    RequestRate::new(per_second).expect("a rate")
}
