//! Chunks of one answer differ in little but their text and their count. What is equal need not be read as JSON again.
//!
//! A chunk that brought a token and no end is kept as what stands before its text and what stands after, with gaps where
//! continuous usage counts. A later one that has the same bytes around a plain string and plain numbers says the same by
//! the grammar of JSON: an unescaped quote ends a string, and digits followed by what ends a number are that number, so
//! nothing else can have begun or ended in between. Everything else is read as a whole.

use super::chunk::{self, ChunkContent, Event, StreamChunk, Usage};

/// Keys of generated text with the opening quote of their value, as compact and as airy JSON has them.
const TEXT_KEYS: [&[u8]; 4] = [br#""text":""#, br#""content":""#, br#""text": ""#, br#""content": ""#];
/// Members of `usage` that grow with every token.
const COMPLETION_KEY: &[u8] = br#""completion_tokens":"#;
const TOTAL_KEY: &[u8] = br#""total_tokens":"#;
/// Chunks of an answer that are tried as a pattern: where something else changes each time, none will fit.
const TRIES: u8 = 4;

/// A number that differs from chunk to chunk.
#[derive(Debug, Clone, Copy)]
struct Number {
    before: usize,
    /// Whether it is the completion's count.
    of_completion: bool,
}

/// What the token chunks of one answer have in common.
#[derive(Debug, Default)]
pub(crate) struct Pattern {
    /// What stands before the text, before each number and at the end, in one piece: thousands of answers are open at a
    /// time, and each of their patterns has to come into the cache anew.
    bytes: Vec<u8>,
    /// Of `bytes`, up to the text, its opening quote included. Nothing in no pattern.
    before: usize,
    /// Further on, from the quote that ends the text: how much stands before each number.
    numbers: [Option<Number>; 2],
    /// As `usage` tells it, which is the same in all of them.
    prompt_tokens: Option<u32>,
    /// What an empty text is here: it depends on what stands around it.
    empty: Option<ChunkContent>,
    tries: u8,
}

impl Pattern {
    /// Reads one event's data, as [`chunk::read`] does.
    pub(crate) fn read<'a>(&mut self, data: &'a [u8]) -> Event<'a> {
        if let Some((content, usage)) = self.fit(data) {
            return Event::Chunk(StreamChunk::alike(data, content, usage));
        }
        let event = chunk::read(data);
        if self.tries < TRIES
            && let Event::Chunk(chunk) = &event
            && chunk.content == ChunkContent::Text
            && chunk.finish_reason.is_none()
        {
            self.tries += 1;
            if let Some(pattern) = learn(data, chunk.usage) {
                *self = Pattern { tries: self.tries, ..pattern };
            }
        }
        event
    }

    /// What such a chunk brings, and what its usage says, if it says anything; `None` if the bytes don't fit.
    fn fit(&self, data: &[u8]) -> Option<(ChunkContent, Option<Usage>)> {
        let (before, mut pattern) = self.bytes.split_at(self.before);
        let rest = data.strip_prefix(before).filter(|_| !before.is_empty())?;
        let (text, mut rest) = rest.split_at(memchr::memchr(b'"', rest)?);
        let content = if text.is_empty() { self.empty? } else { ChunkContent::Text };
        if !is_plain(text) {
            return None;
        }
        let mut completion_tokens = None;
        for Number { before, of_completion } in self.numbers.iter().flatten() {
            let (before, further) = pattern.split_at(*before);
            let (number, after) = number(rest.strip_prefix(before)?)?;
            (rest, pattern) = (after, further);
            completion_tokens = if *of_completion { Some(number) } else { completion_tokens };
        }
        let usage = completion_tokens.map(|_| Usage { prompt_tokens: self.prompt_tokens, completion_tokens });
        (rest == pattern).then_some((content, usage))
    }
}

/// The pattern of a chunk with a token and this usage; `None` where bytes and meaning can't be told apart safely.
fn learn(data: &[u8], usage: Option<Usage>) -> Option<Pattern> {
    let start = only_place(data, &TEXT_KEYS)?;
    let (text, mut rest) = data[start..].split_at(memchr::memchr(b'"', &data[start..])?);
    if !is_plain(text) {
        return None;
    }
    let empty = [&data[..start], rest].concat();
    let empty = match chunk::read(&empty) {
        Event::Chunk(chunk) => Some(chunk.content),
        _ => None,
    };
    let (mut bytes, mut numbers) = (data[..start].to_vec(), [None; 2]);
    if let Some(usage) = usage {
        let mut from = 0;
        for (number, (gap, of_completion)) in numbers.iter_mut().zip(counts(rest, usage)?) {
            *number = Some(Number { before: gap.start - from, of_completion });
            bytes.extend_from_slice(&rest[from..gap.start]);
            from = gap.end;
        }
        rest = &rest[from..];
    }
    bytes.extend_from_slice(rest);
    bytes.shrink_to_fit();
    let prompt_tokens = usage.and_then(|usage| usage.prompt_tokens);
    Some(Pattern { bytes, before: start, numbers, prompt_tokens, empty, tries: 0 })
}

/// Where usage counts, at most twice, in the order of the bytes, and which one is the completion's.
fn counts(data: &[u8], usage: Usage) -> Option<Vec<(Gap, bool)>> {
    let completion = number_at(data, only_place(data, &[COMPLETION_KEY])?)?;
    if usage.completion_tokens != Some(completion.value) {
        return None;
    }
    let mut counts = vec![(completion, true)];
    if let Some(at) = only_place(data, &[TOTAL_KEY]) {
        counts.push((number_at(data, at)?, false));
    }
    counts.sort_by_key(|(gap, _)| gap.start);
    Some(counts)
}

