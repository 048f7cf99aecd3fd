//! What others wrote (engines, servers, files) goes to a terminal as text, never as a command to it.

use crate::words;
use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every control character but newline and tab spelled out, and with it the marks that turn the direction
/// of reading.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

/// As [`escaped`], with the colours left in that our own tables have.
pub(super) fn escaped_but_colours(text: &str) -> Cow<'_, str> {
    const COLOURS: [&str; 5] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match COLOURS.iter().find(|colour| rest.starts_with(**colour)) {
            Some(colour) => {
                out.push_str(colour);
                rest = &rest[colour.len()..];
            }
            None => {
                push(&mut out, c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Cow::Owned(out)
}

/// JSON that serde_json made: it escapes what JSON must, and a terminal obeys more.
pub(super) fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.contains(commands) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match commands(c) {
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn push(out: &mut String, c: char) {
    match c {
        '\r' => out.push_str("\\r"),
        c if !commands(c) => out.push(c),
        c if u32::from(c) < 0x100 => drop(write!(out, "\\x{:02x}", u32::from(c))),
        c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
    }
}

fn commands(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || words::turns_direction(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;title\u{7}\u{1b}[31mred\r\u{9b}2J\u{202e}\u{7f}\tb\n";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(escaped(HOSTILE), "a\\x1b]0;title\\x07\\x1b[31mred\\r\\x9b2J\\u{202e}\\x7f\tb\n");
        assert_eq!(escaped("größer – 1 °C"), "größer – 1 °C");
    }

    #[test]
    fn our_own_colours_stay() {
        let painted = format!("\u{1b}[1mtitle\u{1b}[0m {HOSTILE}\u{1b}[5mblink");
        let shown = escaped_but_colours(&painted);
        assert!(shown.starts_with("\u{1b}[1mtitle\u{1b}[0m a\\x1b]0;title\\x07"), "{shown}");
        assert!(shown.ends_with("\\x1b[5mblink"), "{shown}");
    }

    #[test]
    fn json_stays_the_same_json() {
        let json = serde_json::to_string(&HOSTILE).expect("JSON");
        let shown = escaped_json(&json);
        assert!(!shown.contains(commands), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), HOSTILE);
    }
}
