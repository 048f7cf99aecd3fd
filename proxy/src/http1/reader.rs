//! A response from pieces of bytes as reads bring them, each handed on where it lies; only a line that a read has cut in
//! two is copied.

use super::framing::{Framing, Next};
use super::head::AnswerHead;
use super::{HttpError, MAX_HEAD_BYTES};
use http::Method;

/// Where the response to a POST stands.
#[derive(Debug, Default)]
pub struct ResponseReader {
    head: Option<AnswerHead>,
    /// The beginning of a head, or of a line, whose end has not come yet.
    cut: Vec<u8>,
}

impl ResponseReader {
    /// Calls `each` with the status and the pieces of the body that `input` holds.
    ///
    /// # Errors
    /// If it is no response, or goes on after its end.
    pub fn feed(&mut self, mut input: &[u8], mut each: impl FnMut(u16, &[u8])) -> Result<(), HttpError> {
        while !input.is_empty() {
            let Some(head) = &mut self.head else {
                input = self.feed_head(input)?;
                continue;
            };
            if !self.cut.is_empty() {
                input = finish_line(&mut head.framing, &mut self.cut, input)?;
                continue;
            }
            match head.framing.next(input)? {
                Next::Data(bytes) => {
                    each(head.status.as_u16(), &input[..bytes]);
                    input = &input[bytes..];
                }
                Next::Frame(bytes) => input = &input[bytes..],
                Next::Incomplete => {
                    self.cut.extend_from_slice(input);
                    return Ok(());
                }
                Next::End => return Err(HttpError::Excess),
            }
        }
        Ok(())
    }

    /// Returns what follows the head, or nothing if the head isn't complete.
    fn feed_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], HttpError> {
        let before = self.cut.len();
        self.cut.extend_from_slice(input);
        match AnswerHead::parse(&self.cut, &Method::POST)? {
            None if self.cut.len() > MAX_HEAD_BYTES => Err(HttpError::HeadTooLong),
            None => Ok(&[]),
            Some((head, length)) => {
                self.cut.clear();
                // 100 Continue and its like announce the response proper.
                if !head.status.is_informational() {
                    self.head = Some(head);
                }
                Ok(&input[length - before..])
            }
        }
    }

    /// `None` until the head is complete.
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status.as_u16())
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.as_ref()?.headers.get(name)?.to_str().ok()
    }

    pub fn is_ended(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.framing.is_done())
    }

    /// Whether the connection can serve another request now.
    pub fn is_reusable(&self) -> bool {
        self.is_ended() && self.head.as_ref().is_some_and(|head| head.reusable)
    }

    /// Whether the end of the connection is a proper end of the body.
    pub fn may_end_here(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.framing == Framing::UntilClose || head.framing.is_done())
    }
}

/// Takes as much of `input` as ends the line in `cut`; returns the rest.
fn finish_line<'a>(framing: &mut Framing, cut: &mut Vec<u8>, input: &'a [u8]) -> Result<&'a [u8], HttpError> {
    let before = cut.len();
    let (line, rest) = input.split_at(memchr::memchr(b'\n', input).map_or(input.len(), |end| end + 1));
    cut.extend_from_slice(line);
    match framing.next(cut)? {
        Next::Frame(bytes) => {
            cut.clear();
            Ok(&input[bytes - before..])
        }
        // Only lines are ever cut, and a line holds no data.
        Next::Data(_) | Next::Incomplete | Next::End => Ok(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> (Result<(), HttpError>, String, ResponseReader) {
        let mut reader = ResponseReader::default();
        let mut body = Vec::new();
        let outcome = pieces.iter().try_for_each(|p| reader.feed(p, |_, piece| body.extend_from_slice(piece)));
        (outcome, String::from_utf8_lossy(&body).into_owned(), reader)
    }

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=1\r\n, world\r\n0\r\nX-T: 1\r\n\r\n";

    #[test]
    fn a_body_by_length_ends_and_the_connection_can_be_used_again() {
        let (outcome, body, reader) = read(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]);
        assert_eq!((outcome, body.as_str()), (Ok(()), "ok"));
        assert!(reader.is_reusable());
        let (excess, ..) = read(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay"]);
        assert_eq!(excess, Err(HttpError::Excess));
    }

    #[test]
    fn a_body_without_framing_ends_with_the_connection() {
        let (_, body, reader) = read(&[b"HTTP/1.0 200 OK\r\n\r\npart", b" two"]);
        assert_eq!(body, "part two");
        assert!(reader.may_end_here() && !reader.is_reusable());
    }

    #[test]
    fn a_server_that_closes_is_believed() {
        let (_, _, reader) =
            read(&[b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]);
        assert_eq!((reader.status(), reader.header("retry-after").is_some()), (Some(503), true));
        assert!(reader.is_ended() && !reader.is_reusable());
    }

    #[test]
    fn interim_responses_are_passed_over() {
        let (_, body, _) = read(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"]);
        assert_eq!(body, "x");
    }

    #[test]
    fn broken_framing_is_an_error() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for broken in ["xyz\r\n", "+5\r\nhello", "5\r\nhelloX", "5\nhello", &"1".repeat(5000), "11111111111111111\r\n"]
        {
            let (outcome, ..) = read(&[head.as_bytes(), broken.as_bytes()]);
            assert!(matches!(outcome, Err(HttpError::Chunk(_))), "{broken}");
        }
        assert!(matches!(read(&[b"SSH-2.0-x\r\n"]).0, Err(HttpError::Head(_))));
        for head in ["Content-Length: 2\r\nContent-Length: 3", "Content-Length: +2", "Transfer-Encoding: gzip, chunked"]
        {
            let whole = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok");
            assert!(matches!(read(&[whole.as_bytes()]).0, Err(HttpError::Head(_))), "{head}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; MAX_HEAD_BYTES]].concat();
        assert_eq!(read(&[&endless]).0, Err(HttpError::HeadTooLong));
    }

    /// The other way to read an answer: the proxy's, out of a buffer.
    fn buffered(pieces: &[&[u8]]) -> Result<String, HttpError> {
        let (mut buffer, mut head, mut body) = (BytesMut::new(), None, Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            if head.is_none() {
                head = AnswerHead::take(&mut buffer, &Method::POST)?;
            }
            if let Some(head) = &mut head {
                while let Some(data) = head.framing.take(&mut buffer)? {
                    body.extend_from_slice(&data);
                }
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    proptest! {
        #[test]
        fn cuts_never_change_the_body(cuts in prop::collection::vec(0usize..CHUNKED.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, CHUNKED.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &CHUNKED[w[0]..w[1]]).collect();
            let (outcome, body, reader) = read(&pieces);
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(body, "hello, world");
            prop_assert!(reader.is_reusable());
        }

        #[test]
        fn load_and_proxy_take_and_refuse_the_same(
            head in prop::sample::select(vec![
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
                "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            ]),
            parts in prop::collection::vec(
                prop::sample::select(vec!["3\r\nabc\r\n", "2;x=y\r\nde\r\n", "3\nabc\n", "0\r\n", "\r\n", "T: 1\r\n", "z\r\n", "+1\r\n"]),
                0..6,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let wire = [head, &parts.concat()].concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &wire.as_bytes()[w[0]..w[1]]).collect();
            let (outcome, body, _) = read(&pieces);
            match (outcome, buffered(&pieces)) {
                // What comes after the end is the next exchange's trouble, which the proxy leaves to its pool.
                (Ok(()) | Err(HttpError::Excess), Ok(other)) => prop_assert_eq!(body, other),
                (pushed, other) => prop_assert_eq!(pushed.err(), other.err()),
            }
        }
    }
}
