mod awkward;

use super::*;
use crate::units::TokenCount;
use proptest::prelude::*;

const COMPLETIONS: &[u8] = include_bytes!("../../../tests/fixtures/sse/vllm-0.32-completions.sse");
const CHAT: &[u8] = include_bytes!("../../../tests/fixtures/sse/vllm-0.32-chat.sse");
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A response with the body in HTTP chunks of `size`.
fn response(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = HEAD.as_bytes().to_vec();
    for piece in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend_from_slice(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn stream(events: &[&str]) -> Vec<u8> {
    let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
    response(body.as_bytes(), usize::MAX >> 1)
}

/// Feeds the pieces a nanosecond apart, then closes the connection.
fn answer<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> AnswerReader {
    let mut timeline = TimelineBuilder::new(Offset::ZERO, Offset::ZERO);
    timeline.keep_text();
    let mut reader = AnswerReader::new(timeline);
    let mut now = 0;
    for piece in pieces {
        now += 1;
        reader.feed(piece, Offset::from_nanos(now));
    }
    if !reader.is_known() {
        reader.close(None, Offset::from_nanos(now + 1));
    }
    reader
}

fn outcome(bytes: &[u8], max_tokens: u32) -> Outcome {
    let reader = answer([bytes]);
    assert!(reader.is_known());
    reader.outcome(Asked { max_tokens, full_length: true })
}

fn failure(bytes: &[u8]) -> Failure {
    match outcome(bytes, 2) {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

const TOKEN: &str = r#"{"choices":[{"index":0,"text":"a","finish_reason":null}]}"#;

fn usage(tokens: u32) -> String {
    format!(r#"{{"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":{tokens}}}}}"#)
}

#[test]
fn a_refusal_says_why_in_one_line_and_no_secret() {
    let told = |head: &str, body: &str| {
        failure(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).to_string()
    };
    let moved = told("301 Moved\r\nlocation: https://me:s3cret@gpu7/v1/completions?key=s3cret", "");
    assert_eq!(moved, "HTTP 301: it redirects to https://***@gpu7/v1/completions: give the URL of that server");
    assert_eq!(told("302 Found", " "), "HTTP 302: it says no more");
    assert_eq!(told("500 Oops", "one\r\n\ttwo"), "HTTP 500: one two");
    let whole = told("200 OK\r\ncontent-type: application/json", TOKEN);
    assert!(whole.contains("its type is application/json, no stream of events"), "{whole}");
}

#[test]
fn a_recorded_completion_is_read() {
    let mut reader = answer([response(COMPLETIONS, 300).as_slice()]);
    assert_eq!(reader.outcome(Asked { max_tokens: 5, full_length: true }), Outcome::Completed);
    assert!(reader.is_reusable());
    let (timeline, text) = reader.finish(Offset::from_nanos(9));
    assert_eq!((timeline.output_tokens, timeline.prompt_tokens), (Some(TokenCount(5)), Some(TokenCount(7))));
    assert_eq!((timeline.chunks.len(), timeline.tokens_per_chunk_known), (5, true), "as many chunks as tokens");
    assert_eq!(text.as_deref(), Some("li U variableick U"));
}

#[test]
fn a_recorded_chat_counts_no_token_for_its_role() {
    let bytes = response(CHAT, 100_000);
    // Two reads: the role's chunk comes alone.
    let cut = HEAD.len() + 420;
    let mut reader = answer([&bytes[..cut], &bytes[cut..]]);
    assert_eq!(reader.outcome(Asked { max_tokens: 4, full_length: true }), Outcome::Completed);
    let (timeline, text) = reader.finish(Offset::from_nanos(9));
    assert_eq!(timeline.first_token, Some(Offset::from_nanos(2)));
    assert_eq!((timeline.chunks.len(), timeline.tokens_per_chunk_known), (4, true));
    assert_eq!(text.as_deref(), Some(" hash(). have where"));
}

#[test]
fn continuous_usage_tells_how_many_tokens_a_chunk_holds() {
    let chunk = |total: u32| {
        format!(r#"{{"choices":[{{"text":"ab"}}],"usage":{{"prompt_tokens":3,"completion_tokens":{total}}}}}"#)
    };
    let bytes = stream(&[&chunk(2), &chunk(5), &usage(5), "[DONE]"]);
    let mut reader = answer([bytes.as_slice()]);
    let (timeline, _) = reader.finish(Offset::ZERO);
    assert_eq!(timeline.chunks.iter().map(|c| c.tokens).collect::<Vec<_>>(), [2, 3]);
    assert!(timeline.tokens_per_chunk_known);
}

#[test]
fn without_usage_nobody_knows_how_many_tokens_there_are() {
    let bytes = stream(&[TOKEN, TOKEN, "[DONE]"]);
    assert_eq!(outcome(&bytes, 2), Outcome::Completed);
    let (timeline, _) = answer([bytes.as_slice()]).finish(Offset::ZERO);
    assert_eq!((timeline.output_tokens, timeline.prompt_tokens), (None, None));
    assert!(!timeline.tokens_per_chunk_known && timeline.chunks.len() == 2);
}

#[test]
fn usage_wins_over_the_number_of_chunks() {
    let mut reader = answer([stream(&[TOKEN, TOKEN, &usage(4), "[DONE]"]).as_slice()]);
    let (timeline, _) = reader.finish(Offset::ZERO);
    assert_eq!((timeline.output_tokens, timeline.chunks.len()), (Some(TokenCount(4)), 2));
}

#[test]
fn an_answer_shorter_than_ignore_eos_promised_is_truncated() {
    let bytes = stream(&[TOKEN, &usage(1), "[DONE]"]);
    assert!(matches!(failure(&bytes), Failure::Truncated { tokens: 1, .. }));
    let reader = answer([bytes.as_slice()]);
    assert_eq!(reader.outcome(Asked { max_tokens: 2, full_length: false }), Outcome::Completed);
    let stopped = stream(&[r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#, "[DONE]"]);
    assert!(matches!(failure(&stopped), Failure::Truncated { detail, .. } if detail.contains("finish_reason stop")));
    let aborted = stream(&[r#"{"choices":[{"text":"a","finish_reason":"abort"}]}"#, TOKEN, "[DONE]"]);
    assert!(matches!(failure(&aborted), Failure::Truncated { tokens: 2, detail } if detail.contains("abort")));
    let nothing = stream(&[&usage(0), "[DONE]"]);
    assert!(matches!(failure(&nothing), Failure::Truncated { tokens: 0, .. }));
}

#[test]
fn a_stream_without_its_end_mark_is_truncated() {
    assert!(matches!(failure(&stream(&[TOKEN, TOKEN])), Failure::Truncated { tokens: 2, .. }));
    let whole = stream(&[TOKEN, TOKEN, "[DONE]"]);
    let cut = &whole[..whole.len() - 30];
    assert!(matches!(failure(cut), Failure::Truncated { detail, .. } if detail.contains("mid-answer")));
}

#[test]
fn an_end_mark_without_its_line_end_is_enough() {
    let body = format!("data: {TOKEN}\n\ndata: {TOKEN}\n\ndata: [DONE]");
    let until_close = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    assert_eq!(outcome(until_close.as_bytes(), 2), Outcome::Completed);
    assert_eq!(outcome(&response(body.as_bytes(), 64), 2), Outcome::Completed);
}

#[test]
fn an_error_inside_the_stream_is_the_outcome_though_done_follows() {
    let error = r#"{"error":{"message":"KV load failed","type":"InternalServerError","code":500}}"#;
    assert_eq!(failure(&stream(&[TOKEN, error, "[DONE]"])), Failure::InBandError { detail: "KV load failed".into() });
    let handoff = r#"{"error":{"message":"no parameters","type":"kv_handoff"}}"#;
    assert_eq!(failure(&stream(&[handoff])), Failure::KvHandoff { detail: "no parameters".into() });
}

#[test]
fn statuses_become_the_failure_they_mean() {
    let told = |head: &str, body: &str| {
        failure(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
    };
    assert_eq!(told("429 Too Many Requests", ""), Failure::Shed { code: 429 });
    assert_eq!(told("503 Busy\r\nRetry-After: 1", ""), Failure::Shed { code: 503 });
    assert_eq!(told("503 Down", "down"), Failure::Status { code: 503, detail: "down".into() });
    let handoff = r#"{"error":{"type":"kv_handoff","message":"m"}}"#;
    assert_eq!(told("502 Bad Gateway", handoff), Failure::KvHandoff { detail: "m".into() });
    let moved = told("308 Moved\r\nLocation: https://other/v1?key=secret", "");
    assert!(matches!(moved, Failure::Status { code: 308, detail } if detail.contains("https://other/v1:")));
    let wrong_model = r#"{"error":{"message":"The model `nope` does not exist.","code":404}}"#;
    let detail = "The model `nope` does not exist.".to_string();
    assert_eq!(told("404 Not Found", wrong_model), Failure::Status { code: 404, detail });
}

#[test]
fn what_is_no_stream_is_a_protocol_failure() {
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    assert!(matches!(failure(plain.as_bytes()), Failure::Protocol { .. }));
    let packed = failure(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b");
    assert!(matches!(packed, Failure::Protocol { detail } if detail.contains("packed with gzip")));
    assert!(matches!(failure(&stream(&["<html>", "[DONE]"])), Failure::Protocol { .. }));
    assert!(matches!(failure(b"220 smtp ready\r\n"), Failure::Protocol { .. }));
    assert!(matches!(failure(b""), Failure::Connect { .. }));
    assert!(matches!(failure(b"HTTP/1.1 200"), Failure::Connect { .. }));
}

proptest! {
    #[test]
    fn cuts_change_times_but_never_tokens(
        cuts in prop::collection::vec(0usize..4000, 0..20), size in 1usize..700, chat: bool,
    ) {
        let bytes = response(if chat { CHAT } else { COMPLETIONS }, size);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut cut = answer(cuts.windows(2).map(|w| &bytes[w[0]..w[1]]));
        prop_assert!(cut.is_reusable());
        let asked = Asked { max_tokens: if chat { 4 } else { 5 }, full_length: true };
        prop_assert_eq!(cut.outcome(asked), Outcome::Completed);
        let ((cut, text), (whole, whole_text)) = (cut.finish(Offset::ZERO), answer([bytes.as_slice()]).finish(Offset::ZERO));
        prop_assert_eq!(text, whole_text);
        prop_assert_eq!(cut.output_tokens, whole.output_tokens);
        let tokens = |t: &Timeline| t.chunks.iter().map(|c| c.tokens).collect::<Vec<_>>();
        prop_assert_eq!(tokens(&cut), tokens(&whole));
        prop_assert!(cut.chunks.is_sorted_by_key(|c| c.at));
        prop_assert_eq!(cut.first_token, cut.chunks.first().map(|c| c.at));
        prop_assert_eq!(cut.last_token, cut.chunks.last().map(|c| c.at));
    }

    #[test]
    fn garbage_never_panics_and_never_completes(bytes in prop::collection::vec(any::<u8>(), 0..400), framed: bool) {
        let bytes = if framed { response(&bytes, 50) } else { bytes };
        prop_assert!(matches!(outcome(&bytes, 1), Outcome::Failed(_)));
    }
}

#[test]
fn an_answer_without_end_is_given_up_and_a_generous_one_is_not() {
    let token = r#"{"choices":[{"text":"x"}]}"#;
    let read = |tokens: usize| {
        let mut reader = AnswerReader::new(TimelineBuilder::new(Offset::ZERO, Offset::ZERO)).bounded(10);
        reader.feed(&stream(&vec![token; tokens]), Offset::ZERO);
        let kept = reader.finish(Offset::ZERO).0.chunks.len();
        (reader.outcome(Asked { max_tokens: 10, full_length: false }), kept)
    };
    let (outcome, kept) = read(100_000);
    assert!(matches!(outcome, Outcome::Failed(Failure::Protocol { .. })), "{outcome:?}");
    assert!(kept < 100, "{kept}");
    assert!(matches!(read(12).0, Outcome::Failed(Failure::Truncated { .. })), "its end mark is missing, no more");
}
