//! Chunks of one answer differ in little but their text. What is equal need not be read as JSON again.
//!
//! A chunk that brought a token and nothing else is kept as what stands before its text and what stands after. A later
//! one that begins and ends with the same bytes, and has a plain string between, says the same by the grammar of JSON:
//! an unescaped quote ends a string, so nothing else can have begun or ended in between. Everything else is read as a
//! whole.

use super::chunk::{self, Chunk, Event};

/// Keys of generated text with the opening quote of their value, as compact and as airy JSON has them.
const TEXT_KEYS: [&[u8]; 4] = [br#""text":""#, br#""content":""#, br#""text": ""#, br#""content": ""#];
/// Chunks of an answer that are tried as a pattern: where something else changes each time, none will fit.
const TRIES: u8 = 4;

/// What the token chunks of one answer have in common.
#[derive(Debug, Default)]
pub struct Pattern {
    before: Vec<u8>,
    /// Never empty in a pattern: it begins with the quote that ends the text.
    after: Vec<u8>,
    tries: u8,
}

impl Pattern {
    /// Reads one event's data, as [`chunk::read`] does.
    pub fn read<'a>(&mut self, data: &'a [u8]) -> Event<'a> {
        if self.fits(data) {
            return Event::Chunk(Chunk::token_alone(data));
        }
        let event = chunk::read(data);
        if self.tries < TRIES && matches!(&event, Event::Chunk(chunk) if chunk.is_token_alone()) {
            self.tries += 1;
            self.learn(data);
        }
        event
    }

    fn fits(&self, data: &[u8]) -> bool {
        let text = || data.strip_prefix(self.before.as_slice())?.strip_suffix(self.after.as_slice());
        // Whether an empty text is a token depends on what stands around it.
        !self.after.is_empty() && text().is_some_and(|text| !text.is_empty() && is_plain(text))
    }

    fn learn(&mut self, data: &[u8]) {
        let mut places = TEXT_KEYS.iter().flat_map(|key| {
            let at = move |(at, window): (usize, &[u8])| (window == *key).then_some(at + key.len());
            data.windows(key.len()).enumerate().filter_map(at)
        });
        let (Some(start), None) = (places.next(), places.next()) else { return };
        let Some(length) = data[start..].iter().position(|byte| *byte == b'"') else { return };
        let (text, after) = data[start..].split_at(length);
        if !text.is_empty() && is_plain(text) {
            self.before = data[..start].to_vec();
            self.after = after.to_vec();
        }
    }
}

/// Whether bytes are the inside of a JSON string as they stand, without an escape.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\') && std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMPLETION: &str = r#"{"id":"c","created":1,"choices":[{"index":0,"text":TEXT,"logprobs":null,"finish_reason":null}],"usage":null}"#;
    const CHAT: &str = r#"{"id":"c","choices": [{"delta": {"content": TEXT}, "finish_reason": null}]}"#;
    const OPENING: &str = r#"{"id":"c","choices": [{"delta": {"role": "assistant", "content": TEXT}}]}"#;
    const LAST: &str =
        r#"{"id":"c","created":1,"choices":[{"index":0,"text":TEXT,"finish_reason":"length"}],"usage":null}"#;
    const USAGE: &str = r#"{"id":"c","choices":[{"text":TEXT}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

    fn said(event: &Event<'_>) -> String {
        match event {
            Event::Chunk(c) => {
                format!("{} {} {:?} {:?} {:?}", c.carries_token, c.has_choice, c.usage, c.finish_reason, c.text())
            }
            other => format!("{other:?}"),
        }
    }

    fn with(shape: &str, text: &str) -> Vec<u8> {
        shape.replace("TEXT", &serde_json::to_string(text).expect("a string")).into_bytes()
    }

    #[test]
    fn the_second_token_of_a_kind_fits() {
        for shape in [COMPLETION, CHAT] {
            let mut pattern = Pattern::default();
            pattern.read(&with(shape, "a"));
            assert!(pattern.fits(&with(shape, " Größe")), "{shape}");
            assert!(!pattern.fits(&with(shape, "")) && !pattern.fits(&with(shape, "\n")), "{shape}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_not_taken_for_one() {
        let mut pattern = Pattern::default();
        pattern.read(&with(COMPLETION, "a"));
        for text in [&b"\xff"[..], b"\\", b"\x07", b"\",\"finish_reason\":\"stop\",\"x\":\""] {
            let at = COMPLETION.replace("TEXT", "\"TEXT\"");
            let (before, after) = at.split_once("TEXT").expect("a place");
            let data = [before.as_bytes(), text, after.as_bytes()].concat();
            assert_eq!(said(&pattern.read(&data)), said(&chunk::read(&data)));
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_the_parser_reads(
            chunks in prop::collection::vec(
                (prop::sample::select(vec![COMPLETION, CHAT, OPENING, LAST, USAGE, "[DONE]", "{TEXT"]), "[a-c\"\\\\\u{e9}\n]{0,3}"),
                0..12
            )
        ) {
            let mut pattern = Pattern::default();
            for (shape, text) in chunks {
                let data = with(shape, &text);
                prop_assert_eq!(said(&pattern.read(&data)), said(&chunk::read(&data)));
            }
        }
    }
}