/// Right behind the one of these keys that occurs, and occurs once.
fn only_place(data: &[u8], keys: &[&[u8]]) -> Option<usize> {
    let behind = |key: &&[u8]| memchr::memmem::find_iter(data, *key).map(|at| at + key.len()).collect::<Vec<_>>();
    let places: Vec<usize> = keys.iter().flat_map(behind).collect();
    <[usize; 1]>::try_from(places).ok().map(|[at]| at)
}

/// A number within bytes.
struct Gap {
    start: usize,
    end: usize,
    value: u32,
}

/// The value right behind a key, or behind a space.
fn number_at(data: &[u8], start: usize) -> Option<Gap> {
    let start = start + usize::from(data.get(start) == Some(&b' '));
    let (value, after) = number(&data[start..])?;
    let ends = after.first().is_some_and(|byte| matches!(byte, b',' | b'}' | b' '));
    ends.then_some(Gap { start, end: data.len() - after.len(), value })
}

/// Digits as JSON writes a count, and what follows them.
fn number(data: &[u8]) -> Option<(u32, &[u8])> {
    let digits = data.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Nine digits fit into a u32.
    if !(1..=9).contains(&digits) || (digits > 1 && data[0] == b'0') {
        return None;
    }
    let (digits, after) = data.split_at(digits);
    Some((digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')), after))
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
    const USAGE: &str = r#"{"id":"c","choices":[{"text":TEXT}],"usage":{"prompt_tokens":3,"completion_tokens":COUNT}}"#;
    const VLLM: &str = r#"{"id":"c","choices":[{"index":0,"text":TEXT,"finish_reason":null}],"usage":{"prompt_tokens":3,"total_tokens":COUNT,"completion_tokens":COUNT,"prompt_tokens_details":null}}"#;
    const AIRY: &str = r#"{"choices": [{"text": TEXT}], "usage": {"completion_tokens": COUNT , "prompt_tokens": 3, "total_tokens": 9}}"#;
    const FIRST: &str = r#"{"usage":{"completion_tokens":COUNT},"choices":[{"text":TEXT}]}"#;
    const DOUBTFUL: &str = r#"{"choices":[{"text":TEXT,"completion_tokens":COUNT}],"usage":{"prompt_tokens":3,"completion_tokens":COUNT}}"#;

    fn said(event: &Event<'_>) -> String {
        match event {
            Event::Chunk(c) => {
                format!("{:?} {:?} {:?} {:?}", c.content, c.usage, c.finish_reason, c.text())
            }
            other => format!("{other:?}"),
        }
    }

    fn with(shape: &str, text: &str, count: &str) -> Vec<u8> {
        let text = serde_json::to_string(text).expect("a string");
        shape.replace("TEXT", &text).replace("COUNT", count).into_bytes()
    }

    #[test]
    fn the_second_token_of_a_kind_fits() {
        for shape in [COMPLETION, CHAT, USAGE, VLLM, AIRY] {
            let mut pattern = Pattern::default();
            pattern.read(&with(shape, " a", "1"));
            assert!(pattern.fit(&with(shape, " Größe", "20")).is_some(), "{shape}");
            assert!(pattern.fit(&with(shape, "", "2")).is_some(), "{shape}");
            assert!(pattern.fit(&with(shape, "\n", "2")).is_none(), "{shape}");
        }
    }

    #[test]
    fn counts_are_read_from_where_they_stand() {
        let mut pattern = Pattern::default();
        pattern.read(&with(VLLM, "a", "1"));
        let usage = Some(Usage { prompt_tokens: Some(3), completion_tokens: Some(12) });
        assert_eq!(pattern.fit(&with(VLLM, "b", "12")), Some((ChunkContent::Text, usage)));
        for count in ["", "-1", "01", "1.5", "1e3", "4294967296", "null"] {
            assert_eq!(pattern.fit(&with(VLLM, "b", count)), None, "{count}");
        }
    }

    #[test]
    fn an_empty_text_beside_a_role_stays_nothing() {
        let mut pattern = Pattern::default();
        pattern.read(&with(OPENING, "a", ""));
        assert_eq!(pattern.fit(&with(OPENING, "b", "")), Some((ChunkContent::Text, None)));
        assert_eq!(pattern.fit(&with(OPENING, "", "")), Some((ChunkContent::Nothing, None)));
    }

    #[test]
    fn bytes_that_are_no_text_are_not_taken_for_one() {
        let mut pattern = Pattern::default();
        pattern.read(&with(COMPLETION, "a", ""));
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
                (
                    prop::sample::select(vec![
                        COMPLETION, CHAT, OPENING, LAST, USAGE, VLLM, AIRY, FIRST, DOUBTFUL, "[DONE]", "{TEXT"
                    ]),
                    "[a-c\"\\\\\u{e9}\n]{0,3}",
                    prop_oneof![3 => "[0-9]{1,3}", 1 => "[0-9.e-]{0,12}"],
                ),
                0..12
            )
        ) {
            let mut pattern = Pattern::default();
            for (shape, text, count) in chunks {
                let data = with(shape, &text, &count);
                prop_assert_eq!(said(&pattern.read(&data)), said(&chunk::read(&data)));
            }
        }
    }
}
