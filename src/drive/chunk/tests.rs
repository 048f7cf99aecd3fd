//! What an event says, and what it only seems to say.

use super::*;

fn chunk(data: &str) -> StreamChunk<'_> {
    match read(data.as_bytes()) {
        Event::Chunk(chunk) => chunk,
        other => panic!("{other:?}"),
    }
}

fn content(data: &str) -> ChunkContent {
    chunk(data).content
}

#[test]
fn text_and_empty_text_and_a_role_alone_are_three_things() {
    assert_eq!(content(r#"{"choices":[{"text":"a"}]}"#), ChunkContent::Text);
    assert_eq!(content(r#"{"choices":[{"text":""}]}"#), ChunkContent::EmptyText);
    assert_eq!(content(r#"{"choices":[{"delta":{"content":""}}]}"#), ChunkContent::EmptyText);
    assert_eq!(content(r#"{"choices":[{"delta":{"role":"assistant","content":"Hi"}}]}"#), ChunkContent::Text);
    for nothing in [
        r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"delta":{"role":null,"content":null},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"index":0}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        r#"{"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    ] {
        assert_eq!(content(nothing), ChunkContent::Nothing, "{nothing}");
    }
}

#[test]
fn reasoning_and_tool_calls_are_generated_too() {
    assert_eq!(content(r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#), ChunkContent::Text);
    assert_eq!(content(r#"{"choices":[{"delta":{"content":null,"reasoning":"hm"}}]}"#), ChunkContent::Text);
    assert_eq!(content(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#), ChunkContent::ToolCall);
    assert_eq!(content(r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[]}}]}"#), ChunkContent::Nothing);
    let text = |data: &str| chunk(data).text();
    assert_eq!(text(r#"{"choices":[{"delta":{"reasoning":"h\u00e4"}}]}"#).as_deref(), Some("h\u{e4}"));
    assert_eq!(text(r#"{"choices":[{"delta":{"content":"","reasoning":"hm"}}]}"#).as_deref(), Some("hm"));
}

#[test]
fn what_counts_nothing_is_no_count_and_spoils_nothing_else() {
    let counted = |usage: &str| {
        let data = format!(r#"{{"choices":[{{"text":"a"}}],"usage":{usage}}}"#);
        let chunk = chunk(&data);
        assert_eq!(chunk.content, ChunkContent::Text);
        chunk.usage.and_then(|usage| usage.completion_tokens)
    };
    assert_eq!(counted(r#"{"completion_tokens":7,"prompt_tokens":-1,"more":{"a":[1]}}"#), Some(7));
    assert_eq!(counted(r#"{"completion_tokens":7.0}"#), Some(7));
    assert_eq!(counted(r#"{"completion_tokens":1000000000000000000000000000000}"#), Some(u32::MAX));
    for nothing in ["-1", "8.5", "null", "\"8\"", "[8]", "{}", "true"] {
        assert_eq!(counted(&format!(r#"{{"completion_tokens":{nothing}}}"#)), None, "{nothing}");
        assert_eq!(counted(nothing), None, "{nothing}");
    }
}

#[test]
fn errors_inside_the_stream_are_told_apart_from_garbage() {
    let message = |data: &str| match read(data.as_bytes()) {
        Event::Error(error) => error.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        message(r#"{"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}"#),
        "EngineCore died"
    );
    assert_eq!(message(r#"{"error":"plain"}"#), "plain");
    assert_eq!(message(r#"{"object":"error","message":"old vLLM","code":400}"#), "old vLLM");
    for garbage in ["<html>", r#"{"hello":1}"#, r#"{"choices":[{"text":"cut"#, "null"] {
        assert!(matches!(read(garbage.as_bytes()), Event::Unreadable(_)), "{garbage}");
    }
}

#[test]
fn the_proxys_handoff_failure_is_recognised() {
    let error = read_error(br#"{"error":{"type":"kv_handoff","message":"prefill gave no parameters"}}"#);
    assert!(error.expect("an error").is_kv_handoff());
    assert_eq!(read_error(br#"{"detail":"Not Found"}"#).map(|e| e.message).as_deref(), Some("Not Found"));
    assert_eq!(read_error(b"<html>"), None);
}
