//! The sentence, for every way a comparison can end.

use super::*;

/// (rate, misses of n) for each point.
fn misses(n: usize, points: &[(f64, usize)]) -> Vec<PointInput> {
    points.iter().map(|(rate, misses)| point(*rate, n, *misses)).collect()
}

fn verdict(simple: Vec<PointInput>, nixl: Vec<PointInput>) -> String {
    Comparison::new(&[arm("simple", "TP2", simple), arm("nixl", "1P1D", nixl)], &question()).verdict
}

fn slow_first_token(points: Vec<PointInput>, at: &[f64]) -> Vec<PointInput> {
    let slower = |mut p: PointInput| {
        if at.contains(&p.rate.per_second()) {
            let rate = p.rate.per_second();
            let ttfts: Vec<f64> = p.samples.ttft.iter().map(|t| if *t < 0.15 { t + 0.04 } else { *t }).collect();
            p.samples = samples(rate, &ttfts, 0.008).into();
        }
        p
    };
    points.into_iter().map(slower).collect()
}

#[test]
fn a_clear_lead_is_claimed_with_its_interval_and_its_price() {
    let simple = misses(1000, &[(2.0, 0), (4.0, 50), (6.0, 300), (8.0, 600)]);
    let nixl = misses(1000, &[(2.0, 0), (4.0, 0), (6.0, 20), (8.0, 300)]);
    insta::assert_snapshot!(verdict(simple, slow_first_token(nixl, &[2.0, 4.0])));
}

#[test]
fn the_first_arm_can_win() {
    let simple = misses(1000, &[(2.0, 0), (4.0, 0), (6.0, 20), (8.0, 300)]);
    let nixl = misses(1000, &[(2.0, 0), (4.0, 50), (6.0, 300), (8.0, 600)]);
    insta::assert_snapshot!(verdict(simple, nixl));
}

#[test]
fn too_few_requests_claim_nothing_and_say_how_many_would_do() {
    let simple = misses(100, &[(2.0, 0), (4.0, 4), (6.0, 20), (8.0, 50)]);
    let nixl = misses(100, &[(2.0, 0), (4.0, 2), (6.0, 16), (8.0, 40)]);
    insta::assert_snapshot!(verdict(simple, nixl));
}

#[test]
fn an_arm_against_itself_is_no_difference() {
    let same = misses(400, &[(2.0, 0), (4.0, 20), (8.0, 200)]);
    insta::assert_snapshot!(verdict(same.clone(), same));
}

#[test]
fn a_crossing_above_the_rates_tested_gives_a_lower_bound() {
    let simple = misses(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)]);
    let nixl = misses(1000, &[(2.0, 0), (4.0, 0), (8.0, 10)]);
    insta::assert_snapshot!(verdict(simple, nixl));
}

#[test]
fn a_crossing_below_the_rates_tested_gives_a_lower_bound_for_the_other() {
    let simple = misses(1000, &[(2.0, 0), (4.0, 20), (8.0, 600)]);
    let nixl = misses(1000, &[(2.0, 400), (4.0, 500), (8.0, 600)]);
    insta::assert_snapshot!(verdict(simple, nixl));
}

#[test]
fn both_above_or_both_below_is_a_draw_with_advice() {
    let easy = misses(400, &[(2.0, 0), (8.0, 0)]);
    let hard = misses(400, &[(2.0, 200), (8.0, 300)]);
    insta::assert_snapshot!(verdict(easy.clone(), easy));
    insta::assert_snapshot!(verdict(hard.clone(), hard));
}

#[test]
fn one_above_and_one_below_is_still_a_bound() {
    let easy = misses(400, &[(2.0, 0), (8.0, 0)]);
    let hard = misses(400, &[(2.0, 200), (8.0, 300)]);
    insta::assert_snapshot!(verdict(hard, easy));
}

#[test]
fn unequal_gpus_are_compared_per_gpu_and_warned_about() {
    let simple = arm("simple", "TP2", misses(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)]));
    let mut nixl = arm("nixl", "2P2D", misses(1000, &[(2.0, 0), (4.0, 0), (8.0, 300)]));
    nixl.gpus = Some(4);
    let c = Comparison::new(&[simple, nixl], &question());
    insta::assert_snapshot!(c.verdict);
    insta::assert_snapshot!(c.warnings.join("\n"));
}

#[test]
fn arms_without_gpus_are_compared_by_requests() {
    let without = |label: &str, points| ArmInput { gpus: None, ..arm(label, "x", points) };
    let simple = without("simple", misses(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)]));
    let nixl = without("nixl", misses(1000, &[(2.0, 0), (4.0, 0), (8.0, 300)]));
    insta::assert_snapshot!(Comparison::new(&[simple, nixl], &question()).verdict);
}

