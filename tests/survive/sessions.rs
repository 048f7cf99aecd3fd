//! Conversations in runs that stop and go on, and in searches, whose points nobody listed beforehand.

use crate::support::{Bench, RunDir, count};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Sixty chats of three turns each.
fn with_chats(bench: Bench) -> Bench {
    let turns = |chat: usize| {
        (0..3).flat_map(move |turn| {
            let question = format!("chat {chat} asks question {turn} {}", "of some length ".repeat(12));
            let answer = format!("answer {chat} {turn} is short");
            [json!({"role": "user", "content": question}), json!({"role": "assistant", "content": answer})]
        })
    };
    let chats: Vec<Value> = (0..60).map(|chat| json!({"messages": turns(chat).collect::<Vec<_>>()})).collect();
    let path = bench.dir.path().join("chats.json");
    std::fs::write(&path, json!(chats).to_string()).expect("writes");
    bench
        .args("--dataset-name sharegpt --endpoint /v1/chat/completions --dataset-path")
        .arg(&path.display().to_string())
}

/// Which turn of which session each request was.
fn turns(run: &RunDir, rate: f64) -> BTreeSet<(u64, u64)> {
    let place = |r: &Value| (r["session"].as_u64().expect("a session"), r["turn"].as_u64().expect("a turn"));
    run.requests(rate).iter().map(place).collect()
}

#[test]
fn sessions_whose_turns_wait_go_on_after_a_kill() {
    let words = "simple --causal --think-time 0.05 --request-rate 20,4 --num-prompts 12";
    let undisturbed = with_chats(Bench::new(words)).run();
    assert_eq!(undisturbed.code, Some(0), "{}", undisturbed.words);
    let bench = with_chats(Bench::new(words));
    let mut running = bench.start();
    let run = RunDir(running.dir());
    running.wait_sent(4.0, 2);
    running.signal(Signal::SIGKILL);
    running.finish();
    let before = run.requests(20.0);
    let finished = bench.resuming(&run.0).run();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert_eq!(run.manifest()["status"], "completed");
    assert_eq!(run.requests(20.0), before, "what was finished stays");
    let whole = RunDir(undisturbed.dir());
    for rate in [20.0, 4.0] {
        assert_eq!((count(&run.requests(rate), "completed"), turns(&run, rate).len()), (12, 12));
        assert_eq!(turns(&run, rate), turns(&whole, rate), "the sessions of an undisturbed run");
    }
}

#[test]
fn a_search_sends_each_turn_of_a_conversation_with_what_was_said_before() {
    let bench = with_chats(Bench::at_speed(1, "run simple:max-num-seqs=1 --multi-turn 4"));
    let bench = bench.args("--num-prompts 12 --output-len 8 --budget 12s --goodput ttft:400 tpot:60000");
    let finished = bench.run();
    assert!(matches!(finished.code, Some(0 | 4)), "{:?} {}", finished.code, finished.words);
    let run = RunDir(finished.dir());
    let points = run.manifest()["points"].as_array().expect("points").clone();
    assert!(points.len() >= 2, "{points:?}");
    let sent = kit::files::read_json_lines(run.0.join("trace.jsonl"));
    // Later turns carry what was said before them: prompts of a conversation grow.
    let lengths: BTreeSet<u64> = sent.iter().filter_map(|line| line["prompt_tokens"].as_u64()).collect();
    let (shortest, longest) = (lengths.first().expect("one"), lengths.last().expect("one"));
    assert!(*longest > 2 * shortest, "{lengths:?}");
}
