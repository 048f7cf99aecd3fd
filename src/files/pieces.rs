//! A file of JSON values, one after the other: the elements of an array, JSON Lines, or objects that follow each other
//! over several lines. One that is damaged costs itself and not the rest, and none is larger than memory should hold.

use crate::words;
use std::io::{self, BufRead, Error, ErrorKind, Read};

/// One value, still as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The line it begins in, from 1; its position in an array.
    pub number: u64,
    pub in_array: bool,
    pub text: Vec<u8>,
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

/// The values of a file.
pub(crate) struct Pieces<R> {
    reader: R,
    most: usize,
    layout: PieceLayout,
    /// Lines read, or elements given out.
    count: u64,
    /// A line that was read too early.
    held: Option<Piece>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PieceLayout {
    Unknown,
    Lines,
    Array,
    Ended,
}

impl<R: BufRead> Pieces<R> {
    /// Values of at most this many bytes each.
    pub(crate) fn new(reader: R, most: usize) -> Self {
        Pieces { reader, most, layout: PieceLayout::Unknown, count: 0, held: None }
    }

    fn advance(&mut self) -> io::Result<Option<Piece>> {
        if self.layout == PieceLayout::Unknown {
            self.layout = self.detect()?;
        }
        match self.layout {
            PieceLayout::Array => self.element(),
            PieceLayout::Lines => self.line(),
            PieceLayout::Unknown | PieceLayout::Ended => Ok(None),
        }
    }

    /// Skips white space and the bracket of an array.
    fn detect(&mut self) -> io::Result<PieceLayout> {
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(PieceLayout::Ended);
            }
            let blank = chunk.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let first = chunk.get(blank).copied();
            self.count += memchr::memchr_iter(b'\n', &chunk[..blank]).count() as u64;
            self.reader.consume(blank + usize::from(first == Some(b'[')));
            match first {
                Some(b'[') => {
                    self.count = 0;
                    return Ok(PieceLayout::Array);
                }
                Some(_) => return Ok(PieceLayout::Lines),
                None => {}
            }
        }
    }

    fn element(&mut self) -> io::Result<Option<Piece>> {
        let mut text = Vec::new();
        let mut scan = Scan::default();
        loop {
            let chunk = self.reader.fill_buf()?;
            let end = scan.end_of_element(chunk);
            let used = end.unwrap_or(chunk.len());
            let last = chunk.is_empty() || end.is_some_and(|at| chunk[at] == b']');
            text.extend_from_slice(&chunk[..used]);
            self.reader.consume(used + usize::from(end.is_some()));
            self.check_size(text.len())?;
            if last {
                self.layout = PieceLayout::Ended;
            }
            if !last && end.is_none() {
                continue;
            }
            // `[]`, and the comma that some leave behind the last element.
            if is_blank(&text) {
                if last {
                    return Ok(None);
                }
                text.clear();
                continue;
            }
            self.count += 1;
            return Ok(Some(Piece { number: self.count, in_array: true, text }));
        }
    }

    fn line(&mut self) -> io::Result<Option<Piece>> {
        let mut open: Option<Piece> = None;
        let mut scan = Scan::default();
        loop {
            let Some(line) = self.next_line()? else { return Ok(open) };
            // An object begins at the margin: what was open before it never ends.
            if open.is_some() && line.text.starts_with(b"{") {
                self.held = Some(line);
                return Ok(open);
            }
            if open.is_none() && is_blank(&line.text) {
                continue;
            }
            scan.pass_over(&line.text);
            let piece = match open.take() {
                Some(open) => Piece { text: [open.text, line.text].concat(), ..open },
                None => line,
            };
            self.check_size(piece.text.len())?;
            // No string goes on in the next line: one that seems to is damaged.
            if scan.is_outside() || scan.in_string {
                return Ok(Some(piece));
            }
            open = Some(piece);
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Piece>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let mut text = Vec::new();
        (&mut self.reader).take(self.most as u64 + 1).read_until(b'\n', &mut text)?;
        self.check_size(text.len())?;
        self.count += 1;
        Ok((!text.is_empty()).then_some(Piece { number: self.count, in_array: false, text }))
    }

    fn check_size(&self, bytes: usize) -> io::Result<()> {
        if bytes <= self.most {
            return Ok(());
        }
        let what = if self.layout == PieceLayout::Array { "element" } else { "line" };
        let text = format!("{what} {} is longer than {}", self.count + 1, words::bytes(self.most as u64));
        Err(Error::new(ErrorKind::FileTooLarge, text))
    }
}

