mod causal;
mod found;
mod fresh;
mod multi_turn;
mod prefixes;

use super::source::Source;
use super::tokenizer::tests::byte_level;
use super::*;
use crate::outcome::Request;
use crate::plan::dataset::Dataset;
use crate::plan::lengths::{Lengths, Prefixes};
use crate::plan::load::{Arrivals, Endpoint, Extent, Load, Overlong, Workload};
use crate::units::{RequestRate, TokenCount};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

fn rate(per_second: f64) -> RequestRate {
    RequestRate::new(per_second).expect("positive")
}

fn load(requests: u32) -> Load {
    Load { attempts: 2, seed: 7, ..Load::poisson(vec![rate(2.0), rate(4.0)], Extent::Requests(requests)) }
}

fn workload(dataset: Dataset) -> Workload {
    Workload::completions(dataset)
}

fn random(prefix: u32) -> Workload {
    let input = Lengths::Uniform { tokens: TokenCount(100), range_ratio: 0.5 };
    let output = Lengths::Fixed { tokens: TokenCount(16) };
    workload(Dataset::Random { input, output, prefix_len: TokenCount(prefix), prefixes: Prefixes::default() })
}

fn prepare(workload: &Workload, load: &Load) -> PreparedWorkload {
    PreparedWorkload::prepare(workload, load, PrepareContext::default()).expect("prepares")
}

fn ids(prompt: Prompt) -> Vec<u32> {
    match prompt {
        Prompt::TokenIds(ids) => ids,
        other => panic!("expected token ids, got {other:?}"),
    }
}

