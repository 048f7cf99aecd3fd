use super::*;
use crate::analyse::ArmKind;
use crate::outcome::GpuFacts;
use crate::plan::MetricChoice;
use crate::report::Study;
use crate::report::samples::{Made, h100, h100_study, question};

const PLAIN: Style = Style { color: false };

#[test]
fn a_point_reads_like_vllm_bench_serve() {
    let run = h100("tp2");
    let last = run.points[2].input();
    let text = point(&last, ArmKind::Simple, &question(250.0, 9.0), &MetricChoice::default(), PLAIN);
    insta::assert_snapshot!(text);
}

#[test]
fn where_nothing_was_served_nothing_reads_as_zero_milliseconds() {
    let dead = Made { failing: 10, rates: vec![2.0], ..Made::simple() }.run();
    let only = dead.points[0].input();
    let choice = MetricChoice { metrics: vec!["ttft".into()], percentiles: vec![50.0, 99.9] };
    insta::assert_snapshot!(point(&only, ArmKind::Simple, &question(125.0, 200.0), &choice, PLAIN));
}

#[test]
fn joules_and_money_are_told_at_the_crossing() {
    let mut run = Made::nixl().run();
    let repeat = run.points.clone();
    for (round, joules) in [(0, 95.0), (1, 105.0)] {
        let of_round: Vec<_> = repeat
            .iter()
            .cloned()
            .map(|mut point| {
                point.key.attempt = 1 + round;
                let facts = point.facts.as_mut().expect("facts");
                facts.key.attempt = 1 + round;
                let all = joules * f64::from(facts.offered);
                let by_role = [("prefill", 0.25), ("decode", 0.75)].map(|(role, part)| (role.to_string(), part * all));
                facts.gpus = Some(GpuFacts {
                    energy_joules: Some(all),
                    joules_by_role: by_role.into_iter().collect(),
                    ..GpuFacts::default()
                });
                point
            })
            .collect();
        if round == 0 { run.points = of_round } else { run.points.extend(of_round) }
    }
    let asked = crate::analyse::Question { gpu_hour_price: Some(3.6), ..question(200.0, 200.0) };
    let study = Study::new(vec![run], asked);
    let arm = &study.comparison.arms[0];
    let crossing = arm.max_rate.value.expect("a crossing");
    let found = arm.energy.as_ref().expect("joules");
    assert!((found.joules_per_request.value - 100.0).abs() < 1e-6, "{found:?}");
    assert!(found.joules_per_request.ci95.contains(95.0) && found.joules_per_request.ci95.contains(105.0), "{found:?}");
    assert!(found.joules_per_output_token.is_some_and(|e| (e.value - 100.0 / 32.0).abs() < 1e-6));
    // Two GPUs at 3.6 an hour cost 0.002 a second, in which this many requests of 32 tokens are served.
    let cost = arm.cost_per_million_tokens.expect("a price was given");
    assert!((cost - 0.002 / (crossing * 32.0) * 1e6).abs() < 1e-6, "{cost}");
    let text = energy(&study, PLAIN);
    assert!(
        text.contains("100 (95 % CI ") && text.contains("J a request, 3.12") && text.contains("75 % decode"),
        "{text}"
    );
    assert!(text.contains("for a million output tokens at its crossing"), "{text}");
    assert_eq!(energy(&h100_study(250.0, 9.0), PLAIN), "", "nobody told");
}

#[test]
fn drafts_are_told_where_there_are_any() {
    let run = Made { rates: vec![2.0], requests: 10, ..Made::simple() }.run();
    let mut only = run.points[0].input();
    let told = |only: &crate::analyse::PointInput| {
        point(only, ArmKind::Simple, &question(250.0, 9.0), &MetricChoice::default(), PLAIN)
    };
    assert!(!told(&only).contains("Speculative"));
    let engines = only.facts.as_mut().and_then(|facts| facts.engines.as_mut()).expect("counters");
    (engines.spec_drafts, engines.spec_draft_tokens) = (Some(100.0), Some(300.0));
    engines.spec_accepted_tokens = Some(150.0);
    let text = told(&only);
    assert!(text.contains("Acceptance rate (%):                     50.00"), "{text}");
    assert!(text.contains("Acceptance length:                       2.50"), "{text}");
}

#[test]
fn two_arms_are_compared_in_tables_and_a_sentence() {
    insta::assert_snapshot!(comparison(&h100_study(250.0, 9.0), PLAIN));
}

#[test]
fn runs_of_our_own_say_whether_their_points_are_valid() {
    let broken = Made { failing: 1, why: vec!["decode-0 died".into()], rates: vec![2.0, 4.0], ..Made::nixl() };
    let runs = vec![Made { rates: vec![2.0, 4.0], ..Made::simple() }.run(), broken.run()];
    insta::assert_snapshot!(comparison(&Study::new(runs, question(125.0, 200.0)), PLAIN));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let study = h100_study(250.0, 9.0);
    assert!(!comparison(&study, PLAIN).contains('\u{1b}'));
    let coloured = comparison(&study, Style { color: true });
    let met = coloured.lines().find(|line| line.contains("98.0")).expect("the line of 5 req/s");
    assert!(met.starts_with("\u{1b}[32m") && met.ends_with("\u{1b}[0m"), "a met target is green: {met}");
    let missed = coloured.lines().find(|line| line.contains("83.8")).expect("the line of 8 req/s");
    assert!(!missed.contains('\u{1b}'), "{missed}");
}
