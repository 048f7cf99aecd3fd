//! Sessions whose turns wait for each other.

use super::*;
use crate::outcome::SessionTurn;
use crate::plan::load::Causal;
use crate::units::Offset;
use std::collections::{HashMap, HashSet};

fn chats(turns: &[usize]) -> String {
    let said = |c: usize, t: usize| {
        [
            json!({"role": "user", "content": format!("c{c} q{t}")}),
            json!({"role": "assistant", "content": format!("c{c} a{t}")}),
        ]
    };
    let chat = |(c, n): (usize, &usize)| json!({"messages": (0..*n).flat_map(|t| said(c, t)).collect::<Vec<_>>()});
    json!(turns.iter().enumerate().map(chat).collect::<Vec<_>>()).to_string()
}

fn causal(think_secs: f64, requests: u32) -> Load {
    Load { causal: Some(Causal { think_secs }), rates: vec![rate(2.0), rate(4.0)], attempts: 2, ..load(requests) }
}

fn conversations(turns: &[usize], load: &Load) -> PreparedWorkload {
    let (_dir, path) = file("chats.json", &chats(turns));
    let dataset = Dataset::Sharegpt { path, output_len: None, multi_turn: None };
    let workload = Workload { endpoint: Endpoint::Chat, ..workload(dataset) };
    PreparedWorkload::prepare_with(&workload, load, PrepareContext::default(), Some(&byte_level(100)))
        .expect("prepares")
}

fn sessions(schedule: &Schedule) -> HashMap<u32, Vec<SessionTurn>> {
    let mut all: HashMap<u32, Vec<SessionTurn>> = HashMap::new();
    schedule.turns.iter().for_each(|turn| all.entry(turn.session).or_default().push(*turn));
    all
}

#[test]
fn a_turn_is_planned_think_time_after_the_one_before_and_every_point_has_conversations_of_its_own() {
    let prepared = conversations(&[3, 1, 4, 2, 5, 3, 2, 1, 4, 3, 3, 3, 2, 2], &causal(2.0, 8));
    let mut said = HashSet::new();
    for (per_second, attempt) in [(2.0, 1), (4.0, 1), (2.0, 2), (4.0, 2)] {
        let schedule = prepared.schedule(rate(per_second), attempt).expect("schedules");
        assert_eq!((schedule.requests.len(), schedule.turns.len()), (8, 8));
        assert!(schedule.requests.is_sorted_by_key(|r| r.due));
        for turns in sessions(&schedule).values() {
            assert_eq!(turns[0].think, Offset::ZERO);
            for (number, turn) in turns.iter().enumerate() {
                assert_eq!((turn.turn as usize, turn.of as usize), (number, turns.len()));
            }
            for pair in turns.windows(2) {
                assert_eq!(pair[1].planned.as_nanos(), pair[0].planned.as_nanos() + pair[1].think.as_nanos());
            }
        }
        for (request, turn) in schedule.requests.iter().zip(&schedule.turns) {
            assert_eq!(request.due, turn.planned);
            let prompt = String::from_utf8(prepared.render(request).to_json()).expect("UTF-8");
            assert_eq!(prompt.matches("assistant").count(), turn.turn as usize, "{prompt}");
            if turn.turn == 0 {
                assert!(said.insert(prompt), "a conversation begins once in a run");
            }
        }
        assert_eq!(schedule, prepared.schedule(rate(per_second), attempt).expect("schedules"), "the same again");
    }
}

#[test]
fn sessions_begin_so_that_the_rate_is_in_requests() {
    let turns = vec![4; 600];
    let prepared = conversations(&turns, &Load { rates: vec![rate(8.0)], attempts: 1, ..causal(3.0, 2000) });
    let schedule = prepared.schedule(rate(8.0), 1).expect("schedules");
    let starts: Vec<f64> = schedule.turns.iter().filter(|t| t.turn == 0).map(|t| t.planned.as_secs()).collect();
    let (begun, span) = (starts.len() as f64, starts.last().expect("some") - starts[0]);
    assert!((begun / span - 2.0).abs() < 0.25, "two sessions of four turns a second: {}", begun / span);
    let thinks: Vec<f64> = schedule.turns.iter().filter(|t| t.turn > 0).map(|t| t.think.as_secs()).collect();
    let mean = thinks.iter().sum::<f64>() / thinks.len() as f64;
    assert!((mean - 3.0).abs() < 0.3, "{mean}");
    assert_eq!(schedule.repeated_tokens.map(|n| n > 0), Some(true));
}

#[test]
fn a_trace_names_its_sessions_and_may_say_how_long_was_thought() {
    let lines = [
        json!({"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [1, 2], "session_id": "a"}),
        json!({"timestamp": 100, "input_length": 20, "output_length": 2, "hash_ids": [7], "session_id": 5}),
        json!({"timestamp": 200, "input_length": 1200, "output_length": 2, "hash_ids": [1, 2, 3], "session_id": "a", "delay": 1500}),
        json!({"timestamp": 900, "input_length": 30, "output_length": 2}),
    ];
    let text = lines.map(|line| line.to_string()).join("\n");
    let (_dir, path) = file("trace.jsonl", &text);
    let load = Load { arrivals: Arrivals::Trace, rates: vec![rate(2.0)], attempts: 1, ..causal(9.0, 4) };
    let trace = workload(Dataset::TimedTrace { path });
    let prepared = PreparedWorkload::prepare(&trace, &load, PrepareContext::default()).expect("prepares");
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    let all = sessions(&schedule);
    assert_eq!(all.len(), 3, "the last line is a session of its own");
    assert_eq!(all[&0][1].think, Offset::from_secs(1.5));
    let of = |session: u32, turn: u32| {
        let at = schedule.turns.iter().position(|t| (t.session, t.turn) == (session, turn)).expect("a turn");
        let Prompt::TokenIds(ids) = prepared.render(&schedule.requests[at]) else { panic!("ids") };
        ids
    };
    assert_eq!(of(0, 0)[..600], of(0, 1)[..600], "its blocks are in the prompt of the turn after");
    assert_eq!((of(1, 0).len(), of(2, 0).len()), (20, 30));
    // The second turn begins with the 512 tokens of the first block, and with the 88 that the second one had.
    assert_eq!(schedule.repeated_tokens, Some(600));
}

#[test]
fn a_trace_without_sessions_is_refused_by_name() {
    let line = json!({"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [1, 2]}).to_string();
    let (_dir, path) = file("trace.jsonl", &line);
    let load = Load { arrivals: Arrivals::Trace, ..causal(1.0, 2) };
    let refused = PreparedWorkload::prepare(&workload(Dataset::TimedTrace { path }), &load, PrepareContext::default());
    let told = refused.expect_err("no sessions").to_string();
    assert!(told.contains("no line names its session") && told.contains("--causal"), "{told}");
}

#[test]
fn sessions_that_outlast_their_point_are_warned_about() {
    let turns = vec![5; 40];
    let warned = |think: f64| {
        conversations(&turns, &causal(think, 40)).warnings().iter().any(|w| w.contains("think time alone"))
    };
    assert!(warned(30.0) && !warned(0.1));
}
