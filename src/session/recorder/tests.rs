use super::*;
use crate::outcome::{Chunk, Timeline};
use crate::units::TokenCount;

fn at(ms: u64) -> Offset {
    Offset::from_nanos(ms * 1_000_000)
}

fn record(outcome: Outcome, stages: Option<Stages>) -> RequestRecord {
    RequestRecord {
        index: 0,
        id: "tb-0".to_string(),
        prompt_tokens: TokenCount(8),
        max_tokens: TokenCount(4),
        timeline: Timeline { sent: Some(at(1)), last_token: Some(at(40)), end: at(5040), ..Timeline::default() },
        outcome,
        stages,
        turn: None,
        text: None,
    }
}

fn explained(outcome: Outcome, stages: Option<Stages>, abort: &Abort) -> Outcome {
    let mut record = record(outcome, stages);
    explain(&mut record, abort, stages.is_some());
    record.outcome
}

fn connect() -> Outcome {
    Outcome::Failed(Failure::Connect { detail: "reset".to_string() })
}

fn died(role: Role, index: u32) -> (Abort, Outcome) {
    let instance = format!("{}-{index}", role.name());
    let abort = Abort::Died { instance: instance.clone(), backend: Some(BackendIndex { role, index }) };
    (abort, Outcome::Failed(Failure::EngineDied { instance }))
}

#[test]
fn requests_in_a_dead_engines_hands_are_told_of_its_end_and_others_not() {
    let on = |prefill, decode, first_byte| Stages {
        prefill: Some(prefill),
        decode,
        decode_sent: decode.map(|_| at(20)),
        first_byte,
        ..Stages::default()
    };
    let (decode_1, told) = died(Role::Decode, 1);
    assert_eq!(explained(Outcome::Unfinished, Some(on(0, Some(1), None)), &decode_1), told);
    assert_eq!(explained(connect(), Some(on(0, Some(1), Some(at(30)))), &decode_1), told);
    assert_eq!(explained(connect(), Some(on(0, Some(0), None)), &decode_1), connect());
    assert_eq!(explained(Outcome::Unfinished, Some(on(0, None, None)), &decode_1), Outcome::Unfinished);
    let (prefill_0, told) = died(Role::Prefill, 0);
    assert_eq!(explained(Outcome::Unfinished, Some(on(0, None, None)), &prefill_0), told);
    assert_eq!(explained(connect(), Some(on(0, Some(1), None)), &prefill_0), told);
    assert_eq!(explained(Outcome::Unfinished, Some(on(0, Some(1), Some(at(30)))), &prefill_0), Outcome::Unfinished);
}

#[test]
fn what_was_served_shed_or_never_sent_is_not_the_deaths_doing() {
    let (abort, _) = died(Role::Replica, 0);
    assert_eq!(explained(Outcome::Completed, None, &abort), Outcome::Completed);
    let shed = Outcome::Failed(Failure::Shed { code: 429 });
    assert_eq!(explained(shed.clone(), None, &abort), shed);
    let mut never_sent = record(Outcome::Unfinished, None);
    never_sent.timeline.sent = None;
    explain(&mut never_sent, &abort, false);
    assert_eq!(never_sent.outcome, Outcome::Unfinished);
}

#[test]
fn without_a_proxy_the_one_engine_had_every_request() {
    let (abort, told) = died(Role::Replica, 0);
    assert_eq!(explained(Outcome::Unfinished, None, &abort), told);
    assert_eq!(explained(connect(), None, &abort), told);
}

#[test]
fn a_text_is_counted_as_no_more_tokens_than_were_asked_for_and_no_fewer_than_its_chunks() {
    let tokenizer = Tokenizer::load("enginesim").expect("embedded");
    let counted = |text: &str, chunks: u64, full_length: bool| {
        let mut answer = record(Outcome::Completed, None);
        answer.text = Some(text.to_string());
        answer.timeline.chunks = (0..chunks).map(|i| Chunk { at: at(i), tokens: 1 }).collect();
        count(&mut answer, &tokenizer, full_length);
        let known = answer.timeline.counted_by == CountedBy::Tokenizer;
        assert_eq!(known, answer.timeline.output_tokens.is_some());
        answer.timeline.output_tokens
    };
    let long = "a text of far more than four tokens, however it be cut";
    assert_eq!(counted(long, 2, true), Some(TokenCount(4)), "as many as were asked for");
    assert_eq!(counted(long, 5, true), Some(TokenCount(5)), "each chunk has one");
    assert_eq!(counted("a", 1, false), Some(TokenCount(1)), "it may end where it likes");
    assert_eq!(counted("a", 1, true), None, "cut short, or tokens without text: nobody knows");
}

#[test]
fn a_silence_stalls_what_it_cut_off_and_leaves_earlier_failures() {
    let abort = Abort::Silence { secs: 9.0 };
    let stalled = Outcome::Failed(Failure::Stalled { after_secs: 5.0, tokens: 0 });
    assert_eq!(explained(Outcome::Unfinished, None, &abort), stalled);
    assert_eq!(explained(connect(), None, &abort), connect());
}
