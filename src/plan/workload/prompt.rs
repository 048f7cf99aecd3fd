//! What a request says to the model, and how synthetic prompts are made from seeds.

use super::seeds;
use super::tokenizer::{Tokenizer, TokenizerError, Words};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use std::sync::Arc;

/// A rendered prompt. Serialises as the value of a body's `prompt` (ids, text) or `messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    TokenIds(Vec<u32>),
    Text(String),
    Messages(Vec<Message>),
    Vision(Vision),
}

/// A chat of one user turn with a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vision {
    pub words: String,
    pub picture: Picture,
}

/// A picture's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Media type, e.g. `image/png`.
    pub media: &'static str,
    pub bytes: Arc<[u8]>,
}

impl Serialize for Vision {
    /// As OpenAI's chat has it, the picture as a `data:` URL.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Picture { media, bytes } = &self.picture;
        let url = format!("data:{media};base64,{}", STANDARD.encode(bytes));
        let words = serde_json::json!({ "type": "text", "text": self.words });
        let picture = serde_json::json!({ "type": "image_url", "image_url": { "url": url } });
        let mut messages = serializer.serialize_seq(Some(1))?;
        messages.serialize_element(&serde_json::json!({ "role": "user", "content": [words, picture] }))?;
        messages.end()
    }
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: String,
}

/// What a chat template puts around each message, about; the server's own count is in the record.
pub(super) const TOKENS_PER_MESSAGE: u32 = 4;

/// A chat as plain text, ending where the answer begins.
pub(super) fn transcript<'a>(messages: impl IntoIterator<Item = &'a Message>) -> String {
    let mut text = String::new();
    for Message { role, content } in messages {
        text.push_str(match *role {
            "user" => "User: ",
            "system" => "System: ",
            _ => "Assistant: ",
        });
        text.push_str(content);
        text.push_str("\n\n");
    }
    text.push_str("Assistant:");
    text
}

impl Prompt {
    /// A chat of one user turn.
    pub fn user(content: String) -> Self {
        Prompt::Messages(vec![Message { role: "user", content }])
    }

    /// Name of the body's field that holds it.
    pub fn field(&self) -> &'static str {
        match self {
            Prompt::TokenIds(_) | Prompt::Text(_) => "prompt",
            Prompt::Messages(_) | Prompt::Vision(_) => "messages",
        }
    }

    /// The prompt's JSON, as it stands in a body.
    pub fn to_json(&self) -> Vec<u8> {
        // Numbers and strings into memory: neither the data nor the writer can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A stretch of a synthetic prompt: the same seed gives the same tokens, a shorter stretch their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PromptSegment {
    pub(super) seed: u64,
    pub(super) tokens: u32,
}

/// What synthetic prompts are written in.
#[derive(Debug, Clone)]
pub(super) enum Alphabet {
    /// Ordinary token ids of a known vocabulary.
    Ids(Vec<u32>),
    /// Without a tokenizer: ids that are ordinary tokens in the vocabularies of LLaMA, Qwen, Mistral, GPT-2 and OPT,
    /// whose specials and bytes lie below and whose smallest vocabulary holds 32,000.
    CommonIds,
    /// Text, for endpoints that take no token ids.
    Words(Words),
}

const COMMON_IDS: std::ops::Range<u32> = 1_000..30_000;

impl Alphabet {
    pub(super) fn ids(tokenizer: Option<&Tokenizer>) -> Self {
        match tokenizer.map(Tokenizer::ordinary_ids) {
            Some(ids) if !ids.is_empty() => Alphabet::Ids(ids),
            _ => Alphabet::CommonIds,
        }
    }

    pub(super) fn words(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        tokenizer.words().map(Alphabet::Words)
    }

    /// Exactly as many tokens as the stretches sum to.
    pub(super) fn write(&self, stretches: impl Iterator<Item = PromptSegment>) -> Prompt {
        match self {
            Alphabet::Ids(ids) => Prompt::TokenIds(letters(stretches, ids.len()).map(|i| ids[i]).collect()),
            Alphabet::CommonIds => {
                let base = COMMON_IDS.start;
                Prompt::TokenIds(letters(stretches, COMMON_IDS.len()).map(|i| base + i as u32).collect())
            }
            Alphabet::Words(Words { words, leading_space }) => {
                let mut text = String::new();
                for letter in letters(stretches, words.len()) {
                    if *leading_space || !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(&words[letter]);
                }
                Prompt::user(text)
            }
        }
    }
}

/// Uniform indices below `size` (Lemire's multiply-shift on 32 bits; its bias below 2^-14 is of no consequence here).
fn letters(stretches: impl Iterator<Item = PromptSegment>, size: usize) -> impl Iterator<Item = usize> {
    stretches.flat_map(move |stretch| {
        let mut rng = seeds::generator(stretch.seed);
        (0..stretch.tokens).map(move |_| ((u64::from(rng.next_u32()) * size as u64) >> 32) as usize)
    })
}
