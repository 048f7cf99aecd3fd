//! Streams that a definition is easily wrong about: what is a token, when it came, and whether the answer is whole.

use super::*;

/// Reads the events, each a read of its own, and judges them against `tokens` asked for with `ignore_eos`.
fn judged(events: &[&str], tokens: u32) -> Judged {
    let lines = events.iter().map(|e| format!("data: {e}\n\n"));
    raw(&lines.collect::<Vec<_>>(), tokens)
}

fn raw(pieces: &[String], max_tokens: u32) -> Judged {
    let body = pieces.iter().map(|p| format!("{:x}\r\n{p}\r\n", p.len()).into_bytes());
    let all: Vec<Vec<u8>> = [HEAD.as_bytes().to_vec()].into_iter().chain(body).chain([b"0\r\n\r\n".to_vec()]).collect();
    judge(all.iter().map(Vec::as_slice), Asked { max_tokens, ignore_eos: true })
}

/// Times are reads: the head is the first, the first event the second.
fn first_and_last(judged: &Judged) -> (u64, u64) {
    let at = |offset: Option<Offset>| offset.expect("a token").as_nanos();
    (at(judged.timeline.first_token), at(judged.timeline.last_token))
}

const ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;

fn delta(content: &str) -> String {
    format!(r#"{{"choices":[{{"delta":{content}}}]}}"#)
}

#[test]
fn the_clock_of_a_chat_starts_at_its_first_word_not_at_its_role() {
    let judged = judged(&[ROLE, &delta(r#"{"content":"a"}"#), &delta(r#"{"content":"b"}"#), "[DONE]"], 2);
    assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (3, 4)));
}

#[test]
fn reasoning_is_output_and_starts_the_clock() {
    for field in ["reasoning", "reasoning_content"] {
        let thought = delta(&format!(r#"{{"{field}":"hm"}}"#));
        let judged = judged(&[ROLE, &thought, &thought, &delta(r#"{"content":"a"}"#), "[DONE]"], 3);
        assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (3, 5)), "{field}");
        assert_eq!(judged.text, "hmhma");
    }
}

#[test]
fn tokens_without_text_are_tokens() {
    // Random weights and bytes of a character come as empty texts.
    let empty = r#"{"choices":[{"text":""}]}"#;
    let judged = judged(&[empty, empty, TOKEN, &usage(3), "[DONE]"], 3);
    assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (2, 4)));
    assert_eq!(judged.timeline.chunks.len(), 3);
}

#[test]
fn several_tokens_a_chunk_are_known_where_usage_says_so_and_guessed_where_not() {
    let chunk =
        |total| format!(r#"{{"choices":[{{"text":"ab"}}],"usage":{{"prompt_tokens":3,"completion_tokens":{total}}}}}"#);
    let told = judged(&[&chunk(2), &chunk(4), &usage(4), "[DONE]"], 4);
    assert!(told.timeline.tokens_per_chunk_known && told.outcome == Outcome::Completed);
    let untold = judged(&[TOKEN, TOKEN, &usage(4), "[DONE]"], 4);
    assert!(!untold.timeline.tokens_per_chunk_known && untold.outcome == Outcome::Completed);
    assert_eq!(untold.timeline.output_tokens, TokenCount(4));
}

#[test]
fn usage_may_be_missing_or_null() {
    let null = r#"{"choices":[{"text":"a"}],"usage":null}"#;
    let judged = judged(&[TOKEN, null, "[DONE]"], 2);
    assert_eq!((judged.outcome, judged.timeline.output_tokens), (Outcome::Completed, TokenCount(2)));
    assert!(!judged.timeline.tokens_per_chunk_known);
}

#[test]
fn an_error_after_tokens_fails_the_request_and_keeps_what_came() {
    let error = r#"{"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}"#;
    let judged = judged(&[TOKEN, TOKEN, error, "[DONE]"], 2);
    assert_eq!(judged.outcome, Outcome::Failed(Failure::InBandError { detail: "EngineCore died".into() }));
    assert_eq!(judged.timeline.output_tokens, TokenCount(2));
}

#[test]
fn a_stream_that_ends_in_order_without_done_is_not_whole() {
    let judged = judged(&[TOKEN, TOKEN, &usage(2)], 2);
    assert!(
        matches!(judged.outcome, Outcome::Failed(Failure::Truncated { tokens: 2, detail }) if detail.contains("[DONE]"))
    );
}

#[test]
fn comments_and_other_fields_are_neither_tokens_nor_trouble() {
    let pieces = [
        ": keep-alive\n\n",
        "event: message\nid: 1\nretry: 5\ndata: ",
        TOKEN,
        "\n\n",
        ": ping\r\n\r\n",
        "data: [DONE] \r\n\r\n",
    ];
    let judged = raw(&pieces.map(str::to_string), 1);
    assert_eq!((judged.outcome.clone(), judged.timeline.chunks.len()), (Outcome::Completed, 1));
    // The head was read 1, the token's blank line read 5.
    assert_eq!(first_and_last(&judged), (5, 5));
}

#[test]
fn a_character_cut_between_two_reads_is_one_character() {
    let event = "data: {\"choices\":[{\"text\":\"\u{1f600}\u{e4}\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let whole = format!("{HEAD}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).into_bytes();
    for cut in 0..whole.len() {
        let judged = judge([&whole[..cut], &whole[cut..]], Asked { max_tokens: 1, ignore_eos: true });
        assert_eq!((judged.outcome, judged.text.as_str()), (Outcome::Completed, "\u{1f600}\u{e4}"), "cut at {cut}");
    }
}
