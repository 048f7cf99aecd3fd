//! Two arms with as many requests in flight.

use super::*;
use crate::outcome::{Outcome, RequestRecord, Timeline};
use crate::units::{Offset, TokenCount};
use kit::queue::Dice;
use std::num::NonZeroU32;

/// Answers of `secs` on the mean, with `in_flight` under way; `first` is when the first token comes, as a part of that.
fn level(in_flight: u32, requests: u32, secs: f64, first: f64, seed: u64) -> PointInput {
    let mut dice = Dice::seeded(seed);
    let mut slots = vec![0.0f64; in_flight as usize];
    let record = |index: u32| {
        let slot = slots.iter_mut().min_by(|a, b| a.total_cmp(b)).expect("a slot");
        let due = Offset::from_secs(*slot);
        let took = secs * (0.7 + 0.6 * dice.uniform());
        let first_token = Some(Offset::from_secs(*slot + first * took));
        *slot += took;
        let end = Offset::from_secs(*slot);
        RequestRecord {
            index,
            id: String::new(),
            prompt_tokens: TokenCount(8),
            max_tokens: TokenCount(10),
            timeline: Timeline {
                due,
                slot: due,
                sent: Some(due),
                first_token,
                last_token: Some(end),
                end,
                output_tokens: Some(TokenCount(10)),
                ..Timeline::default()
            },
            outcome: Outcome::Completed,
            stages: None,
            turn: None,
            text: None,
        }
    };
    let records: Vec<RequestRecord> = (0..requests).map(record).collect();
    let rate = RequestRate::closed(NonZeroU32::new(in_flight).expect("some"));
    let facts = PointFacts { key: PointKey { rate, attempt: 1 }, ..fine(1.0, requests) };
    PointInput {
        rate,
        facts: Some(facts),
        duration_secs: None,
        samples: Samples::from_records(&records, None).into(),
        ..point(1.0, 10, 0)
    }
}

/// With 4 and 16 in flight; the same prompts for every arm.
fn looped(label: &str, size: &str, secs: f64, first: f64, seed: u64) -> ArmInput {
    let points = [4, 16].map(|n| level(n, 20 * n, secs, first, seed + u64::from(n)));
    let mut arm = arm(label, size, points.to_vec());
    arm.identity.traces = arm.points.iter().map(|p| (p.key(), format!("trace at {}", p.rate))).collect();
    arm
}

fn lenient() -> Question {
    Question { slo: slo(1000.0, 1000.0), ..question() }
}

#[test]
fn who_answers_more_with_as_many_in_flight_is_claimed() {
    let (slow, quick) = (looped("simple", "TP2", 0.3, 0.1, 1), looped("nixl", "1P1D", 0.2, 0.1, 2));
    let c = Comparison::new(&[slow.clone(), quick.clone()], &lenient());
    assert_eq!((c.ratios[0].claim.kind, c.ratios[0].claim.better), (ClaimKind::GoodputAtCommonLevels, Some(1)));
    let told: Vec<f64> = c.ratios[0].at_common_rates.iter().filter_map(|l| l.goodput?.value).collect();
    assert!(told.len() == 2 && told.iter().all(|v| (1.35..1.65).contains(v)), "{told:?}");
    insta::assert_snapshot!(format!("{}.\n\nclaim: {}", c.verdict, c.ratios[0].claim.text));

    // The other way round it says the same of the same arm.
    let turned = Comparison::new(&[quick.clone(), slow.clone()], &lenient());
    assert_eq!(turned.ratios[0].claim.text, c.ratios[0].claim.text);

    // With four times the GPUs it answers less for each of them.
    let more = ArmInput { gpus: Some(8), ..quick };
    let per_gpu = Comparison::new(&[slow, more], &lenient());
    assert_eq!(per_gpu.ratios[0].claim.better, Some(0), "{}", per_gpu.verdict);
}

#[test]
fn what_was_met_of_the_same_prompts_is_claimed_where_levels_agree() {
    // As many a second of both, but one of them keeps the first token for long: it meets about half.
    let (soon, late) = (looped("simple", "TP2", 0.2, 0.1, 1), looped("nixl", "1P1D", 0.2, 0.74, 2));
    let c = Comparison::new(&[late, soon], &Question { slo: slo(150.0, 1000.0), ..question() });
    let claimed = c.ratios[0].at_common_rates.iter().filter(|level| level.claimed).count();
    assert_eq!((claimed, c.ratios[0].claim.better), (2, Some(1)), "{}", c.verdict);
    assert!(c.verdict.contains("points more of the same requests than nixl 1P1D"), "{}", c.verdict);
}

#[test]
fn where_nothing_can_be_claimed_it_says_why() {
    let alike = [looped("simple", "TP2", 0.2, 0.1, 1), looped("nixl", "1P1D", 0.2, 0.1, 7)];
    let c = Comparison::new(&alike, &lenient());
    assert_eq!(c.ratios[0].claim.kind, ClaimKind::None);
    insta::assert_snapshot!("alike", c.verdict);

    let strict = Question { slo: slo(0.001, 0.001), ..question() };
    insta::assert_snapshot!("nothing_met", Comparison::new(&alike, &strict).verdict);

    let [mut other, mut nixl] = alike;
    nixl.points.truncate(1);
    other.points.remove(0);
    insta::assert_snapshot!("nothing_in_common", Comparison::new(&[nixl, other], &lenient()).verdict);
}

/// What false claims cost: equal arms, again and again.
#[test]
fn equal_arms_are_seldom_told_apart() {
    let claims = |seed: u64| {
        let arms = [looped("simple", "TP2", 0.2, 0.1, 100 * seed), looped("nixl", "1P1D", 0.2, 0.1, 100 * seed + 50)];
        Comparison::new(&arms, &lenient()).ratios[0].claim.kind != ClaimKind::None
    };
    let told = (1..=40).filter(|seed| claims(*seed)).count();
    assert!(told <= 5, "{told} of 40");
}
