//! Streams that a definition is easily wrong about: what is a token, when it came, and whether the answer is whole.

use super::*;

/// Reads the events, each a read of its own, and judges them against `tokens` asked for with `ignore_eos`.
fn judged(events: &[&str], tokens: u32) -> JudgedAnswer {
    let lines = events.iter().map(|e| format!("data: {e}\n\n"));
    raw(&lines.collect::<Vec<_>>(), tokens)
}

fn raw(pieces: &[String], max_tokens: u32) -> JudgedAnswer {
    let body = pieces.iter().map(|p| format!("{:x}\r\n{p}\r\n", p.len()).into_bytes());
    let all: Vec<Vec<u8>> = [HEAD.as_bytes().to_vec()].into_iter().chain(body).chain([b"0\r\n\r\n".to_vec()]).collect();
    judge(all.iter().map(Vec::as_slice), Asked { max_tokens, full_length: true })
}

/// Times are reads: the head is the first, the first event the second.
fn first_and_last(judged: &JudgedAnswer) -> (u64, u64) {
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
    for field in ["reasoning", "reasoning_content", "reasoning_text", "thinking", "refusal"] {
        let thought = delta(&format!(r#"{{"{field}":"hm"}}"#));
        let judged = judged(&[ROLE, &thought, &thought, &delta(r#"{"content":"a"}"#), "[DONE]"], 3);
        assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (3, 5)), "{field}");
        assert_eq!(judged.text, "hmhma");
    }
    let twice = judged(&[&delta(r#"{"reasoning":"hm","reasoning_content":"hm","content":null}"#), "[DONE]"], 1);
    assert_eq!((twice.outcome, twice.text.as_str()), (Outcome::Completed, "hm"), "one thought under two names");
}

#[test]
fn what_is_about_a_delta_is_no_output_and_a_call_of_any_kind_is() {
    let about =
        delta(r#"{"role":"assistant","id":"x","type":"text","content":null,"annotations":[],"extra":{"a":"b"}}"#);
    for call in
        [r#"{"function_call":{"arguments":"{"}}"#, r#"{"tool_calls":[{"index":0}]}"#, r#"{"audio":{"data":"x"}}"#]
    {
        let judged = judged(&[&about, &delta(call), "[DONE]"], 1);
        assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (3, 3)), "{call}");
    }
}

#[test]
fn empty_texts_at_the_end_that_the_total_may_count_leave_the_number_of_tokens_open() {
    let empty = r#"{"choices":[{"text":""}]}"#;
    let last = r#"{"choices":[{"text":"","finish_reason":"length"}]}"#;
    let dark = judged(&[TOKEN, TOKEN, empty, empty, last, &usage(4), "[DONE]"], 4);
    assert_eq!(
        (dark.outcome, dark.timeline.output_tokens),
        (Outcome::Completed, None),
        "the last token's time is not known"
    );
    let plain = judged(&[TOKEN, TOKEN, empty, empty, last, &usage(2), "[DONE]"], 2);
    assert_eq!((plain.outcome, plain.timeline.output_tokens), (Outcome::Completed, Some(TokenCount(2))), "one a text");
    let single = judged(&[TOKEN, TOKEN, empty, last, &usage(4), "[DONE]"], 4);
    assert_eq!((single.outcome, single.timeline.output_tokens), (Outcome::Completed, Some(TokenCount(4))));
}

#[test]
fn pings_are_neither_tokens_nor_trouble_nor_progress() {
    for ping in ["data:\n\n", "data: {}\n\n", "event: ping\ndata: {\"type\": \"ping\"}\n\n"] {
        let token = format!("data: {TOKEN}\n\n");
        let pieces = [ping, &token, ping, &token, "data: [DONE]\n\n"].map(str::to_string);
        let judged = raw(&pieces, 2);
        assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (3, 5)), "{ping}");
    }
    let mut reader = AnswerReader::new(TimelineBuilder::new(Offset::ZERO, Offset::ZERO));
    reader.feed(&stream(&["{}", "{}", "{}"]), Offset::ZERO);
    assert_eq!(reader.events(), 0, "whoever only pings will be given up");
}

#[test]
fn json_as_python_writes_it_is_read() {
    let lost = r#"{"choices":[{"text":"\ud83d","logprobs":{"token_logprobs":[-Infinity,NaN]}}]}"#;
    let judged = judged(&[lost, lost, "[DONE]"], 2);
    assert_eq!((judged.outcome, judged.text.as_str()), (Outcome::Completed, "\u{fffd}\u{fffd}"));
}

#[test]
fn an_answer_that_says_why_it_ends_needs_no_end_mark() {
    let last = r#"{"choices":[{"text":"b","finish_reason":"length"}]}"#;
    let whole = judged(&[TOKEN, last, &usage(2)], 2);
    assert_eq!((whole.outcome, whole.timeline.output_tokens), (Outcome::Completed, Some(TokenCount(2))));
    let short = judged(&[TOKEN, last, &usage(2)], 3);
    assert!(matches!(short.outcome, Outcome::Failed(Failure::Truncated { tokens: 2, .. })), "{:?}", short.outcome);
}

#[test]
fn tokens_without_text_are_tokens_where_usage_counts_on() {
    // Random weights and bytes of a character come as empty texts.
    let empty = |total| text("", total);
    let judged = judged(&[&empty(1), &empty(2), &text("a", 3), &empty(4), &usage(4), "[DONE]"], 4);
    assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (2, 5)));
    assert_eq!((judged.timeline.chunks.len(), judged.timeline.tokens_per_chunk_known), (4, true));
}

#[test]
fn an_answer_of_one_token_without_text_has_its_time() {
    let judged = judged(&[&text("", 1), &usage(1), "[DONE]"], 1);
    assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (2, 2)));
}

