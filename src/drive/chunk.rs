//! One event of an OpenAI-compatible stream, read without allocating: which tokens, which usage, which error.
//!
//! Only the first choice counts: the benchmark never asks for more. JSON is read by serde_json into borrowed fields; what
//! isn't named here is skipped without being built.

use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What an event says.
#[derive(Debug)]
pub enum Event<'a> {
    Chunk(Chunk<'a>),
    /// `data: {"error": ..}` in a stream that began with 200.
    Error(StreamError),
    /// `[DONE]`
    Done,
    /// No JSON, or none of an OpenAI-compatible server.
    Unreadable(String),
}

/// A chunk of the answer.
#[derive(Debug, Clone)]
pub struct Chunk<'a> {
    /// Whether it carries generated tokens, as far as its text tells: a role alone doesn't, an empty text does (a byte
    /// of a character, or a token without text).
    pub carries_token: bool,
    /// Whether it belongs to a choice; the closing usage chunk doesn't.
    pub has_choice: bool,
    pub usage: Option<Usage>,
    pub finish_reason: Option<String>,
    /// Generated text as a JSON string.
    text: Option<&'a RawValue>,
}

impl Chunk<'_> {
    pub fn text(&self) -> Option<String> {
        self.text.and_then(|raw| serde_json::from_str(raw.get()).ok())
    }
}

/// Counts since the request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Usage {
    pub prompt_tokens: Option<u32>,
    pub completion_tokens: Option<u32>,
}

/// An error object, in a stream or as the body of an HTTP error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    pub kind: Option<String>,
    pub message: String,
}

impl StreamError {
    /// The proxy's word for a failed hand-off of the KV cache.
    pub fn is_kv_handoff(&self) -> bool {
        self.kind.as_deref() == Some("kv_handoff")
    }
}

/// Reads one event's data.
pub fn read(data: &[u8]) -> Event<'_> {
    if data == b"[DONE]" {
        return Event::Done;
    }
    match serde_json::from_slice::<RawChunk<'_>>(data) {
        Ok(raw) => raw.into_event(data),
        Err(e) => Event::Unreadable(format!("{e}: {}", excerpt(data))),
    }
}

/// The error object of `{"error": ..}`, `{"object": "error", ..}` or `{"detail": ..}`, if the bytes hold one.
pub fn read_error(body: &[u8]) -> Option<StreamError> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let inner = match value.get("error") {
        Some(error) => error,
        None if value.get("object").is_some_and(|o| o == "error") => &value,
        None => value.get("detail")?,
    };
    let text = |key: &str| inner.get(key).and_then(|v| v.as_str()).map(str::to_string);
    let message = text("message").or_else(|| inner.as_str().map(str::to_string)).unwrap_or_else(|| inner.to_string());
    Some(StreamError { kind: text("type"), message })
}

/// The beginning of bytes that somebody will read in a message.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.trim().chars().take(200).collect();
    if short.len() < text.trim().len() {
        short.push_str("..");
    }
    short
}

#[derive(Deserialize)]
struct RawChunk<'a> {
    #[serde(borrow, default)]
    choices: FirstChoice<'a>,
    usage: Option<Usage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> RawChunk<'a> {
    fn into_event(self, data: &'a [u8]) -> Event<'a> {
        let FirstChoice { given, first } = self.choices;
        if self.error.is_some() || (!given && self.usage.is_none()) {
            let unreadable = || Event::Unreadable(format!("neither choices nor usage nor error: {}", excerpt(data)));
            return read_error(data).map_or_else(unreadable, Event::Error);
        }
        let has_choice = first.is_some();
        let choice = first.unwrap_or_default();
        Event::Chunk(Chunk {
            carries_token: choice.carries_token(),
            has_choice,
            usage: self.usage,
            text: choice.text.or(choice.delta.as_ref().and_then(|d| d.content.or(d.reasoning()))),
            finish_reason: choice.finish_reason,
        })
    }
}

#[derive(Deserialize, Default)]
struct RawChoice<'a> {
    /// Completions.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    /// Chat.
    #[serde(borrow)]
    delta: Option<RawDelta<'a>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawDelta<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    /// vLLM before 0.12 and DeepSeek's API.
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    /// vLLM since.
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

impl<'a> RawDelta<'a> {
    fn reasoning(&self) -> Option<&'a RawValue> {
        self.reasoning.or(self.reasoning_content)
    }
}

impl RawChoice<'_> {
    fn carries_token(&self) -> bool {
        let filled = |raw: Option<&RawValue>| raw.is_some_and(|r| !matches!(r.get(), "\"\"" | "[]"));
        match &self.delta {
            None => self.text.is_some(),
            Some(delta) => {
                let empty_but_no_role =
                    delta.role.is_none() && (delta.content.is_some() || delta.reasoning().is_some());
                empty_but_no_role || filled(delta.content) || filled(delta.reasoning()) || filled(delta.tool_calls)
            }
        }
    }
}

/// The first of `choices`; the others are skipped.
#[derive(Default)]
struct FirstChoice<'a> {
    given: bool,
    first: Option<RawChoice<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for FirstChoice<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First;

        impl<'de> Visitor<'de> for First {
            type Value = FirstChoice<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let first = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstChoice { given: true, first })
            }
        }

        deserializer.deserialize_seq(First)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(data: &str) -> Chunk<'_> {
        match read(data.as_bytes()) {
            Event::Chunk(chunk) => chunk,
            other => panic!("{other:?}"),
        }
    }

    fn carries(data: &str) -> bool {
        chunk(data).carries_token
    }

    #[test]
    fn empty_text_is_a_token_and_a_role_alone_is_none() {
        assert!(carries(r#"{"choices":[{"text":""}]}"#));
        assert!(carries(r#"{"choices":[{"delta":{"content":""}}]}"#));
        assert!(!carries(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#));
        assert!(carries(r#"{"choices":[{"delta":{"role":"assistant","content":"Hi"}}]}"#));
        assert!(!carries(r#"{"choices":[{"delta":{"role":null,"content":null},"finish_reason":"stop"}]}"#));
        assert!(!carries(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#));
        assert!(!carries(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#));
    }

    #[test]
    fn reasoning_and_tool_calls_are_generated_too() {
        assert!(carries(r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#));
        assert!(carries(r#"{"choices":[{"delta":{"content":null,"reasoning":"hm"}}]}"#));
        assert!(carries(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#));
        assert!(!carries(r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[]}}]}"#));
        assert_eq!(chunk(r#"{"choices":[{"delta":{"reasoning":"h\u00e4"}}]}"#).text().as_deref(), Some("h\u{e4}"));
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
        for garbage in ["<html>", r#"{"hello":1}"#, r#"{"choices":[{"text":"cut"#, "", "null"] {
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
}
