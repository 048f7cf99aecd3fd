//! JSON as Python writes it: `NaN` and `Infinity` are no JSON, and half an emoji is no Unicode. Python's reader takes
//! all of them, and so does everything written with it.

use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// Words that Python's json writes for numbers, and what stands for them: infinity as the word that vLLM uses.
const NUMBERS: [(&[u8], &[u8]); 3] = [(b"-Infinity", b"\"-inf\""), (b"Infinity", b"\"inf\""), (b"NaN", b"null")];
const REPLACEMENT: &[u8] = b"\\ufffd";

/// A value of JSON or of Python's dialect of it.
///
/// # Errors
/// In the words of the strict parser.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).or_else(|error| match strict(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(text) => serde_json::from_slice(&text),
    })
}

/// JSON that a strict parser takes: `NaN` is null, `Infinity` the string "inf", and a lone half of a surrogate pair
/// U+FFFD. Text without any of these is given back as it is.
pub(crate) fn strict(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while at < text.len() {
        let rest = &text[at..];
        let (length, instead) = match (in_string, rest[0]) {
            (false, b'"') => (1, None),
            (true, b'"') => (1, None),
            (true, b'\\') => escape(rest),
            (false, b'N' | b'I' | b'-') => number(rest),
            (true, _) => (memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len()), None),
            (false, _) => (1, None),
        };
        if rest[0] == b'"' {
            in_string = !in_string;
        }
        if let Some(instead) = instead {
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(instead);
            copied = at + length;
        }
        at += length.max(1);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied.min(text.len())..]);
    Cow::Owned(out)
}

/// Length of a token, and what stands for it if it can't stay.
type JsonToken = (usize, Option<&'static [u8]>);

fn number(rest: &[u8]) -> JsonToken {
    let found = NUMBERS.iter().find(|(word, _)| rest.starts_with(word));
    found.map_or((1, None), |(word, instead)| (word.len(), Some(*instead)))
}

/// `\n`, `\u0041`, or a pair `\ud83d\ude42`.
fn escape(rest: &[u8]) -> JsonToken {
    match unit(rest) {
        Some(0xd800..0xdc00) if matches!(rest.get(6..).and_then(unit), Some(0xdc00..0xe000)) => (12, None),
        Some(0xd800..0xe000) => (6, Some(REPLACEMENT)),
        Some(_) => (6, None),
        None => (2, None),
    }
}

fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn pythons_numbers_are_read() {
        let value: Value = parse(br#"{"a": NaN, "b": [Infinity, -Infinity, -1.5], "c": "NaN"}"#).expect("reads");
        assert_eq!(value, json!({"a": null, "b": ["inf", "-inf", -1.5], "c": "NaN"}));
    }

    #[test]
    fn half_an_emoji_is_replaced_and_a_whole_one_stays() {
        let value: Value =
            parse(br#"["\ud83d!", "\ude42", "\ud83d\ude42", "\\ud83d", "\ud83d\n", "\ud83d\ud83d\ude42"]"#)
                .expect("reads");
        assert_eq!(value, json!(["\u{fffd}!", "\u{fffd}", "🙂", "\\ud83d", "\u{fffd}\n", "\u{fffd}🙂"]));
    }

    #[test]
    fn what_is_damaged_stays_so() {
        for text in ["{\"a\": NaN", "{\"a\": Nan}", "\"\\ud83d", "\"\\u12", "\\", "-"] {
            assert!(parse::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn strict_json_is_left_alone(text in "\\PC*") {
            let json = serde_json::to_vec(&json!({ text.clone(): [text, 1.5, null] })).expect("JSON");
            prop_assert!(matches!(strict(&json), Cow::Borrowed(_)));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            let _ = strict(&bytes);
        }
    }
}