#[test]
fn an_empty_text_that_is_not_counted_is_no_token() {
    let empty = r#"{"choices":[{"text":""}]}"#;
    let judged = judged(&[empty, empty, TOKEN, &usage(3), "[DONE]"], 3);
    assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (4, 4)));
    assert_eq!((judged.timeline.output_tokens, judged.timeline.chunks.len()), (Some(TokenCount(3)), 1));
}

/// A chunk with text and the count so far.
fn text(text: &str, total: i64) -> String {
    format!(r#"{{"choices":[{{"text":"{text}"}}],"usage":{{"prompt_tokens":3,"completion_tokens":{total}}}}}"#)
}

#[test]
fn a_count_that_stands_still_hides_no_text() {
    let last = text("d", 4).replace("\"d\"", "\"d\",\"finish_reason\":\"length\"");
    let stale = judged(&[&text("a", 0), &text("b", 0), &text("c", 0), &last, "[DONE]"], 4);
    assert_eq!((stale.outcome.clone(), first_and_last(&stale)), (Outcome::Completed, (2, 5)));
    assert_eq!((stale.timeline.output_tokens, stale.timeline.chunks.len()), (Some(TokenCount(4)), 4));
    let minus = judged(&[&text("a", -1), &text("b", -1), &text("c", 3), "[DONE]"], 3);
    assert_eq!((minus.timeline.output_tokens, first_and_last(&minus)), (Some(TokenCount(3)), (2, 4)));
}

#[test]
fn counts_that_contradict_the_text_are_none() {
    let unknown = |events: &[&str]| {
        let judged = judged(events, 40);
        assert_eq!((judged.outcome.clone(), judged.timeline.output_tokens), (Outcome::Completed, None), "{events:?}");
        assert!(!judged.timeline.tokens_per_chunk_known);
        assert_eq!(first_and_last(&judged).0, 2);
    };
    unknown(&[TOKEN, TOKEN, &usage(0), "[DONE]"]);
    unknown(&[TOKEN, TOKEN, &usage(1), "[DONE]"]);
    unknown(&[&text("a", 3), &text("b", 2), &text("c", 1), "[DONE]"]);
    unknown(&[&text("a", 4), &text("b", 4), &text("c", 4), "[DONE]"]);
    // One behind: 4 tokens a chunk, each counted beside the next.
    unknown(&[&text("a", 0), &text("b", 4), &text("c", 8), "[DONE]"]);
}

#[test]
fn a_closing_chunk_that_brings_the_total_is_no_token() {
    for closing in [r#""choices":[{"delta":{}}]"#, r#""choices":[{"text":"","finish_reason":"length"}]"#] {
        let closing = format!(r#"{{{closing},"usage":{{"prompt_tokens":3,"completion_tokens":8}}}}"#);
        let judged = judged(&[TOKEN, TOKEN, &closing, "[DONE]"], 8);
        assert_eq!((judged.outcome.clone(), first_and_last(&judged)), (Outcome::Completed, (2, 3)));
        assert_eq!((judged.timeline.output_tokens, judged.timeline.chunks.len()), (Some(TokenCount(8)), 2));
        let counted = super::awkward::judged(&[&text("a", 1), &text("b", 2), &closing, "[DONE]"], 8);
        assert_eq!((counted.outcome.clone(), first_and_last(&counted)), (Outcome::Completed, (2, 3)));
    }
}

#[test]
fn more_tokens_than_were_asked_for_are_no_answer() {
    let excess = |events: &[&str], what: &str| {
        let outcome = judged(events, 2).outcome;
        assert!(
            matches!(&outcome, Outcome::Failed(Failure::Protocol { detail }) if detail.contains(what)),
            "{outcome:?}"
        );
    };
    excess(&[TOKEN, TOKEN, &usage(3), "[DONE]"], "counts 3 tokens");
    excess(&[TOKEN, TOKEN, &text("", 1 << 40), "[DONE]"], "counts 4294967295 tokens");
    excess(&[TOKEN, TOKEN, TOKEN, "[DONE]"], "3 chunks with text");
}

#[test]
fn several_tokens_a_chunk_are_known_where_usage_says_so_and_guessed_where_not() {
    let chunk =
        |total| format!(r#"{{"choices":[{{"text":"ab"}}],"usage":{{"prompt_tokens":3,"completion_tokens":{total}}}}}"#);
    let told = judged(&[&chunk(2), &chunk(4), &usage(4), "[DONE]"], 4);
    assert!(told.timeline.tokens_per_chunk_known && told.outcome == Outcome::Completed);
    let untold = judged(&[TOKEN, TOKEN, &usage(4), "[DONE]"], 4);
    assert!(!untold.timeline.tokens_per_chunk_known && untold.outcome == Outcome::Completed);
    assert_eq!(untold.timeline.output_tokens, Some(TokenCount(4)));
}

#[test]
fn usage_may_be_missing_or_null() {
    let null = r#"{"choices":[{"text":"a"}],"usage":null}"#;
    let judged = judged(&[TOKEN, null, "[DONE]"], 2);
    assert_eq!((judged.outcome, judged.timeline.output_tokens), (Outcome::Completed, None));
    assert!(!judged.timeline.tokens_per_chunk_known);
}

#[test]
fn an_error_after_tokens_fails_the_request_and_keeps_what_came() {
    let error = r#"{"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}"#;
    let judged = judged(&[TOKEN, TOKEN, error, "[DONE]"], 2);
    assert_eq!(judged.outcome, Outcome::Failed(Failure::InBandError { detail: "EngineCore died".into() }));
    assert_eq!(judged.timeline.chunks.len(), 2);
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
        let judged = judge([&whole[..cut], &whole[cut..]], Asked { max_tokens: 1, full_length: true });
        assert_eq!((judged.outcome, judged.text.as_str()), (Outcome::Completed, "\u{1f600}\u{e4}"), "cut at {cut}");
    }
}
