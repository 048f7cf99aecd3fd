//! Which points may be believed, and what is said of those that may not.

use super::*;
use crate::analyse::samples::UNKNOWN_TPOT;
use crate::analyse::validity::judge;
use crate::outcome::{
    Chunk, CountedBy, EngineCounters, Failure, GpuFacts, Outcome, RequestRecord, Stages, TimeSum, Timeline,
};
use crate::units::{Offset, TokenCount};

fn ms(ms: u64) -> Offset {
    Offset::from_nanos(ms * 1_000_000)
}

/// A request due at `due`, sent `lag` later, first token 100 ms after that, three tokens 10 ms apart.
fn record(index: u32, due: u64, lag: u64) -> RequestRecord {
    let first = due + lag + 100;
    let chunk = |at| Chunk { at: ms(at), tokens: 1 };
    RequestRecord {
        index,
        id: format!("r{index}"),
        prompt_tokens: TokenCount(1000),
        max_tokens: TokenCount(3),
        timeline: Timeline {
            due: ms(due),
            slot: ms(due),
            sent: Some(ms(due + lag)),
            first_token: Some(ms(first)),
            last_token: Some(ms(first + 20)),
            end: ms(first + 20),
            chunks: vec![chunk(first), chunk(first + 10), chunk(first + 20)],
            tokens_per_chunk_known: true,
            output_tokens: Some(TokenCount(3)),
            counted_by: CountedBy::default(),
            prompt_tokens: None,
        },
        outcome: Outcome::Completed,
        stages: None,
        turn: None,
        text: None,
    }
}

fn records(n: u32, lag: u64) -> Vec<RequestRecord> {
    (0..n).map(|i| record(i, u64::from(i) * 100, lag)).collect()
}

fn measured(records: &[RequestRecord], change: impl FnOnce(&mut PointFacts)) -> PointInput {
    let mut facts = fine(10.0, records.len() as u32);
    change(&mut facts);
    let samples = Samples::from_records(records, Some(facts.offered));
    PointInput {
        rate: rate(10.0),
        attempt: 1,
        launch: 1,
        host: None,
        duration_secs: Some(facts.duration_secs),
        facts: Some(facts),
        samples: samples.into(),
    }
}

fn asked(slo: Slo) -> Question {
    Question { slo, ..question() }
}

fn why(point: &PointInput, kind: ArmKind) -> Vec<String> {
    let judged = judge(point, kind, &asked(slo(150.0, 20.0)));
    assert_eq!(judged.valid, Some(judged.why.is_empty()));
    judged.why
}

fn with_engines(engines: EngineCounters) -> PointInput {
    measured(&records(100, 0), |f| f.engines = Some(engines))
}

#[test]
fn a_point_at_which_nothing_went_wrong_is_valid() {
    assert_eq!(why(&measured(&records(100, 1), |_| ()), ArmKind::Simple), Vec::<String>::new());
}

/// A hundred requests that take 100 ms of 150, some of them sent late.
fn with_late_sends(lags: &[u64]) -> PointInput {
    let mut all = records(100, 0);
    for (i, lag) in lags.iter().enumerate() {
        all[10 * i + 3] = record(10 * i as u32 + 3, 1000 * i as u64 + 300, *lag);
    }
    measured(&all, |_| ())
}

fn late(point: &PointInput) -> lateness::Lateness {
    judge(point, ArmKind::Simple, &asked(slo(150.0, 20.0))).late.expect("a late send")
}

#[test]
fn a_send_that_is_late_by_milliseconds_moves_nothing_and_invalidates_nothing() {
    for lag in [4, 45] {
        let point = with_late_sends(&[lag]);
        assert_eq!(why(&point, ArmKind::Simple), Vec::<String>::new());
        let found = late(&point);
        assert_eq!((found.sends, found.attainment_less_lag), (1, 100.0));
        assert_eq!(found.told(), format!("1 send was late, by {lag}.0 ms; attainment is the same without its lag"));
    }
    let punctual = judge(&with_late_sends(&[3]), ArmKind::Simple, &asked(slo(150.0, 20.0)));
    assert_eq!(punctual.late, None, "2 % of the TTFT limit");
}

#[test]
fn every_send_late_is_no_doubt_where_no_request_misses_for_it() {
    assert_eq!(why(&measured(&records(100, 45), |_| ()), ArmKind::Simple), Vec::<String>::new());
}

#[test]
fn late_sends_that_move_attainment_by_more_than_half_a_point_invalidate() {
    let reasons = why(&with_late_sends(&[60, 80]), ArmKind::Simple);
    let told = "the client was late: 2 sends were late, by 80.0 ms at most; attainment would be 100.0 % and not 98.0 % \
                without their lag; give it more CPU, or lower the rate";
    assert_eq!(reasons, [told]);
}

