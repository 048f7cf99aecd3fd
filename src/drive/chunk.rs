//! One event of an OpenAI-compatible stream, read without allocating: which tokens, which usage, which error.
//!
//! Only the first choice counts: the benchmark never asks for more. JSON is read by serde_json; what isn't named here is
//! skipped without being built, and of a text only whether it is there, unless somebody wants to keep it.

use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};

/// Characters of a server's error message that are kept.
const MAX_MESSAGE: usize = 2000;

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
    /// The event's data, for its text.
    data: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// A chunk that brings generated text, perhaps counted, and says nothing else.
    pub(super) fn token(data: &'a [u8], usage: Option<Usage>) -> Chunk<'a> {
        Chunk { carries_token: true, has_choice: true, usage, finish_reason: None, data }
    }

    pub(super) fn is_token(&self) -> bool {
        self.carries_token && self.has_choice && self.finish_reason.is_none()
    }

    /// Generated text; reads the event again.
    pub fn text(&self) -> Option<String> {
        let TextOnly { choices } = serde_json::from_slice(self.data).ok()?;
        let choice = choices.into_iter().next()?;
        let delta = || choice.delta.and_then(|d| d.content.or(d.reasoning).or(d.reasoning_content));
        choice.text.or_else(delta)
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
    if data.trim_ascii_end() == b"[DONE]" {
        return Event::Done;
    }
    match serde_json::from_slice::<RawChunk>(data) {
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
    let message = message.chars().take(MAX_MESSAGE).collect();
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
struct TextOnly {
    choices: Vec<TextChoice>,
}

#[derive(Deserialize)]
struct TextChoice {
    text: Option<String>,
    delta: Option<TextDelta>,
}

#[derive(Deserialize)]
struct TextDelta {
    content: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct RawChunk {
    #[serde(default)]
    choices: FirstChoice,
    usage: Option<Usage>,
    error: Option<IgnoredAny>,
}

impl RawChunk {
    fn into_event(self, data: &[u8]) -> Event<'_> {
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
            finish_reason: choice.finish_reason,
            data,
        })
    }
}

#[derive(Deserialize, Default)]
struct RawChoice {
    /// Completions.
    text: Option<Said>,
    /// Chat.
    delta: Option<RawDelta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawDelta {
    role: Option<Said>,
    content: Option<Said>,
    /// vLLM before 0.12 and DeepSeek's API.
    reasoning_content: Option<Said>,
    /// vLLM since.
    reasoning: Option<Said>,
    tool_calls: Option<Said>,
}

impl RawChoice {
    fn carries_token(&self) -> bool {
        let Some(delta) = &self.delta else { return self.text.is_some() };
        let texts = [delta.content, delta.reasoning, delta.reasoning_content];
        let empty_but_no_role = delta.role.is_none() && texts.iter().any(Option::is_some);
        empty_but_no_role || texts.contains(&Some(Said::Something)) || delta.tool_calls == Some(Said::Something)
    }
}

/// A string or array, of which only this is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Something,
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Glance;

        impl<'de> Visitor<'de> for Glance {
            type Value = Said;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or an array")
            }

            fn visit_str<E>(self, text: &str) -> Result<Said, E> {
                Ok(if text.is_empty() { Said::Nothing } else { Said::Something })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Said, A::Error> {
                let mut said = Said::Nothing;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    said = Said::Something;
                }
                Ok(said)
            }
        }

        deserializer.deserialize_any(Glance)
    }
}

/// The first of `choices`; the others are skipped.
#[derive(Default)]
struct FirstChoice {
    given: bool,
    first: Option<RawChoice>,
}

impl<'de> Deserialize<'de> for FirstChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First;

        impl<'de> Visitor<'de> for First {
            type Value = FirstChoice;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FirstChoice, A::Error> {
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
