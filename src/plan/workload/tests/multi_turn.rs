//! Conversations of several turns.

use super::*;
use std::collections::HashMap;

/// Conversations `c0`, `c1`, .. of this many turns; each turn's question names both.
fn conversations(turns: &[usize]) -> String {
    let turn = |from: &str, value: String| json!({"from": from, "value": value});
    let all: Vec<_> = (0..)
        .zip(turns)
        .map(|(c, turns)| {
            let said =
                (0..*turns).flat_map(|t| [turn("human", format!("c{c} q{t}")), turn("gpt", format!("c{c} a{t} yes"))]);
            json!({"id": c, "conversations": said.collect::<Vec<_>>()})
        })
        .collect();
    json!(all).to_string()
}

fn prepared(turns: &[usize], open: u32, endpoint: Endpoint, load: &Load, context: Option<u32>) -> PreparedWorkload {
    let (_dir, path) = file("sharegpt.json", &conversations(turns));
    let dataset = Dataset::Sharegpt { path, output_len: None, multi_turn: Some(open) };
    let workload = Workload { endpoint, ..workload(dataset) };
    let context = PrepareContext { max_model_len: context.map(TokenCount), ..PrepareContext::default() };
    PreparedWorkload::prepare_with(&workload, load, context, Some(&byte_level(100))).expect("prepares")
}

/// The last question of every request of a point, as (conversation, turn).
fn order(prepared: &PreparedWorkload, per_second: f64, attempt: u32) -> Vec<(String, usize)> {
    let schedule = prepared.schedule(rate(per_second), attempt).expect("schedules");
    let last = |r: &Request| {
        let Prompt::Messages(messages) = prepared.render(r) else { panic!("a chat") };
        let (conversation, turn) = messages.last().and_then(|m| m.content.split_once(" q")).expect("a question");
        (conversation.to_string(), turn.parse().expect("a turn"))
    };
    schedule.requests.iter().map(last).collect()
}

#[test]
fn every_turn_carries_the_conversation_so_far() {
    let prepared = prepared(&[3], 1, Endpoint::Chat, &Load { rates: vec![rate(2.0)], attempts: 1, ..load(3) }, None);
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    let bodies: Vec<_> =
        schedule.requests.iter().map(|r| String::from_utf8(prepared.render(r).to_json()).expect("UTF-8")).collect();
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let third = json!([
        said("user", "c0 q0"),
        said("assistant", "c0 a0 yes"),
        said("user", "c0 q1"),
        said("assistant", "c0 a1 yes"),
        said("user", "c0 q2"),
    ]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&bodies[2]).expect("JSON"), third);
    assert_eq!(bodies[0].matches("role").count(), 1);
    let lengths: Vec<u32> = schedule.requests.iter().map(|r| r.prompt_tokens.get()).collect();
    assert!(lengths.is_sorted() && lengths[0] < lengths[2], "{lengths:?}");
    assert!(schedule.requests.iter().all(|r| r.output_tokens == TokenCount(byte_level(100).count("c0 a0 yes"))));
}

#[test]
fn turns_fall_due_in_order_and_open_conversations_alternate() {
    let prepared = prepared(&[4; 20], 3, Endpoint::Chat, &Load { attempts: 1, ..load(24) }, None);
    let order = order(&prepared, 2.0, 1);
    let mut next: HashMap<&str, usize> = HashMap::new();
    for (position, (conversation, turn)) in order.iter().enumerate() {
        assert_eq!(next.insert(conversation, turn + 1).unwrap_or(0), *turn, "{order:?}");
        // Two others between any two turns of one conversation.
        assert!(order[position.saturating_sub(2)..position].iter().all(|(c, _)| c != conversation), "{order:?}");
    }
    assert_eq!(order[..4].iter().map(|o| o.1).collect::<Vec<_>>(), [0, 0, 0, 1]);
}

#[test]
fn points_never_go_on_with_each_others_conversations() {
    let prepared = prepared(&[1, 2, 3, 4, 5].repeat(20), 4, Endpoint::Chat, &load(17), None);
    let mut seen: HashSet<String> = HashSet::new();
    for (per_second, attempt) in [(2.0, 1), (4.0, 1), (2.0, 2), (4.0, 2)] {
        let held: HashSet<String> = order(&prepared, per_second, attempt).into_iter().map(|o| o.0).collect();
        assert!(seen.is_disjoint(&held));
        seen.extend(held);
        assert_eq!(prepared.schedule(rate(per_second), attempt).expect("schedules").repeats, 0);
    }
}

#[test]
fn held_conversations_are_counted_where_there_are_too_few() {
    let prepared = prepared(&[2, 2], 1, Endpoint::Chat, &load(3), None);
    let repeats = |per_second, attempt| prepared.schedule(rate(per_second), attempt).expect("schedules").repeats;
    assert_eq!((repeats(2.0, 1), repeats(4.0, 1)), (0, 3));
}

#[test]
fn a_conversation_ends_where_the_context_does() {
    let whole = prepared(&[6], 1, Endpoint::Chat, &load(6), None);
    let longest = whole.schedule(rate(2.0), 1).expect("schedules").requests[2];
    let limit = longest.prompt_tokens.get() + longest.output_tokens.get();
    let cut = prepared(&[6], 1, Endpoint::Chat, &load(6), Some(limit));
    let turns: Vec<usize> = order(&cut, 2.0, 1).into_iter().map(|o| o.1).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    assert_eq!(cut.report().clipped, 1);
}

#[test]
fn without_a_chat_the_conversation_is_one_text() {
    let prepared = prepared(&[2], 1, Endpoint::Completions, &load(2), None);
    let request = prepared.schedule(rate(2.0), 1).expect("schedules").requests[1];
    let text = "User: c0 q0\n\nAssistant: c0 a0 yes\n\nUser: c0 q1\n\nAssistant:";
    assert_eq!(prepared.render(&request), Prompt::Text(text.into()));
}
