use super::*;
use crate::analyse::ArmKind;
use crate::plan::MetricChoice;
use crate::report::samples::{Made, h100, h100_study, question};
use crate::report::{Study, inputs};

const PLAIN: Style = Style { color: false };

#[test]
fn a_point_reads_like_vllm_bench_serve() {
    let run = h100("tp2");
    let last = inputs::point(&run.points[2]);
    let text = point(&last, ArmKind::Simple, &question(250.0, 9.0), &MetricChoice::default(), PLAIN);
    insta::assert_snapshot!(text);
}

#[test]
fn where_nothing_was_served_nothing_reads_as_zero_milliseconds() {
    let dead = Made { failing: 10, rates: vec![2.0], ..Made::simple() }.run();
    let only = inputs::point(&dead.points[0]);
    let choice = MetricChoice { metrics: vec!["ttft".into()], percentiles: vec![50.0, 99.9] };
    insta::assert_snapshot!(point(&only, ArmKind::Simple, &question(125.0, 200.0), &choice, PLAIN));
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