#[test]
fn one_late_send_of_a_thousand_matters_where_it_decides_the_target() {
    let of = |misses: u32| {
        let mut all: Vec<RequestRecord> = (0..1000).map(|i| record(i, u64::from(i) * 100, 0)).collect();
        for r in all.iter_mut().take(misses as usize) {
            r.outcome = Outcome::Failed(Failure::Connect { detail: "refused".into() });
        }
        all[999] = record(999, 99_900, 60);
        measured(&all, |_| ())
    };
    assert_eq!(why(&of(50), ArmKind::Simple), Vec::<String>::new(), "94.9 or 95 %");
    let reasons = why(&of(100), ArmKind::Simple);
    assert!(reasons[0].contains("would be 90.0 % and not 89.9 %"), "{reasons:?}");
    assert!(late(&of(50)).attainment_less_lag > late(&of(50)).attainment);
}

#[test]
fn a_client_that_falls_behind_did_not_offer_the_rate() {
    let lagging = |i: u32| record(i, u64::from(i) * 100, u64::from(i) * 10);
    let all: Vec<RequestRecord> = (0..100).map(lagging).collect();
    let easy = asked(slo(10_000.0, 20.0));
    let judged = judge(&measured(&all, |_| ()), ArmKind::Simple, &easy);
    assert!(judged.why.iter().any(|why| why.contains("sends scheduled were sent within")), "{:?}", judged.why);
    let mut last = records(40, 0);
    last[39] = record(39, 3900, 700);
    let judged = judge(&measured(&last, |_| ()), ArmKind::Simple, &easy);
    assert_eq!(judged.why, Vec::<String>::new(), "a single last send makes no rate");
}

#[test]
fn waiting_for_a_slot_is_no_lateness() {
    let mut all = records(100, 0);
    for r in &mut all {
        let (slot, line) = (r.timeline.due.as_nanos() + 20_000_000_000, &mut r.timeline);
        line.slot = Offset::from_nanos(slot);
        line.sent = Some(line.slot);
    }
    assert_eq!(why(&measured(&all, |_| ()), ArmKind::Simple), Vec::<String>::new());
}

#[test]
fn requests_that_were_never_sent_invalidate_and_stay_in_the_denominator() {
    let point = measured(&records(95, 0), |f| f.offered = 100);
    let reasons = why(&point, ArmKind::Simple);
    assert!(reasons[0].starts_with("only 95.0 % of the 100 sends scheduled"), "{reasons:?}");
    let attained = PointAttainment::of(&point.samples, &slo(150.0, 20.0)).expect("offered");
    assert_eq!(attained.both.percent(), 95.0);
    assert_eq!(point.samples.failures()["unrecorded"], 5);
}

#[test]
fn an_engine_that_takes_no_connection_is_not_the_clients_lateness() {
    let mut all = records(100, 0);
    for r in &mut all[..50] {
        r.outcome = Outcome::Failed(Failure::Connect { detail: "refused".into() });
        r.timeline.sent = None;
    }
    let point = measured(&all, |_| ());
    assert_eq!(why(&point, ArmKind::Simple), Vec::<String>::new());
    assert_eq!(point.samples.failures()["connect"], 50);
}

#[test]
fn any_kv_counter_that_moved_invalidates() {
    let faults = EngineCounters {
        kv_failed_transfers: Some(1.0),
        kv_failed_notifications: Some(0.0),
        kv_expired: Some(2.0),
        kv_notifications_after_expiry: Some(3.0),
        ..EngineCounters::default()
    };
    assert_eq!(why(&with_engines(faults), ArmKind::PrefillDecode).len(), 3);
}

#[test]
fn a_silent_recompute_on_decode_invalidates_and_the_last_token_does_not() {
    let counters = |local: f64| EngineCounters {
        prompt_tokens: Some(100_000.0),
        external_kv_tokens: Some(100_000.0 - local),
        local_compute_tokens: Some(local),
        ..EngineCounters::default()
    };
    assert!(why(&with_engines(counters(100.0)), ArmKind::PrefillDecode).is_empty(), "one token a request");
    let reasons = why(&with_engines(counters(5000.0)), ArmKind::PrefillDecode);
    assert!(reasons[0].contains("not handed over for 5.0 % of them"), "{reasons:?}");
    assert!(why(&with_engines(counters(100_000.0)), ArmKind::Simple).is_empty(), "a simple arm computes its prompts");
    let unlabelled = EngineCounters { local_compute_tokens: None, ..counters(5000.0) };
    assert_eq!(why(&with_engines(unlabelled), ArmKind::PrefillDecode).len(), 1, "what is unaccounted for was computed");
}

