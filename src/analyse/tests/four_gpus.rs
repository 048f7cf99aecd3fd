//! Two arms of four GPUs on one trace, with the attainments of a real pair: 2P2D met 100, 100, 94.8 and 91.8 % at 12, 20,
//! 24 and 28 req/s, 4xTP1 met 100, 85.8, 33.5 and 10.5 %. Nobody who sees this doubts who wins at 24 and 28.

use super::*;
use kit::queue::Dice;

const REQUESTS: usize = 400;
const RATES: [f64; 4] = [12.0, 20.0, 24.0, 28.0];
/// Requests that missed in a row, on average.
const RUN: usize = 8;

/// Poisson arrivals; misses come in runs, as in a queue that fills and empties.
fn arm_with(label: &str, missed: [usize; 4]) -> ArmInput {
    let points = RATES.iter().zip(missed).map(|(&per_second, missed)| {
        let mut arrivals = Dice::seeded(per_second.to_bits());
        let mut now = 0.0;
        let due: Vec<f64> = (0..REQUESTS)
            .map(|_| {
                now += arrivals.exponential() / per_second;
                now
            })
            .collect();
        let mut dice = Dice::seeded(missed as u64 + 1);
        let mut ttfts: Vec<f64> = (0..REQUESTS).map(|_| 0.05 + 0.05 * dice.uniform()).collect();
        while ttfts.iter().filter(|t| **t > 0.15).count() < missed {
            let start = (dice.uniform() * REQUESTS as f64) as usize;
            let left = missed - ttfts.iter().filter(|t| **t > 0.15).count();
            ttfts.iter_mut().skip(start).take(RUN.min(left)).for_each(|t| *t = 0.2 + 0.1 * dice.uniform());
        }
        let tpots = vec![Some(0.008); REQUESTS];
        let columns =
            VllmColumns { ttfts: &ttfts, tpots: Some(&tpots), start_times: Some(&due), ..VllmColumns::default() };
        let samples = Samples::from_vllm(&columns).expect("columns fit");
        PointInput { rate: rate(per_second), samples: samples.into(), ..point(per_second, REQUESTS, 0) }
    });
    ArmInput { gpus: Some(4), ..arm(label, "4 GPUs", points.collect()) }
}

fn compared() -> Comparison {
    let (simple, nixl) = (arm_with("simple", [0, 57, 266, 358]), arm_with("nixl", [0, 0, 21, 33]));
    Comparison::new(&[simple, nixl], &question())
}

#[test]
fn the_winner_at_common_rates_is_claimed() {
    let c = compared();
    let ratio = &c.ratios[0];
    let claimed: Vec<f64> = ratio.at_common_rates.iter().filter(|r| r.claimed).map(|r| r.rate.per_second()).collect();
    assert!(claimed.contains(&24.0) && claimed.contains(&28.0) && !claimed.contains(&12.0), "{claimed:?}");
    let [_, _, at_24, at_28] = ratio.at_common_rates.as_slice() else { panic!("four common rates") };
    assert!((at_24.difference - 61.25).abs() < 0.01 && (at_28.difference - 81.25).abs() < 0.01);
    assert!(at_24.ci95.lo.is_some_and(|lo| lo > 30.0), "{:?}", at_24.ci95);
    assert_eq!(ratio.claim.better, Some(1));
    assert!(!ratio.claim.text.is_empty());
}

#[test]
fn the_crossing_of_the_better_arm_is_bounded_from_below_by_all_of_its_points() {
    let c = compared();
    assert_eq!(c.arms[1].max_rate.censored, Some(Censored::AboveTested));
    let lo = c.arms[1].max_rate.ci95.lo.expect("bounded");
    assert!(lo > 20.0, "{lo}");
    assert!(c.ratios[0].max_rate.ci95.lo.is_some_and(|lo| lo > 1.0), "{:?}", c.ratios[0].max_rate);
}
