//! Sessions: turns that wait for answers, prompts that share what was said before, and who remembers it.

use crate::support::{Place, entries, read_json, read_json_lines};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Chats of three turns each, as OpenAI's messages have them.
fn chats(place: &Place, count: usize) -> String {
    let said = |c: usize, t: usize| {
        let question = format!("chat {c} asks question {t} {}", "of some length ".repeat(12));
        [
            json!({"role": "user", "content": question}),
            json!({"role": "assistant", "content": format!("answer {c} {t} is short")}),
        ]
    };
    let chat = |c: usize| json!({"messages": (0..3).flat_map(|t| said(c, t)).collect::<Vec<_>>()});
    let all: Vec<Value> = (0..count).map(chat).collect();
    place.write("chats.json", &json!(all).to_string()).display().to_string()
}

const CAUSAL: &str = "--dataset-name sharegpt --causal --think-time 0.05 --endpoint /v1/chat/completions";

#[test]
fn a_turn_is_due_think_time_after_the_answer_before_it_and_reports_say_so() {
    let place = Place::new();
    let path = chats(&place, 24);
    let line = format!("simple --tp 1 {CAUSAL} --dataset-path {path}");
    let report = place.measure(&line).measured().json();
    let run = &place.runs("sharegpt")[0];
    let records = read_json_lines(run.join("requests.jsonl"));
    assert_eq!(records.len(), 12);
    let key = |r: &Value, turn: u64| (r["rate"].to_string(), r["session"].as_u64(), turn);
    let ends: HashMap<_, f64> = records
        .iter()
        .map(|r| (key(r, r["turn"].as_u64().expect("a turn")), r["end"].as_f64().expect("an end")))
        .collect();
    let mut waited = 0;
    for record in &records {
        let (due, turn) = (record["due"].as_f64().expect("due"), record["turn"].as_u64().expect("a turn"));
        let planned = record["planned"].as_f64().expect("planned");
        assert!(due >= planned - 1e-9, "{record}");
        if turn > 0 {
            let end = ends[&key(record, turn - 1)];
            let think = record["think"].as_f64().expect("think time");
            assert!((due - end - think).abs() < 2e-6, "due {due}, the turn before ended at {end}, thought {think}");
            waited += 1;
        } else {
            assert_eq!(due, planned);
        }
    }
    assert_eq!(waited, 8);

    let point = &report["arms"][0]["points"][0];
    assert_eq!(point["sessions"]["offered"], 2, "{point}");
    assert_eq!(point["sessions"]["all_turns"], 100.0);
    let page = std::fs::read_to_string(run.join("report.html")).expect("a page");
    assert!(page.contains("<title>simple TP1, closed within a session, open between sessions</title>"));
    assert!(page.contains("Sessions that kept them") && page.contains("<b>Prefix cache.</b> simple TP1: "));
    let figure = std::fs::read_to_string(run.join("plots/vllm_benchmark_plots.svg")).expect("a figure");
    assert!(figure.contains("closed within a session, open between sessions"));

    // The same run, judged by session.
    let both = ["compare", "latest", "latest", "--goodput-per", "session", "--ttft-slo", "60s", "--json"];
    let judged = place.topobench(&both).measured().json();
    let point = &judged["arms"][0]["points"][0];
    assert_eq!((&point["offered"], &point["attainment"]["both"]), (&json!(2), &json!(100.0)), "{point}");
    assert!(point["why"][0].as_str().expect("a remark").starts_with("judged by sessions with all their turns"));
    assert_eq!(point["sessions"], Value::Null, "they are what is judged");
    assert_eq!(judged["goodput_per"], "session");
    let told = place.topobench(&both[..7]).measured().stdout;
    assert!(told.contains("judged per session"), "{told}");
    let comparisons = entries(&place.results().join("comparisons"));
    let page = std::fs::read_to_string(comparisons[0].join("report.html")).expect("a page");
    assert!(page.contains("kept by 90 % of the sessions with all their turns."), "the page says what is judged");
    assert!(page.contains("Points (sessions each)"));
}

#[test]
fn arms_get_the_same_bytes_whatever_they_answered_when() {
    let place = Place::new();
    let path = chats(&place, 24);
    let arms = "ab simple:tp=1 simple:tp=1,max-num-batched-tokens=64";
    let compared = place.measure(&format!("{arms} {CAUSAL} --dataset-path {path} --order AB")).measured().json();
    assert_eq!(compared["paired"], true, "{compared}");
    let rate = |arm: usize| compared["arms"][arm]["points"][0]["realised_rate"].as_f64().expect("a rate");
    assert_eq!(rate(0), rate(1), "what is offered is the plan's doing");
}

#[test]
fn sessions_need_a_dataset_that_has_them() {
    let place = Place::new();
    let refused = |line: &str, told: &str| {
        let ended = place.measure(line).expect(2);
        assert!(ended.stderr.contains(told), "{line}: {}", ended.stderr);
    };
    refused("simple --causal", "--dataset-name sharegpt");
    refused("simple --think-time 3", "--causal");
    refused("simple --goodput-per session", "--causal");
    refused("simple --causal --dataset-name sharegpt --multi-turn 4", "--multi-turn");
}

#[test]
fn replicas_that_get_prompts_by_their_beginning_find_more_of_them() {
    let place = Place::new();
    let arms = "ab simple:tp=1,replicas=2 simple:tp=1,replicas=2,proxy.policy=prefix-aware --order AB";
    let engine = "--engine sim --engine-arg=--sim-speed=50 --engine-arg=--sim-start-delay=0 --num-warmups 1";
    let load = "--random-input-len 64 --random-output-len 8 --random-prefix-len 512 --random-prefix-count 24";
    let line = format!("{arms} {engine} {load} --num-prompts 64 --request-rate 60 --ttft-slo 60s");
    let compared = place.type_in(&line).measured();
    let report = read_json(entries(&place.results().join("comparisons"))[0].join("compare.json"));
    let hits = |arm: usize| report["arms"][arm]["prefix_cache"]["replica"]["hit_percent"].as_f64().expect("counted");
    assert!(hits(1) > hits(0), "{} and {}", hits(0), hits(1));
    let repeated = report["arms"][0]["prefix_cache"]["repeated_percent"].as_f64().expect("known");
    assert!(
        (40.0..75.0).contains(&repeated),
        "some forty of 64 prompts begin with 512 known tokens of 576: {repeated}"
    );
    assert_eq!(report["arms"][1]["settings"]["proxy.policy"], "prefix-aware");
    let told = &compared.stdout;
    assert!(!told.contains("flatters"), "what the workload shares is no accident: {told}");
    assert!(
        told.contains("prefix cache: simple 2xTP1: ") && told.contains("proxy.policy=prefix-aware sends"),
        "{told}"
    );
}
