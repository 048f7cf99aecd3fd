//! One event of an OpenAI-compatible stream, read without allocating: which tokens, which usage, which error.
//!
//! Only the first choice counts: the benchmark never asks for more. JSON is read by serde_json; what isn't named here is
//! skipped without being built, and of a text only whether it is there, unless somebody wants to keep it.

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Characters of a server's error message that are kept.
const MAX_MESSAGE: usize = 2000;

/// What an event says.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Chunk(StreamChunk<'a>),
    /// `data: {"error": ..}` in a stream that began with 200.
    Error(StreamError),
    /// `[DONE]`
    Done,
    /// No JSON, or none of an OpenAI-compatible server.
    Unreadable(String),
}

/// A chunk of the answer.
#[derive(Debug, Clone)]
pub(crate) struct StreamChunk<'a> {
    pub(crate) content: ChunkContent,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish_reason: Option<String>,
    /// The event's data, for its text.
    data: &'a [u8],
}

/// What a chunk brings of the answer itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkContent {
    /// A role, an end, a closing count: nothing generated.
    Nothing,
    /// A text without characters: perhaps a token that has none (a byte of a character, a special token), perhaps none.
    EmptyText,
    Text,
    /// Generated, and not as text: part of a call of a tool.
    ToolCall,
}

impl ChunkContent {
    /// Whether it carries at least one token, whatever is counted beside it.
    pub(super) fn is_generated(self) -> bool {
        matches!(self, ChunkContent::Text | ChunkContent::ToolCall)
    }
}

impl<'a> StreamChunk<'a> {
    /// A chunk that is read by what it has in common with others: content, perhaps counted, and nothing else.
    pub(super) fn alike(data: &'a [u8], content: ChunkContent, usage: Option<Usage>) -> StreamChunk<'a> {
        StreamChunk { content, usage, finish_reason: None, data }
    }

    /// Generated text; reads the event again.
    pub(crate) fn text(&self) -> Option<String> {
        let chunk: Value = serde_json::from_slice(self.data).ok()?;
        let choice = chunk.get("choices")?.get(0)?;
        let mut text = plain_text(&choice["text"]);
        let delta = &choice["delta"];
        for said in ["reasoning", "reasoning_content", "content"] {
            text.push_str(&plain_text(&delta[said]));
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            text.extend([&call["function"]["name"], &call["function"]["arguments"]].map(plain_text));
        }
        Some(text)
    }
}

/// Counts since the request began; `None` where the server gives none that can be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) completion_tokens: Option<u32>,
}

/// An error object, in a stream or as the body of an HTTP error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamError {
    pub(crate) kind: Option<String>,
    pub(crate) message: String,
}

impl StreamError {
    /// The proxy's word for a failed hand-off of the KV cache.
    pub(crate) fn is_kv_handoff(&self) -> bool {
        self.kind.as_deref() == Some("kv_handoff")
    }
}

/// Reads one event's data.
pub(crate) fn read(data: &[u8]) -> Event<'_> {
    if data.trim_ascii_end() == b"[DONE]" {
        return Event::Done;
    }
    match serde_json::from_slice::<RawChunk>(data) {
        Ok(raw) => raw.into_event(data),
        Err(e) => Event::Unreadable(format!("{e}: {}", excerpt(data))),
    }
}

/// The error object of `{"error": ..}`, `{"object": "error", ..}` or `{"detail": ..}`, if the bytes hold one.
pub(crate) fn read_error(body: &[u8]) -> Option<StreamError> {
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
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.trim().chars().take(200).collect();
    if short.len() < text.trim().len() {
        short.push_str("..");
    }
    short
}

/// A string, or the texts of an array of parts.
fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
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
        let choice = first.unwrap_or_default();
        Event::Chunk(StreamChunk {
            content: choice.content(),
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
    fn content(&self) -> ChunkContent {
        let nothing = RawDelta::default();
        let delta = self.delta.as_ref().unwrap_or(&nothing);
        let texts = [self.text, delta.content, delta.reasoning, delta.reasoning_content];
        if texts.contains(&Some(Said::Something)) {
            ChunkContent::Text
        } else if delta.tool_calls == Some(Said::Something) {
            ChunkContent::ToolCall
        } else if delta.role.is_none() && texts.contains(&Some(Said::Nothing)) {
            ChunkContent::EmptyText
        } else {
            ChunkContent::Nothing
        }
    }
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Field {
            PromptTokens,
            CompletionTokens,
            #[serde(other)]
            Other,
        }

        struct Counts;

        impl<'de> Visitor<'de> for Counts {
            type Value = Usage;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("usage")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Usage, A::Error> {
                let mut usage = Usage::default();
                while let Some(field) = map.next_key()? {
                    match field {
                        Field::PromptTokens => usage.prompt_tokens = map.next_value::<Count>()?.0,
                        Field::CompletionTokens => usage.completion_tokens = map.next_value::<Count>()?.0,
                        Field::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(usage)
            }

            // Whatever else stands there counts nothing.
            fn visit_str<E>(self, _: &str) -> Result<Usage, E> {
                Ok(Usage::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Usage, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Usage::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Usage, E> {
                Ok(Usage::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Usage, E> {
                Ok(Usage::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Usage, E> {
                Ok(Usage::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Usage, E> {
                Ok(Usage::default())
            }
        }

        deserializer.deserialize_any(Counts)
    }
}

/// A number of tokens; nothing where what stands there can't be one. Too large for a `u32` is far more than anybody asks
/// for, and stays that.
struct Count(Option<u32>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as u64));
        Ok(Count(whole.map(|n| u32::try_from(n).unwrap_or(u32::MAX))))
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

            fn visit_unit<E>(self) -> Result<FirstChoice, E> {
                Ok(FirstChoice::default())
            }
        }

        deserializer.deserialize_any(First)
    }
}

#[cfg(test)]
mod tests {
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
