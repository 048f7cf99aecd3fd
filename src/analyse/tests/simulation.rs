//! Whether the intervals keep their promise, on queues whose truth is known. A small part of
//! `tests/benches/intervals.rs`, sized for a debug build; the bounds leave room for that few runs, the seeds are fixed.

use crate::analyse::confidence::{ArmSweep, Blocks, RateSeries, Resampling};
use crate::analyse::crossing::crossing;
use crate::analyse::replicates::Replicates;
use crate::analyse::samples::{Samples, VllmColumns};
use crate::analyse::series::Attempt;
use crate::plan::slo::{Slo, Target};
use crate::units::{Tpot, Ttft};
use kit::queue::{Dice, SCENES, SWEEP, Scene, serve, trace};
use std::rc::Rc;

const REQUESTS: usize = 500;
const RUNS: u64 = 40;
const HOW: Resampling = Resampling { rounds: 200, paired: true, shared_gaps: false };

/// The crossing of each arm in every resample; both draw alike, in blocks that they have in common.
fn crossings<const N: usize>(arms: [&[RateSeries]; N], how: Resampling) -> [std::rc::Rc<Replicates>; N] {
    let blocks = Blocks::common(&arms, how);
    let stream = |i: usize| if how.paired { 0 } else { i as u64 };
    std::array::from_fn(|i| ArmSweep::new((arms[i], &[]), &blocks, stream(i), Target::default()).drawn(None))
}

/// Three arms on one trace: the plain one, its twin, and one that carries 1.3 times the rate.
fn sweep(scene: &Scene, seed: u64) -> [Vec<RateSeries>; 3] {
    let mut dice = Dice::seeded(seed);
    let slo = Slo { ttft: Ttft::from_secs(scene.ttft), tpot: Tpot::from_secs(scene.tpot), e2el: None };
    let mut arms: [Vec<RateSeries>; 3] = std::array::from_fn(|_| Vec::new());
    for multiple in SWEEP {
        let rate = multiple * scene.crossing;
        let load = trace(&mut dice, rate, REQUESTS, scene.spread);
        for (arm, speed) in arms.iter_mut().zip([1.0, 1.0, scene.speed_for_1_3]) {
            let (ttfts, tpots) = serve(&mut dice, &load, speed);
            let tpots: Vec<Option<f64>> = tpots.into_iter().map(Some).collect();
            let columns = VllmColumns {
                ttfts: &ttfts,
                tpots: Some(&tpots),
                start_times: Some(&load.due),
                ..VllmColumns::default()
            };
            let samples = Samples::from_vllm(&columns).expect("columns fit");
            arm.push(RateSeries { rate, attempts: vec![Rc::new(Attempt::new(1, &samples, &slo, Target::default()))] });
        }
    }
    arms
}

/// Where long runs would cross: the same rule on attainment averaged over many sweeps.
fn truth(sweeps: &[[Vec<RateSeries>; 3]]) -> f64 {
    let first = &sweeps[0][0];
    let mean = |i: usize| {
        let both = sweeps.iter().flat_map(|s| [&s[0][i], &s[1][i]]);
        100.0 * both.map(|r| r.attempts[0].attained()).sum::<f64>() / (2 * sweeps.len()) as f64
    };
    let curve: Vec<(f64, f64)> = first.iter().enumerate().map(|(i, r)| (r.rate, mean(i))).collect();
    crossing(&curve, 90.0).and_then(|c| c.first()).expect("crossed").per_second()
}

struct Tally {
    covered: u32,
    false_claims: u32,
    found: u32,
}

fn study(scene: &Scene) -> Tally {
    let sweeps: Vec<_> = (0..RUNS).map(|seed| sweep(scene, seed + 1)).collect();
    let truth = truth(&sweeps);
    let mut tally = Tally { covered: 0, false_claims: 0, found: 0 };
    for arms in &sweeps {
        let drawn = crossings([&arms[0], &arms[1], &arms[2]], HOW);
        tally.covered += u32::from(crossings([&arms[0]], HOW)[0].interval(None).contains(truth));
        tally.false_claims += u32::from(!drawn[1].over(&drawn[0]).interval(None).contains(1.0));
        tally.found += u32::from(drawn[2].over(&drawn[0]).interval(None).lo.is_some_and(|lo| lo > 1.0));
    }
    tally
}

#[test]
fn equal_arms_are_not_told_apart_and_a_third_more_is_found() {
    for scene in [&SCENES[0], &SCENES[1], &SCENES[3]] {
        let Tally { covered, false_claims, found } = study(scene);
        let runs = RUNS as u32;
        // At 95 % of 40, one in a hundred honest methods falls below 34.
        assert!(covered >= 34, "{}: the crossing was covered in {covered} of {runs}", scene.name);
        assert!(false_claims <= 5, "{}: equal arms differed in {false_claims} of {runs}", scene.name);
        assert!(found >= 32, "{}: 1.3x was found in {found} of {runs}", scene.name);
    }
}

#[test]
fn the_same_data_gives_the_same_interval() {
    let arms = sweep(&SCENES[0], 7);
    let once = || crossings([&arms[0], &arms[2]], HOW).iter().map(|r| r.interval(None)).collect::<Vec<_>>();
    assert_eq!(once(), once());
}

#[test]
fn pairing_narrows_the_ratio() {
    let width = |paired: bool| -> f64 {
        let one = |seed: u64| {
            let arms = sweep(&SCENES[2], seed);
            let drawn = crossings([&arms[0], &arms[2]], Resampling { paired, ..HOW });
            let ratio = drawn[1].over(&drawn[0]).interval(None);
            ratio.hi.expect("bounded") - ratio.lo.expect("bounded")
        };
        (1..8).map(one).sum()
    };
    assert!(width(true) < 0.9 * width(false), "{} {}", width(true), width(false));
}