impl<R: BufRead> Iterator for Pieces<R> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<io::Result<Piece>> {
        let next = self.advance().transpose();
        if let Some(Err(_)) = next {
            self.layout = PieceLayout::Ended;
        }
        next
    }
}

/// Where in a JSON value a reader stands.
#[derive(Debug, Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn is_outside(&self) -> bool {
        self.depth == 0 && !self.in_string
    }

    fn pass_over(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            at += self.step(&text[at..]);
        }
    }

    /// Where the comma or bracket stands that ends an element of an array.
    fn end_of_element(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < text.len() {
            if self.is_outside() && matches!(text[at], b',' | b']') {
                return Some(at);
            }
            at += self.step(&text[at..]);
        }
        None
    }

    /// Goes on by one token or more; how many bytes that took.
    fn step(&mut self, rest: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            return 1;
        }
        if self.in_string {
            let Some(at) = memchr::memchr2(b'"', b'\\', rest) else { return rest.len() };
            self.in_string = rest[at] != b'"';
            self.escaped = self.in_string;
            return at + 1;
        }
        match rest[0] {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(u64, String)> {
        Pieces::new(text.as_bytes(), 1 << 10)
            .map(|piece| piece.expect("short"))
            .map(|piece| (piece.number, String::from_utf8(piece.text).expect("UTF-8").trim().to_string()))
            .collect()
    }

    fn texts(text: &str) -> Vec<String> {
        pieces(text).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn arrays_lines_and_objects_over_lines() {
        assert_eq!(texts(r#" [ {"a": "],["}, [1, 2] ,3, ]"#), [r#"{"a": "],["}"#, "[1, 2]", "3"]);
        assert_eq!(pieces("{\"a\": 1}\r\n\r\n{\"b\": 2}"), [(1, "{\"a\": 1}".into()), (3, "{\"b\": 2}".into())]);
        assert_eq!(texts("{\n  \"a\": {\n  }\n}\n{\"b\": 1}\n"), ["{\n  \"a\": {\n  }\n}", "{\"b\": 1}"]);
        assert_eq!(texts("[]"), [""; 0]);
        assert_eq!(texts(" \n "), [""; 0]);
    }

    #[test]
    fn a_damaged_line_costs_itself() {
        let text = "{\"a\": 1}\n{\"b\": [1\n{\"c\": \"x\n{\"d\": 4}\nword\n{\"e\": 5}";
        assert_eq!(pieces(text).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6], "{:?}", pieces(text));
    }

    #[test]
    fn an_array_that_is_cut_off_keeps_what_it_has() {
        assert_eq!(texts(r#"[{"a": 1}, {"b": "x"#), [r#"{"a": 1}"#, r#"{"b": "x"#]);
        assert_eq!(texts("["), [""; 0]);
    }

    #[test]
    fn no_value_takes_more_than_it_may() {
        for text in [format!("[\"{}\"]", "x".repeat(2000)), "x".repeat(2000), format!("{{\n{}", " \n".repeat(2000))] {
            let last = Pieces::new(text.as_bytes(), 1 << 10).last().expect("something");
            assert_eq!(last.expect_err("too long").kind(), ErrorKind::FileTooLarge);
        }
    }
}