#[test]
fn three_arms_are_each_read_against_the_first() {
    let simple = arm("simple", "TP2", misses(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)]));
    let replicas = arm("replicas", "2xTP1", misses(1000, &[(2.0, 0), (4.0, 198), (8.0, 600)]));
    let nixl = arm("nixl", "1P1D", misses(1000, &[(2.0, 0), (4.0, 0), (8.0, 300)]));
    insta::assert_snapshot!(Comparison::new(&[simple, replicas, nixl], &question()).verdict);
}

#[test]
fn one_arm_alone_is_told_what_it_carries() {
    let of = |points| Comparison::new(&[arm("simple", "TP2", points)], &question()).verdict;
    insta::assert_snapshot!(of(misses(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)])));
    insta::assert_snapshot!(of(misses(1000, &[(2.0, 0)])));
    insta::assert_snapshot!(of(misses(1000, &[(2.0, 500)])));
    insta::assert_snapshot!(of(Vec::new()));
}

#[test]
fn nothing_served_is_no_verdict() {
    let dead = || {
        let lost = samples(2.0, &[f64::INFINITY; 110], 0.01);
        vec![PointInput { samples: lost.into(), ..point(2.0, 110, 0) }]
    };
    insta::assert_snapshot!(verdict(misses(400, &[(2.0, 0)]), dead()));
    insta::assert_snapshot!(verdict(dead(), dead()));
}

fn restarted(mut points: Vec<PointInput>, which: impl Fn(f64) -> bool) -> Vec<PointInput> {
    for p in &mut points {
        if which(p.rate.per_second()) {
            p.facts.iter_mut().for_each(|f| f.engine_restarts = 1);
        }
    }
    points
}

#[test]
fn invalid_points_take_the_claim_away() {
    let simple = || misses(1000, &[(2.0, 0), (4.0, 200), (8.0, 600)]);
    let nixl = || misses(1000, &[(2.0, 0), (4.0, 0), (8.0, 300)]);
    insta::assert_snapshot!(verdict(simple(), restarted(nixl(), |rate| rate == 8.0)));
    insta::assert_snapshot!(verdict(simple(), restarted(nixl(), |_| true)));
}

#[test]
fn arms_that_did_not_answer_the_same_questions_are_warned_about() {
    let mut simple = arm("simple", "TP2", misses(1000, &[(2.0, 0), (4.0, 200)]));
    let mut nixl = arm("nixl", "1P1D", misses(1000, &[(4.0, 0), (8.0, 200)]));
    let identity = |model: &str, trace: &str| Identity {
        model: Some(model.to_string()),
        engine: Some("vllm 0.32.1".to_string()),
        dataset: Some("random".to_string()),
        traces: vec![(PointKey { rate: RequestRate::new(4.0).expect("a rate"), attempt: 1 }, trace.to_string())],
        kv_link: None,
    };
    (simple.identity, nixl.identity) = (identity("Qwen3-8B", "a"), identity("Qwen3-0.6B", "b"));
    let c = Comparison::new(&[simple, nixl], &question());
    assert!(!c.paired);
    insta::assert_snapshot!(c.warnings.join("\n"));
}

#[test]
fn arms_are_paired_where_they_meet() {
    let simple = arm("simple", "TP2", misses(1000, &[(2.0, 0), (4.0, 200)]));
    let meeting = arm("nixl", "1P1D", misses(1000, &[(4.0, 0), (8.0, 200)]));
    assert!(Comparison::new(&[simple.clone(), meeting], &question()).paired);
    let apart = arm("nixl", "1P1D", misses(1000, &[(3.0, 0), (5.0, 200)]));
    let c = Comparison::new(&[simple, apart], &question());
    assert!(!c.paired);
    assert_eq!(c.arms[1].scale.at_rate, None);
    insta::assert_snapshot!(c.warnings.join("\n"));
}

#[test]
fn a_curve_that_comes_back_is_warned_about() {
    let wavy = misses(1000, &[(2.0, 0), (4.0, 200), (6.0, 20), (8.0, 600)]);
    let late = misses(1000, &[(2.0, 200), (4.0, 20), (8.0, 30)]);
    let warned = |points| Comparison::new(&[arm("simple", "TP2", points)], &question()).warnings.join("\n");
    insta::assert_snapshot!(warned(wavy));
    insta::assert_snapshot!(warned(late));
}