#[test]
fn restarts_and_throttling_invalidate() {
    let point = measured(&records(100, 0), |f| {
        f.engine_restarts = 1;
        f.gpus = Some(GpuFacts { throttled: vec!["hw_thermal_slowdown on GPU 1".into()], ..GpuFacts::default() });
    });
    assert_eq!(why(&point, ArmKind::Simple).len(), 2);
}

#[test]
fn cached_prompts_are_said_and_do_not_invalidate() {
    let counters =
        EngineCounters { prompt_tokens: Some(1000.0), cached_prompt_tokens: Some(580.0), ..EngineCounters::default() };
    let judged = judge(&with_engines(counters), ArmKind::Simple, &asked(slo(150.0, 20.0)));
    assert_eq!(judged.valid, Some(true));
    assert_eq!(judged.notes, ["58 % of the prompt tokens came from a prefix cache, which flatters TTFT"]);
}

#[test]
fn imported_files_are_neither_valid_nor_invalid_unless_nothing_was_served() {
    let import =
        |ttfts: &[f64]| PointInput { facts: None, samples: samples(2.0, ttfts, 0.01).into(), ..point(2.0, 1, 0) };
    assert_eq!(judge(&import(&[0.1, 0.2]), ArmKind::Unknown, &asked(slo(150.0, 20.0))).valid, None);
    let dead = judge(&import(&[f64::INFINITY]), ArmKind::Unknown, &asked(slo(150.0, 20.0)));
    assert_eq!((dead.valid, dead.status), (Some(false), PointStatus::Failed));
}

#[test]
fn several_tokens_a_chunk_are_as_many_gaps() {
    let mut r = record(0, 0, 0);
    r.timeline.chunks[2].tokens = 2;
    r.timeline.output_tokens = Some(TokenCount(4));
    let latencies = latencies::Latencies::of(&Samples::from_records([&r], None), &[]);
    let itl = latencies.itl.expect("gaps");
    assert_eq!((itl.count, latencies.itl_per_token), (3, true));
    assert!((itl.mean - 0.02 / 3.0).abs() < 1e-7);
}

#[test]
fn a_single_token_meets_any_tpot_and_has_none() {
    let mut r = record(0, 0, 0);
    r.timeline.output_tokens = Some(TokenCount(1));
    r.timeline.last_token = r.timeline.first_token;
    r.timeline.chunks.truncate(1);
    let samples = Samples::from_records([&r], None);
    let tight = slo(150.0, 0.001);
    assert_eq!(PointAttainment::of(&samples, &tight).expect("offered").both.percent(), 100.0);
    assert_eq!(latencies::Latencies::of(&samples, &[]).tpot, None);
}

#[test]
fn an_answer_that_nobody_counted_has_no_tpot_and_makes_its_point_doubtful() {
    let mut uncounted = records(2, 2);
    uncounted[0].timeline.output_tokens = None;
    let samples = Samples::from_records(&uncounted, None);
    let rows: Vec<_> = samples.rows().collect();
    assert_eq!((rows[0].tpot, rows[0].output_tokens, rows[0].served()), (None, None, true));
    assert!(rows[1].tpot.is_some());
    let easy = slo(150.0, 1e6);
    assert_eq!(PointAttainment::of(&samples, &easy).expect("offered").tpot.met, 1, "no limit is known to be kept");
    assert_eq!(summary::PointSummary::of(&samples, None, &[]).output_throughput, None);
    let judged = judge(&measured(&uncounted, |_| ()), ArmKind::Simple, &asked(easy));
    assert_eq!(judged.valid, Some(false));
    assert!(judged.why.iter().any(|why| why.contains("1 of 2 answers")), "{:?}", judged.why);
    let question = crate::analyse::Question { slo: easy, ..Default::default() };
    let report = crate::analyse::PointReport::new(&measured(&uncounted, |_| ()), ArmKind::Simple, &question);
    let attained = report.expect("offered").attainment;
    assert_eq!((attained.both, attained.ttft, attained.tpot), (None, Some(100.0), None), "unknown, not missed");
}

#[test]
fn answers_that_come_in_one_piece_have_no_tpot_and_one_of_many_is_chance() {
    let whole = |share: u32| {
        let mut all = records(200, 0);
        for record in &mut all {
            record.timeline.output_tokens = Some(TokenCount(16));
            if record.index < share {
                record.timeline.last_token = record.timeline.first_token;
            }
        }
        measured(&all, |_| ())
    };
    assert_eq!(why(&whole(20), ArmKind::Simple), [""; 0]);
    let point = whole(200);
    let told = why(&point, ArmKind::Simple);
    assert!(told.len() == 1 && told[0].contains("200 of 200 answers came in one piece"), "{told:?}");
    assert_eq!((point.samples.unknown_tpots(), point.samples.uncounted()), (200, 0));
    assert!(point.samples.latencies().all(|(_, tpot)| tpot == UNKNOWN_TPOT), "never 0");
}

