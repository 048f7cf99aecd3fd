//! No prompt repeats within an engine's life, warm-up included, unless the dataset says so.

use super::*;

/// Every prompt that an engine sees: warm-up, then each point.
fn all_prompts(prepared: &PreparedWorkload, warm_ups: u32) -> Vec<Vec<u8>> {
    let warm = prepared.warm_ups(warm_ups).expect("warm-ups").into_iter().map(|w| w.prompt.to_json());
    let points = [(2.0, 1), (4.0, 1), (2.0, 2), (4.0, 2)];
    let measured = points.into_iter().flat_map(|(per_second, attempt)| {
        let schedule = prepared.schedule(rate(per_second), attempt).expect("schedules");
        assert_eq!(schedule.repeats, 0);
        schedule.requests.iter().map(|r| prepared.render(r).to_json()).collect::<Vec<_>>()
    });
    warm.chain(measured).collect()
}

fn assert_fresh(prepared: &PreparedWorkload, warm_ups: u32, measured: usize) {
    let prompts = all_prompts(prepared, warm_ups);
    assert_eq!(prompts.len(), warm_ups as usize + measured);
    let different: HashSet<_> = prompts.iter().collect();
    assert_eq!(different.len(), prompts.len());
    // Nor do two of them begin alike for as long as a prefix cache's block.
    let beginnings: HashSet<&[u8]> = prompts.iter().map(|p| &p[..p.len().min(24)]).collect();
    assert_eq!(beginnings.len(), prompts.len());
}

#[test]
fn random_prompts_are_fresh_at_every_rate_attempt_and_in_the_warm_up() {
    // More warm-ups than a point has requests.
    assert_fresh(&prepare(&random(0), &load(5)), 12, 20);
}

#[test]
fn recorded_traces_are_fresh_at_every_rate_attempt_and_in_the_warm_up() {
    let trace = workload(Dataset::TimedTrace { path: fixture("azure_head.csv") });
    assert_fresh(&prepare(&trace, &load(3)), 5, 12);
}

#[test]
fn a_dataset_that_suffices_for_the_run_alone_is_not_warmed_up_with() {
    let lines: String = (0..20)
        .map(|i| {
            json!({"prompt": format!("{i:02} {}", "some words that are the prompt's own ".repeat(3))}).to_string()
                + "\n"
        })
        .collect();
    let (_dir, path) = file("custom.jsonl", &lines);
    let dataset = Dataset::Custom { path, output_len: Some(TokenCount(8)) };
    let prepared = prepare_texts(dataset, &load(5)).expect("prepares");
    assert_fresh(&prepared, 30, 20);
}

#[test]
fn a_warm_up_text_is_no_longer_than_the_text_it_was() {
    let text = "words of a text ".repeat(20);
    let (_dir, path) = file("custom.jsonl", &json!({"prompt": text, "output_tokens": 8}).to_string());
    let prepared = prepare_texts(Dataset::Custom { path, output_len: None }, &load(1)).expect("prepares");
    let warm = prepared.warm_ups(1).expect("warm-ups").remove(0);
    let Prompt::Text(prompt) = warm.prompt else { panic!("text") };
    assert!(prompt.len() < text.len() && prompt.starts_with("0. warm-up:"), "{prompt}");
    assert_eq!(warm.output_tokens, TokenCount(8));
}

#[test]
fn pictures_go_once_each_and_are_named_where_they_repeat() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, bytes) in [("a.png", "first"), ("b.JPG", "second"), ("c.webp", "third"), ("notes.txt", "no picture")] {
        std::fs::write(dir.path().join(name), bytes).expect("write");
    }
    let path = dir.path().display().to_string();
    let dataset = Dataset::Images { path, prompt: "What is it?".into(), output_len: TokenCount(5) };
    let chat = Workload { endpoint: Endpoint::Chat, ..workload(dataset) };
    let prepared = prepare(&chat, &Load { attempts: 1, ..load(2) });
    let [first, second] = [2.0, 4.0].map(|r| prepared.schedule(rate(r), 1).expect("schedules"));
    assert_eq!((prepared.report().candidates, first.repeats, second.repeats), (3, 0, 1));
    let told: HashSet<String> =
        first.requests.iter().chain(&second.requests[..1]).map(|r| body(&prepared, r)).collect();
    let with = |media: &str, data: &str| {
        let url = format!("data:{media};base64,{data}");
        let content =
            json!([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]);
        json!([{"role": "user", "content": content}]).to_string()
    };
    let all = [with("image/png", "Zmlyc3Q="), with("image/jpeg", "c2Vjb25k"), with("image/webp", "dGhpcmQ=")];
    assert_eq!(told, HashSet::from(all));
    assert!(prepared.largest_prompt_bytes(&first) >= 8);
    let empty = tempfile::tempdir().expect("tempdir");
    let nothing =
        Dataset::Images { path: empty.path().display().to_string(), prompt: String::new(), output_len: TokenCount(1) };
    let refused =
        PreparedWorkload::prepare(&workload(nothing), &load(1), PrepareContext::default()).expect_err("empty");
    assert!(refused.to_string().contains("no picture in it; expected a folder"), "{refused}");
}

fn body(prepared: &PreparedWorkload, request: &Request) -> String {
    String::from_utf8(prepared.render(request).to_json()).expect("UTF-8")
}