/// Writes a dataset into a directory that lives as long as the returned guard.
fn file(name: &str, content: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("write");
    let path = path.to_str().expect("UTF-8").to_string();
    (dir, path)
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/traces/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn random_prompts_have_exactly_the_planned_length_and_share_only_the_prefix() {
    let prepared = prepare(&random(20), &load(30));
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    let prompts: Vec<_> = schedule.requests.iter().map(|r| ids(prepared.render(r))).collect();
    for (request, prompt) in schedule.requests.iter().zip(&prompts) {
        assert_eq!(prompt.len(), request.prompt_tokens.get() as usize);
        assert!((70..=170).contains(&prompt.len()));
        assert_eq!(prompt[..20], prompts[0][..20]);
    }
    let continuations: HashSet<_> = prompts.iter().map(|p| &p[20..24]).collect();
    assert_eq!(continuations.len(), 30);
}

#[test]
fn the_same_plan_gives_the_same_trace_and_another_seed_another() {
    let hash = |load: &Load| {
        let prepared = prepare(&random(0), load);
        prepared.trace_hash(&prepared.schedule(rate(2.0), 1).expect("schedules"))
    };
    assert_eq!(hash(&load(10)), hash(&load(10)));
    assert_ne!(hash(&load(10)), hash(&Load { seed: 8, ..load(10) }));
}

#[test]
fn a_trace_stays_what_it_was_in_earlier_versions() {
    let prepared = prepare(&random(4), &load(3));
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    let lines: Vec<_> = prepared.trace_lines(&schedule).collect();
    insta::assert_json_snapshot!(lines);
}

#[test]
fn rates_and_attempts_never_share_random_prompts() {
    let prepared = prepare(&random(0), &load(5));
    let mut seen = HashSet::new();
    for (per_second, attempt) in [(2.0, 1), (4.0, 1), (2.0, 2), (4.0, 2)] {
        let schedule = prepared.schedule(rate(per_second), attempt).expect("schedules");
        seen.extend(schedule.requests.iter().map(|r| ids(prepared.render(r))));
    }
    assert_eq!(seen.len(), 20);
}

#[test]
fn known_vocabularies_are_used_without_their_special_tokens() {
    let tokenizer = byte_level(100);
    let context = PrepareContext::default();
    let prepared = PreparedWorkload::prepare_with(&random(0), &load(20), context, Some(&tokenizer)).expect("prepares");
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    let vocabulary: HashSet<u32> = tokenizer.ordinary_ids().into_iter().collect();
    for request in &schedule.requests {
        assert!(ids(prepared.render(request)).iter().all(|id| vocabulary.contains(id)));
    }
}

#[test]
fn random_chats_are_texts_of_exact_length() {
    let tokenizer = byte_level(200);
    let chat = Workload { endpoint: Endpoint::Chat, ..random(5) };
    let context = PrepareContext::default();
    let prepared = PreparedWorkload::prepare_with(&chat, &load(10), context, Some(&tokenizer)).expect("prepares");
    for request in &prepared.schedule(rate(2.0), 1).expect("schedules").requests {
        let Prompt::Messages(messages) = prepared.render(request) else { panic!("a chat sends messages") };
        assert_eq!(tokenizer.count(&messages[0].content), request.prompt_tokens.get());
    }
    let refused = PreparedWorkload::prepare(&chat, &load(1), context).expect_err("no tokenizer");
    assert!(matches!(refused, WorkloadError::ChatNeedsTokenizer));
}

#[test]
fn overlong_random_requests_are_refused_or_clipped() {
    let context = PrepareContext { max_model_len: Some(TokenCount(100)), ..PrepareContext::default() };
    let refused = PreparedWorkload::prepare(&random(0), &load(50), context).expect_err("too long");
    assert!(refused.to_string().contains("context of 100"), "{refused}");
    let clip = PrepareContext { overlong: Overlong::Clip, ..context };
    let prepared = PreparedWorkload::prepare(&random(0), &load(50), clip).expect("clips");
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    assert!(schedule.clipped > 0);
    assert!(schedule.requests.iter().all(|r| r.prompt_tokens.get() + 16 <= 100));
}

fn custom(lines: usize) -> String {
    (0..lines).map(|i| json!({"prompt": format!("{i} ab"), "output_tokens": i + 1}).to_string() + "\n").collect()
}

fn prepare_texts(dataset: Dataset, load: &Load) -> Result<PreparedWorkload, WorkloadError> {
    PreparedWorkload::prepare_with(&workload(dataset), load, PrepareContext::default(), Some(&byte_level(100)))
}

#[test]
fn texts_are_drawn_without_replacement_over_the_whole_run_and_repeats_are_counted() {
    let (_dir, path) = file("custom.jsonl", &custom(25));
    let prepared = prepare_texts(Dataset::Custom { path, output_len: None }, &load(10)).expect("prepares");
    let point = |per_second, attempt| prepared.schedule(rate(per_second), attempt).expect("schedules");
    let points = [point(2.0, 1), point(4.0, 1), point(2.0, 2), point(4.0, 2)];
    assert_eq!(points.each_ref().map(|s| s.repeats), [0, 0, 5, 10]);
    let sent: HashSet<u64> = points.iter().flat_map(|s| s.requests.iter().map(|r| r.seed)).collect();
    assert_eq!(sent.len(), 25);
    let first = &points[0].requests[0];
    let Prompt::Text(text) = prepared.render(first) else { panic!("text") };
    let line: u32 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("numbered");
    assert_eq!(first.output_tokens, TokenCount(line + 1));
}

#[test]
fn points_by_duration_go_on_where_the_earlier_ones_ended() {
    let (_dir, path) = file("custom.jsonl", &custom(200));
    let timed = Load { extent: Extent::Duration(Duration::from_secs(10)), ..load(0) };
    let prepared = prepare_texts(Dataset::Custom { path, output_len: None }, &timed).expect("prepares");
    let (first, second) = (prepared.schedule(rate(2.0), 1), prepared.schedule(rate(4.0), 1));
    let first: HashSet<u64> = first.expect("schedules").requests.iter().map(|r| r.seed).collect();
    assert!(!first.is_empty());
    assert!(second.expect("schedules").requests.iter().all(|r| !first.contains(&r.seed)));
}

#[test]
fn sharegpt_takes_the_first_question_and_the_length_of_its_answer() {
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let conversations = json!([
        {"id": "a", "conversations": [turn("system", "s"), turn("human", "a b c d e"), turn("gpt", "a b c d"), turn("human", "?")]},
        {"id": "short", "conversations": [turn("human", "a b"), turn("gpt", "a b c d e f")]},
        {"id": "long", "conversations": [turn("human", &"a ".repeat(1030)), turn("gpt", "a b c d e f")]},
        {"id": "alone", "conversations": [turn("human", "nobody answers")]},
        {"id": "empty", "conversations": []},
    ]);
    let (_dir, path) = file("sharegpt.json", &conversations.to_string());
    let prepared =
        prepare_texts(Dataset::Sharegpt { path, output_len: None, multi_turn: None }, &load(3)).expect("prepares");
    assert_eq!(prepared.report(), PrepareReport { candidates: 3, too_short: 1, too_long: 1, ..Default::default() });
    let told = &prepared.warnings()[0];
    assert!(told.contains("2 of 5 rows were skipped (row 4: no question in it has an answer; row 5"), "{told}");
    let request = prepared.schedule(rate(2.0), 1).expect("schedules").requests[0];
    assert_eq!(prepared.render(&request), Prompt::Text("a b c d e".into()));
    assert_eq!(request.output_tokens, TokenCount(4));
}

#[test]
fn hugging_face_files_of_every_format_are_read_by_column() {
    let rows = "[{\"question\": \"ab\", \"id\": 1}, {\"question\": \"cd\", \"id\": 2}]";
    let jsonl = "{\"question\": \"ab\"}\n\n{\"question\": \"cd\"}\n";
    for (name, content) in [("d.json", rows), ("d.jsonl", jsonl), ("d.csv", "id,question\n1,ab\n2,cd\n")] {
        let (_dir, path) = file(name, content);
        let column = (name == "d.csv").then(|| "question".to_string());
        let dataset = Dataset::Hf { path, column, output_len: Some(TokenCount(9)) };
        let prepared = prepare_texts(dataset, &load(2)).expect(name);
        let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
        let texts: HashSet<_> = schedule.requests.iter().map(|r| prepared.render(r).to_json()).collect();
        assert_eq!(texts, HashSet::from([b"\"ab\"".to_vec(), b"\"cd\"".to_vec()]), "{name}");
    }
}

#[test]
fn a_bad_row_is_named_with_file_line_value_and_remedy() {
    let told = |content: &str| {
        let (_dir, path) = file("bad.jsonl", content);
        let error = prepare_texts(Dataset::Custom { path, output_len: None }, &load(2)).expect_err("refused");
        error.to_string().rsplit_once('/').expect("a path").1.to_string()
    };
    insta::assert_snapshot!(
        [
            told("{\"promt\": \"a\"}\n"),
            told("{\"prompt\": \"a\"}\n"),
            told("{\"prompt\": \"a\", \"output_tokens\": -4}\n"),
            told("\nnot json\n"),
            told(""),
        ]
        .join("\n")
    );
}

#[test]
fn azure_traces_keep_their_times_and_lengths() {
    let trace = workload(Dataset::TimedTrace { path: fixture("azure_head.csv") });
    let recorded = Load { arrivals: Arrivals::Recorded, ..load(3) };
    let prepared = prepare(&trace, &recorded);
    let schedule = prepared.schedule(rate(9.0), 1).expect("schedules");
    let seen: Vec<_> = schedule.requests.iter().map(|r| (r.prompt_tokens.get(), r.output_tokens.get())).collect();
    assert_eq!(seen, [(374, 44), (396, 109), (879, 55)]);
    let due: Vec<i64> = schedule.requests.iter().map(|r| (r.due.as_secs() * 1e6).round() as i64).collect();
    assert_eq!(due, [0, 4_314_579, 4_541_877]);
    assert_eq!(ids(prepared.render(&schedule.requests[2])).len(), 879);
}

#[test]
fn mooncake_requests_with_equal_hashes_share_their_blocks_within_a_point_only() {
    let trace = workload(Dataset::TimedTrace { path: fixture("mooncake_few.jsonl") });
    let prepared = prepare(&trace, &load(5));
    let prompts = |per_second| -> Vec<Vec<u32>> {
        let schedule = prepared.schedule(rate(per_second), 1).expect("schedules");
        schedule.requests.iter().map(|r| ids(prepared.render(r))).collect()
    };
    let first = prompts(2.0);
    let Source::Recorded { trace, .. } = &prepared.source else { panic!("recorded") };
    let shared: Vec<usize> = (0..5).filter(|i| trace.arrivals[*i].blocks[0] == 708).collect();
    assert_eq!(shared.len(), 3);
    for pair in shared.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|i| (&trace.arrivals[i].blocks, &first[i]));
        let same = a.0.iter().zip(b.0).take_while(|(x, y)| x == y).count();
        assert!(same >= 1 && same < a.0.len());
        assert_eq!(a.1[..same * 512], b.1[..same * 512]);
        assert_ne!(a.1[same * 512..][..20], b.1[same * 512..][..20]);
    }
    assert_ne!(first[shared[0]][..20], prompts(4.0)[shared[0]][..20]);
}

#[test]
fn overlong_recorded_requests_can_be_left_out() {
    let trace = workload(Dataset::TimedTrace { path: fixture("azure_head.csv") });
    let context = |overlong| PrepareContext { max_model_len: Some(TokenCount(600)), overlong, template_tokens: 0 };
    let refused = PreparedWorkload::prepare(&trace, &load(8), context(Overlong::Refuse)).expect_err("too long");
    assert!(refused.to_string().contains("azure_head.csv, request 3: 879 prompt + 55 output"), "{refused}");
    let skipping = PreparedWorkload::prepare(&trace, &load(8), context(Overlong::Skip)).expect("skips");
    assert_eq!(skipping.report().skipped, 2);
    let schedule = skipping.schedule(rate(2.0), 1).expect("schedules");
    assert_eq!(schedule.repeats, 0, "the trace starts over, with prompts made up anew");
    assert!(schedule.requests.iter().all(|r| r.prompt_tokens.get() + r.output_tokens.get() <= 600));
}