#[test]
fn the_parts_of_ttft_add_up_to_it_and_what_nobody_stamped_is_absent() {
    let mut staged = records(10, 2);
    for r in &mut staged {
        let at = |t: u64| Some(Offset::from_nanos(r.timeline.due.as_nanos() + t * 1_000_000));
        r.stages = Some(Stages {
            accepted: at(3),
            prefill_sent: at(4),
            prefill_head: at(60),
            decode_sent: at(61),
            first_byte: at(101),
            end: at(122),
            prefill: Some(0),
            decode: Some(0),
        });
    }
    let queue = |secs: f64| Some(TimeSum { secs, count: 10.0 });
    let engines = EngineCounters { prefill_queue: queue(0.4), decode_queue: queue(0.05), ..EngineCounters::default() };
    let point = measured(&staged, |f| f.engines = Some(engines));
    let told = attribution::Attribution::of(&point, &slo(50.0, 20.0));
    let t = told.time;
    let parts = [t.slot_wait, t.client_lag, t.to_proxy, t.proxy, t.prefill, t.hand_off, t.first_byte, t.back];
    let sum: f64 = parts.iter().map(|p| p.expect("stamped")).sum();
    assert!((sum - t.ttft.expect("served")).abs() < 1e-9);
    assert!((t.prefill.expect("stamped") - 0.056).abs() < 1e-9);
    assert_eq!(t.kv_transfer, None);
    assert_eq!((told.binding, told.shift), (attribution::Binding::Ttft, Some(attribution::Shift::MorePrefill)));

    let direct = attribution::Attribution::of(&measured(&records(10, 2), |_| ()), &slo(150.0, 5.0));
    assert_eq!((direct.time.prefill, direct.binding, direct.shift), (None, attribution::Binding::Tpot, None));

    // What nobody counted is no miss of a limit, and no reason to say that there was none.
    let mut uncounted = records(10, 2);
    uncounted.iter_mut().for_each(|record| record.timeline.output_tokens = None);
    let told = attribution::Attribution::of(&measured(&uncounted, |_| ()), &slo(150.0, 5.0));
    assert_eq!(told.binding, attribution::Binding::Unknown);
}

#[test]
fn stages_that_overlap_still_add_up_and_decodes_wait_for_the_prompt_is_no_queue() {
    let point = |decode_head: u64, first_byte: u64| {
        let mut staged = records(10, 2);
        for r in &mut staged {
            let at = |t: u64| Some(Offset::from_nanos(r.timeline.due.as_nanos() + t * 1_000_000));
            r.stages = Some(Stages {
                accepted: at(3),
                prefill_sent: at(4),
                prefill_head: at(decode_head),
                decode_sent: at(5),
                first_byte: at(first_byte),
                end: at(122),
                prefill: Some(0),
                decode: Some(0),
            });
        }
        let queue = |secs: f64| Some(TimeSum { secs, count: 10.0 });
        let engines = EngineCounters {
            prefill_queue: queue(0.1),
            decode_queue: queue(0.75),
            kv_transfers: Some(10.0),
            kv_pushed: Some(10.0),
            kv_transfer_secs: Some(0.5),
            ..EngineCounters::default()
        };
        attribution::Attribution::of(&measured(&staged, |f| f.engines = Some(engines)), &slo(500.0, 20.0)).time
    };
    let near = |a: Option<f64>, b: f64| assert!((a.expect("stamped") - b).abs() < 1e-9, "{a:?} {b}");
    let t = point(60, 101);
    let parts = [t.slot_wait, t.client_lag, t.to_proxy, t.proxy, t.prefill, t.hand_off, t.first_byte, t.back];
    near(t.ttft, parts.iter().map(|p| p.expect("stamped")).sum());
    near(t.prefill, 0.056);
    near(t.hand_off, 0.0);
    near(t.first_byte, 0.041);
    // Of 75 ms in decode's queue, 55 were waiting for the prompt.
    near(t.decode_queue, 0.020);
    assert_eq!(t.kv_transfer, None, "it ends at prefill's next step");
    // Decode's first token may be here before prefill's answer is.
    let t = point(105, 101);
    near(t.prefill, 0.097);
    near(t.first_byte, 0.0);
}
