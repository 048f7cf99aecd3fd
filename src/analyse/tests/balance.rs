//! What utilisation says of the numbers of instances.

use super::*;
use crate::analyse::balance::{Balance, Suggestion};
use crate::outcome::{Chunk, EngineCounters, Outcome, RequestRecord, TimeSum, Timeline};
use crate::units::{Offset, TokenCount};

const REQUESTS: u32 = 100;
const TOKENS: u32 = 11;

/// A point whose requests take `tpot` a token, on one prefill instance that is busy for `busy` of the time.
fn loaded(per_second: f64, tpot: f64, busy: f64) -> PointInput {
    let at = Offset::from_secs;
    let record = |i: u32| {
        let due = f64::from(i) / per_second;
        let last = due + 0.1 + tpot * f64::from(TOKENS - 1);
        RequestRecord {
            index: i,
            id: format!("r-{i}"),
            prompt_tokens: TokenCount(8),
            max_tokens: TokenCount(TOKENS),
            timeline: Timeline {
                due: at(due),
                slot: at(due),
                sent: Some(at(due)),
                first_token: Some(at(due + 0.1)),
                last_token: Some(at(last)),
                end: at(last),
                chunks: vec![Chunk { at: at(due + 0.1), tokens: TOKENS }],
                output_tokens: Some(TokenCount(TOKENS)),
                ..Timeline::default()
            },
            outcome: Outcome::Completed,
            stages: None,
            text: None,
        }
    };
    let records: Vec<RequestRecord> = (0..REQUESTS).map(record).collect();
    let seconds = f64::from(REQUESTS) / per_second;
    let prefill = TimeSum { secs: busy * seconds, count: f64::from(REQUESTS) };
    let mut facts = fine(per_second, REQUESTS);
    facts.engines = Some(EngineCounters { prefill_time: Some(prefill), ..EngineCounters::default() });
    PointInput {
        rate: rate(per_second),
        attempt: 1,
        launch: 1,
        host: None,
        duration_secs: Some(seconds),
        facts: Some(facts),
        samples: Samples::from_records(&records, None).into(),
    }
}

/// TPOT 6 ms at a batch of 0.12, 10 ms at 1: the line allows a batch of 1.88 at 14 ms.
fn sweep(busy: f64) -> ArmInput {
    arm("nixl", "1P1D", vec![loaded(2.0, 0.006, busy / 5.0), loaded(10.0, 0.010, busy)])
}

fn all(_: &PointInput) -> bool {
    true
}

#[test]
fn equal_loads_need_no_other_ratio_and_a_busier_side_needs_more_instances() {
    let of = |busy: f64| Balance::of(&sweep(busy), &slo(150.0, 14.0), all).expect("both loads are known");
    let even = of(0.53);
    assert!((even.decode_load - 1.0 / 1.88).abs() < 1e-6, "{even:?}");
    assert!((even.prefill_load - 0.53).abs() < 1e-9);
    assert_eq!((even.suggestion(), even.holds()), (Suggestion::Ratio(1, 1), true));
    assert_eq!((of(1.0).suggestion(), of(1.0).holds()), (Suggestion::Ratio(2, 1), false));
    assert_eq!(of(0.25).suggestion(), Suggestion::Ratio(1, 2));
    assert_eq!(of(0.05).suggestion(), Suggestion::MoreDecode);
    assert_eq!(of(2.0).prefill_load, 1.0, "no more than a whole instance");
    assert_eq!(
        Balance::of(&sweep(7.0), &slo(150.0, 14.0), all),
        None,
        "prefills that overlap at every rate tell nothing"
    );
}

#[test]
fn instances_that_are_there_already_count() {
    let mut wide = sweep(1.0);
    wide.instances = Some((2, 1));
    let balance = Balance::of(&wide, &slo(150.0, 14.0), all).expect("known");
    assert!((balance.prefill_load - 0.5).abs() < 1e-9, "the work of one, shared by two");
    assert!(balance.holds(), "{:?}", balance.suggestion());
}

#[test]
fn a_far_limit_leaves_decode_idle() {
    let balance = Balance::of(&sweep(0.9), &slo(150.0, 1000.0), all).expect("known");
    assert_eq!(balance.suggestion(), Suggestion::MorePrefill);
}

#[test]
fn what_cannot_be_told_is_not_told() {
    let tight = slo(150.0, 5.0);
    assert_eq!(Balance::of(&sweep(0.5), &tight, all), None, "even an empty batch breaks the limit");
    let wide = slo(150.0, 14.0);
    assert_eq!(Balance::of(&arm("simple", "TP2", sweep(0.5).points), &wide, all), None, "no sides");
    assert_eq!(Balance::of(&arm("nixl", "1P1D", vec![loaded(2.0, 0.006, 0.5)]), &wide, all), None, "one rate");
    let flat = vec![loaded(2.0, 0.006, 0.1), loaded(10.0, 0.006, 0.5)];
    assert_eq!(Balance::of(&arm("nixl", "1P1D", flat), &wide, all), None, "TPOT does not grow");
    let fast = |p: &PointInput| p.rate < rate(5.0);
    assert_eq!(Balance::of(&sweep(0.5), &wide, fast), None, "the highest rate is invalid");
    let mut silent = sweep(0.5);
    silent.points.iter_mut().for_each(|p| p.facts.as_mut().expect("facts").engines = None);
    assert_eq!(Balance::of(&silent, &wide, all), None, "engines that tell nothing");
}
