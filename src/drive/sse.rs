//! Server-sent events out of bytes, as they come from the socket: pure, incremental, bounded.
//!
//! An event whose line lies in one piece of input is handed on where it lies; only what a read has cut in two is copied.
//! Lines end with LF or CR LF, which is what servers send. Deliberately absent: `event`, `id` and `retry` fields, which
//! OpenAI-compatible servers don't use, a lone CR as line end, and reconnection.

use memchr::memchr;

/// An event's data may not be longer: no chunk of an answer comes near it, and an endless line would eat the memory.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// A line or event beyond 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event longer than {MAX_EVENT_BYTES} bytes")]
pub(super) struct TooLong;

/// Splits a byte stream into the data of its events.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    /// Beginning of a line whose end hasn't come yet.
    line: Vec<u8>,
    /// Data lines so far of the event being read, where they couldn't be handed on as they lay.
    data: Option<Vec<u8>>,
}

enum SseLine<'a> {
    /// Ends an event.
    Blank,
    Data(&'a [u8]),
    /// A comment or another field.
    Other,
}

impl SseParser {
    /// Calls `each` with the data of every event that `input` completes.
    pub(super) fn feed(&mut self, mut input: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        // The event's only data line so far, still where it lies in the input.
        let mut lying: Option<&[u8]> = None;
        while let Some(end) = memchr(b'\n', input) {
            let (head, rest) = (&input[..end], &input[end + 1..]);
            input = rest;
            if self.line.is_empty() {
                match classify(head) {
                    SseLine::Data(data) if lying.is_none() && self.data.is_none() => lying = Some(data),
                    SseLine::Data(data) => self.keep(lying.take().into_iter().chain([data]))?,
                    SseLine::Blank => self.emit(lying.take(), &mut each),
                    SseLine::Other => {}
                }
            } else {
                self.keep(lying.take().into_iter())?;
                self.line.extend_from_slice(head);
                self.finish_cut_line(&mut each)?;
            }
        }
        self.keep(lying.into_iter())?;
        self.line.extend_from_slice(input);
        if self.line.len() > MAX_EVENT_BYTES { Err(TooLong) } else { Ok(()) }
    }

    /// The stream has ended: hands on the event that a server left without its blank line.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if self.finish_cut_line(&mut each).is_ok() {
            self.emit(None, &mut each);
        }
    }

    fn finish_cut_line(&mut self, each: &mut impl FnMut(&[u8])) -> Result<(), TooLong> {
        let mut line = std::mem::take(&mut self.line);
        match classify(&line) {
            SseLine::Data(data) => self.keep([data].into_iter())?,
            SseLine::Blank => self.emit(None, each),
            SseLine::Other => {}
        }
        line.clear();
        self.line = line;
        Ok(())
    }

    /// Several data lines of one event are joined by line feeds.
    fn keep<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> Result<(), TooLong> {
        for line in lines {
            match &mut self.data {
                None => self.data = Some(line.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(line);
                }
            }
        }
        if self.data.as_ref().is_some_and(|data| data.len() > MAX_EVENT_BYTES) { Err(TooLong) } else { Ok(()) }
    }

    fn emit(&mut self, lying: Option<&[u8]>, each: &mut impl FnMut(&[u8])) {
        match (lying, self.data.take()) {
            (Some(data), _) => each(data),
            (None, Some(data)) => each(&data),
            // Blank lines between events end nothing.
            (None, None) => {}
        }
    }
}

fn classify(line: &[u8]) -> SseLine<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return SseLine::Blank;
    }
    match line.strip_prefix(b"data") {
        Some([]) => SseLine::Data(&[]),
        Some([b':', b' ', data @ ..] | [b':', data @ ..]) => SseLine::Data(data),
        _ => SseLine::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut each = |data: &[u8]| seen.push(String::from_utf8_lossy(data).into_owned());
        let mut parser = SseParser::default();
        for piece in pieces {
            parser.feed(piece, &mut each).expect("short enough");
        }
        parser.finish(&mut each);
        seen
    }

    #[test]
    fn the_shapes_of_the_specification_are_understood() {
        assert_eq!(events(&[b"data: a\n\ndata: b\n\n"]), ["a", "b"]);
        assert_eq!(events(&[b"data: a\r\n\r\ndata:b\r\n\r\n"]), ["a", "b"]);
        assert_eq!(events(&[b"data: one\ndata: two\n\n"]), ["one\ntwo"]);
        assert_eq!(events(&[b": ping\n\ndata: a\nevent: x\nid: 7\n\n\n\n"]), ["a"]);
        assert_eq!(events(&[b"data\n\ndata:\n\ndata:  x\n\n"]), ["", "", " x"]);
        assert_eq!(events(&[b"database: no\n\n"]), [""; 0]);
    }

    #[test]
    fn an_event_without_its_blank_line_counts_at_the_end() {
        assert_eq!(events(&[b"data: [DONE]"]), ["[DONE]"]);
        assert_eq!(events(&[b"data: [DONE]\n"]), ["[DONE]"]);
        assert_eq!(events(&[b"data: a\n\nda"]), ["a"]);
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_refused() {
        let piece = vec![b'x'; 1 << 16];
        let mut parser = SseParser::default();
        let outcome = (0..17).try_for_each(|_| parser.feed(&piece, |_| {}));
        assert_eq!(outcome, Err(TooLong));
        let line = b"data: 0123456789abcdef\n".repeat(100);
        let mut parser = SseParser::default();
        let outcome = (0..10_000).try_for_each(|_| parser.feed(&line, |_| {}));
        assert_eq!(outcome, Err(TooLong));
    }

    proptest! {
        #[test]
        fn cuts_never_change_the_events(
            lines in prop::collection::vec(
                prop_oneof![Just("data: {\"text\":\"\u{e4}\u{1f600}\"}"), Just("data:b"), Just(""), Just(": c"), Just("data"), Just("\r")],
                0..12,
            ),
            cuts in prop::collection::vec(0usize..300, 0..6),
        ) {
            let bytes = lines.join("\n").into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[&bytes]));
        }
    }
}
