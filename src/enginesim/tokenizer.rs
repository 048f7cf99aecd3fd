//! Text to tokens and back, with one small byte-level BPE vocabulary for every preset.
//!
//! Decoding goes through a table of bytes: a token may end inside a UTF-8 character, and then its
//! text appears with a later token, as vLLM's incremental detokeniser does it.

use std::collections::HashMap;

use tokenizers::Tokenizer;

static VOCABULARY: &[u8] = include_bytes!("../../topologies/tokenizers/small-bpe.json");

/// Ends an answer; has no text.
pub(super) const END_OF_TEXT: u32 = 0;
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Prompts may hold ids up to the largest vocabulary of the presets' models, padding included.
pub(super) const VOCABULARY_LIMIT: u32 = 151_936;

/// One role and text of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub role: String,
    pub text: String,
}

/// The vocabulary in both directions.
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    bytes: Vec<Vec<u8>>,
    /// Tokens that are one lower-case English word after a space.
    words: Vec<u32>,
}

impl Vocabulary {
    /// Loads the embedded vocabulary; an error means a broken build.
    pub(super) fn load() -> Result<Self, tokenizers::Error> {
        let tokenizer = Tokenizer::from_bytes(VOCABULARY)?;
        let by_char = byte_alphabet();
        let mut bytes = vec![Vec::new(); tokenizer.get_vocab_size(true)];
        for (token, id) in tokenizer.get_vocab(true) {
            if !SPECIAL.contains(&token.as_str()) {
                bytes[id as usize] = token.chars().filter_map(|c| by_char.get(&c).copied()).collect();
            }
        }
        let words = (0..bytes.len() as u32).filter(|id| is_word(&bytes[*id as usize])).collect();
        Ok(Self { tokenizer, bytes, words })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, tokenizers::Error> {
        Ok(self.tokenizer.encode_fast(text, true)?.get_ids().to_vec())
    }

    /// Tokens of a conversation in ChatML, ready for the assistant to speak.
    pub(super) fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>, tokenizers::Error> {
        let mut text = String::new();
        for message in messages {
            text.push_str(&format!("<|im_start|>{}\n{}<|im_end|>\n", message.role, message.text));
        }
        text.push_str("<|im_start|>assistant\n");
        self.encode(&text)
    }

    /// Number of tokens with a text of their own.
    pub(super) fn size(&self) -> u32 {
        self.bytes.len() as u32
    }

    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    pub(super) fn special_tokens() -> u32 {
        SPECIAL.len() as u32
    }

    fn bytes_of(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }
}

fn is_word(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes[0] == b' ' && bytes[1..].iter().all(u8::is_ascii_lowercase)
}

/// GPT-2's printable stand-ins for bytes, which byte-level vocabularies are written in.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256u32;
    let mut table = HashMap::new();
    for byte in 0..=255u8 {
        let code = if printable(byte) {
            u32::from(byte)
        } else {
            next += 1;
            next - 1
        };
        table.extend(char::from_u32(code).map(|c| (c, byte)));
    }
    table
}

/// Turns tokens into text one by one.
#[derive(Debug, Default)]
pub(super) struct Detokenizer {
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Text that `token` completes; bytes that may still become a character stay behind.
    pub(super) fn push(&mut self, vocabulary: &Vocabulary, token: u32) -> String {
        self.pending.extend_from_slice(vocabulary.bytes_of(token));
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[bad..].to_vec();
                }
            }
        }
    }

    /// What is left when no more tokens come.
    pub(super) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.pending).is_empty() { "" } else { "\u{fffd}" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(vocabulary: &Vocabulary, tokens: &[u32]) -> String {
        let mut detokenizer = Detokenizer::default();
        let text: String = tokens.iter().map(|t| detokenizer.push(vocabulary, *t)).collect();
        text + detokenizer.finish()
    }

    #[test]
    fn any_text_survives_the_round_trip() {
        let vocabulary = Vocabulary::load().unwrap();
        for text in ["def main(argv):", "naïve café, 你好 🦀\n\ttabs", " two  spaces ", ""] {
            let tokens = vocabulary.encode(text).unwrap();
            assert_eq!(decode(&vocabulary, &tokens), text);
        }
    }

    #[test]
    fn a_cut_character_appears_with_its_last_token() {
        let vocabulary = Vocabulary::load().unwrap();
        let tokens = vocabulary.encode("🦀").unwrap();
        assert!(tokens.len() > 1, "the crab is not in the vocabulary");
        let mut detokenizer = Detokenizer::default();
        let pieces: Vec<_> = tokens.iter().map(|t| detokenizer.push(&vocabulary, *t)).collect();
        assert_eq!(pieces.last().unwrap(), "🦀");
        assert!(pieces[..pieces.len() - 1].iter().all(String::is_empty));
        assert_eq!(decode(&vocabulary, &tokens[..1]), "\u{fffd}");
    }

    #[test]
    fn words_alone_encode_to_themselves() {
        let vocabulary = Vocabulary::load().unwrap();
        assert!(vocabulary.words().len() > 500);
        let stable = vocabulary.words().iter().filter(|id| {
            let text = decode(&vocabulary, &[**id]);
            vocabulary.encode(&text).unwrap() == [**id]
        });
        assert_eq!(stable.count(), vocabulary.words().len());
    }

    #[test]
    fn a_conversation_has_its_markers_as_single_tokens() {
        let vocabulary = Vocabulary::load().unwrap();
        let message = Message { role: "user".into(), text: "hi".into() };
        let tokens = vocabulary.encode_chat(&[message]).unwrap();
        assert_eq!(tokens.iter().filter(|t| **t == 1).count(), 2);
        assert_eq!(tokens.iter().filter(|t| **t == 2).count(), 1);
    }
}
