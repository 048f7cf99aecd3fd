//! Length, honesty about what the curve does, and the case that any reader sees.

use super::words::{MOST_WORDS, count};
use crate::analyse::tests::{arm, point, question, rate};
use crate::analyse::{ArmInput, Comparison, PointInput};
use crate::outcome::PointKey;
use proptest::prelude::*;

fn same_trace(mut arm: ArmInput) -> ArmInput {
    arm.identity.traces = arm
        .points
        .iter()
        .map(|p| (PointKey { rate: p.rate, attempt: p.attempt }, format!("trace at {}", p.rate)))
        .collect();
    arm
}

fn curve(n: usize, points: &[(f64, usize)]) -> Vec<PointInput> {
    points.iter().map(|(rate, misses)| point(*rate, n, *misses)).collect()
}

/// Four GPUs, 400 requests a point: 100, 100, 94.8, 91.8 % against 100, 85.8, 33.5, 10.5 %.
#[test]
fn who_wins_at_the_common_rates_is_claimed_though_one_arm_never_crosses() {
    let mut simple = same_trace(arm("simple", "4xTP1", curve(400, &[(12.0, 0), (20.0, 57), (24.0, 266), (28.0, 358)])));
    let mut nixl = same_trace(arm("nixl", "2P2D", curve(400, &[(12.0, 0), (20.0, 0), (24.0, 21), (28.0, 33)])));
    (simple.gpus, nixl.gpus) = (Some(4), Some(4));
    let c = Comparison::new(&[simple, nixl], &question());
    assert!(c.ratios[0].claim.better == Some(1), "{:?}", c.ratios[0].claim);
    let rates = c.ratios[0].at_common_rates.iter().filter(|r| r.claimed).map(|r| r.rate);
    assert!(rates.clone().any(|r| r == rate(24.0)) && rates.clone().any(|r| r == rate(28.0)));
    insta::assert_snapshot!(format!("{}\n\nclaim: {}", c.verdict, c.ratios[0].claim.text));
}

#[test]
fn an_upward_crossing_is_no_capacity() {
    let odd = arm("simple", "TP2", curve(400, &[(2.0, 60), (4.0, 8), (8.0, 200)]));
    let verdict = Comparison::new(&[odd], &question()).verdict;
    insta::assert_snapshot!(verdict);
}

#[test]
fn several_crossings_are_told_in_the_sentence() {
    let wavy = arm("simple", "TP2", curve(400, &[(2.0, 0), (4.0, 60), (6.0, 8), (8.0, 200)]));
    insta::assert_snapshot!(Comparison::new(&[wavy], &question()).verdict);
}

/// Simple is quick to the first token at every rate, nixl keeps up longer.
#[test]
fn where_the_order_turns_over_is_told() {
    let shifted = |points: Vec<PointInput>, ttft: f64| -> Vec<PointInput> {
        points
            .into_iter()
            .map(|mut p| {
                let rate = p.rate.per_second();
                let ttfts: Vec<f64> = p.samples.ttft.iter().map(|t| if *t < 0.15 { ttft } else { *t }).collect();
                p.samples = crate::analyse::tests::samples(rate, &ttfts, 0.008).into();
                p
            })
            .collect()
    };
    let simple = arm("simple", "TP2", shifted(curve(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)]), 0.03));
    let nixl = arm("nixl", "1P1D", shifted(curve(1000, &[(2.0, 0), (4.0, 0), (8.0, 300)]), 0.11));
    let verdict = Comparison::new(&[simple, nixl], &question()).verdict;
    assert!(verdict.contains("Below about 90 ms TTFT simple TP2 leads"), "{verdict}");
}

#[test]
fn four_arms_are_one_sentence() {
    let of = |label: &str, size: &str, at_four: usize, at_eight: usize| {
        arm(label, size, curve(1000, &[(2.0, 0), (4.0, at_four), (8.0, at_eight)]))
    };
    let arms = [
        of("simple", "TP2", 200, 600),
        of("replicas", "2xTP1", 198, 600),
        of("nixl", "1P1D", 0, 300),
        of("slow", "TP1", 500, 900),
    ];
    insta::assert_snapshot!(Comparison::new(&arms, &question()).verdict);
}

fn arms() -> impl Strategy<Value = Vec<ArmInput>> {
    let points = prop::collection::btree_map(0usize..6, (0usize..=20, any::<bool>()), 1..4);
    let one = ("[a-z]{1,8}( [a-z]{1,8}){0,6}", points, prop::option::of(0u32..9));
    prop::collection::vec(one, 1..7).prop_map(|arms| {
        arms.into_iter()
            .map(|(label, points, gpus)| {
                let points = points.into_iter().map(|(at, (misses, restarted))| {
                    let mut point = point([0.5, 1.0, 2.0, 4.0, 8.0, 16.0][at], 20, misses);
                    point.facts.iter_mut().for_each(|f| f.engine_restarts = u32::from(restarted && misses % 5 == 0));
                    point
                });
                ArmInput { gpus, ..arm(&label, "2P2D", points.collect()) }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_verdict_is_short_for_any_arms_and_however_they_are_censored(arms in arms()) {
        let c = Comparison::new(&arms, &question());
        prop_assert!(count(&c.verdict) <= MOST_WORDS, "{} words: {}", count(&c.verdict), c.verdict);
        prop_assert!(!c.verdict.is_empty() && !c.verdict.ends_with('.'));
        for ratio in &c.ratios {
            prop_assert_eq!(ratio.claim.better.is_some(), !ratio.claim.text.is_empty());
        }
    }
}
