//! One event of an OpenAI-compatible stream, read without allocating: which tokens, which usage, which error.
//!
//! Only the first choice counts: the benchmark never asks for more. JSON is read by serde_json; what isn't named here is
//! skipped without being built, and of a text only whether it is there, unless somebody wants to keep it.

use crate::files;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;

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
    /// Says nothing but that the connection stands: no data, `{}`, or a ping.
    KeepAlive,
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
        let chunk: Value = files::parse(self.data).ok()?;
        let choice = chunk.get("choices")?.get(0)?;
        let mut text = plain_text(&choice["text"]);
        let delta = &choice["delta"];
        let members = delta.as_object().into_iter().flatten();
        let said: Vec<(&str, String)> = members
            .filter(|(name, value)| *name == "content" || (value.is_string() && !ABOUT.contains(&name.as_str())))
            .map(|(name, value)| (name.as_str(), plain_text(value)))
            .collect();
        for (i, (_, words)) in said.iter().enumerate() {
            // Some servers say the same under an old name and a new one.
            if !said[..i].iter().any(|(_, before)| before == words) {
                text.push_str(words);
            }
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
    if data.trim_ascii().is_empty() {
        return Event::KeepAlive;
    }
    let raw = serde_json::from_slice::<RawChunk>(data).or_else(|e| match files::strict(data) {
        // As Python writes it: log probabilities of -Infinity, half an emoji.
        Cow::Owned(mended) => serde_json::from_slice(&mended),
        Cow::Borrowed(_) => Err(e),
    });
    match raw {
        Ok(raw) => raw.into_event(data),
        Err(e) => Event::Unreadable(format!("{e}: {}", excerpt(data))),
    }
}

fn is_keep_alive(data: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, Value>>(data)
        .is_ok_and(|object| object.is_empty() || object.get("type").is_some_and(|kind| kind == "ping"))
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
    // In one line: it becomes part of a sentence.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
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
        if self.error.is_none() && !given && self.usage.is_none() && is_keep_alive(data) {
            return Event::KeepAlive;
        }
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

/// Members of a delta that tell of it and are none of it.
const ABOUT: [&str; 9] = ["role", "id", "name", "type", "object", "model", "index", "status", "finish_reason"];

#[derive(Default)]
struct RawDelta {
    role: Option<Said>,
    content: Option<Said>,
    /// Text under any other name. Thoughts have many: `reasoning_content` (vLLM before 0.12, DeepSeek), `reasoning`,
    /// `reasoning_text`, `thinking`; one that is passed over would hide the first token.
    other: bool,
    /// Parts of a call, or a sound.
    call: bool,
}

impl<'de> Deserialize<'de> for RawDelta {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawDelta;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a delta")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawDelta, A::Error> {
                let mut delta = RawDelta::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "role" => delta.role = map.next_value()?,
                        "content" => delta.content = map.next_value()?,
                        "tool_calls" | "function_call" | "audio" => {
                            delta.call |= matches!(map.next_value()?, Glimpse::Filled);
                        }
                        name if ABOUT.contains(&name) => drop(map.next_value::<IgnoredAny>()?),
                        _ => delta.other |= matches!(map.next_value()?, Glimpse::Text),
                    }
                }
                Ok(delta)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// What stands under a name that nobody agreed on.
enum Glimpse {
    Nothing,
    Text,
    /// An array or object with something in it.
    Filled,
}

impl<'de> Deserialize<'de> for Glimpse {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) if !text.is_empty() => Glimpse::Text,
            Value::Array(items) if !items.is_empty() => Glimpse::Filled,
            Value::Object(members) if !members.is_empty() => Glimpse::Filled,
            _ => Glimpse::Nothing,
        })
    }
}

impl RawChoice {
    fn content(&self) -> ChunkContent {
        let nothing = RawDelta::default();
        let delta = self.delta.as_ref().unwrap_or(&nothing);
        let texts = [self.text, delta.content];
        if delta.other || texts.contains(&Some(Said::Something)) {
            ChunkContent::Text
        } else if delta.call {
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
mod tests;
