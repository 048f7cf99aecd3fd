//! Reading an HTTP/1.1 response from pieces of bytes: pure, and only what a load client needs.
//!
//! The client reads its sockets itself so that a chunk's time is the time of the `read` that brought it, with no task,
//! queue or copy between; this is the price, some hundred lines of RFC 9112. Deliberately absent: trailers' content,
//! compression (never asked for), upgrades.

/// Heads larger than this are no answer of an inference server.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// A chunk-size line is a hexadecimal number and rarely an extension.
const MAX_CHUNK_LINE_BYTES: usize = 4 << 10;

/// Bytes that are no HTTP/1.1 response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("response head: {0}")]
    Head(httparse::Error),
    #[error("a response head longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    #[error("content-length `{0}`")]
    ContentLength(String),
    #[error("chunk size `{0}`")]
    ChunkSize(String),
    #[error("bytes after the end of the response")]
    Excess,
}

/// What the head says that the load client must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub retry_after: bool,
    keep_alive: bool,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Where the response stands.
#[derive(Debug, Default)]
pub struct ResponseReader {
    head_bytes: Vec<u8>,
    head: Option<Head>,
    body: Body,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Body {
    #[default]
    AwaitsHead,
    /// This many bytes of the whole body to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Ended,
}

#[derive(Debug, PartialEq, Eq)]
enum Chunked {
    /// In the line that gives the size of the next chunk.
    Size(Vec<u8>),
    /// This many bytes of the chunk to come.
    Data(u64),
    /// In the line end after a chunk.
    DataEnd,
    /// After the last chunk; the line's length so far.
    Trailer(usize),
}

impl ResponseReader {
    /// Calls `each` with the pieces of the body that `input` holds.
    pub fn feed(&mut self, mut input: &[u8], mut each: impl FnMut(Head, &[u8])) -> Result<(), HttpError> {
        while !input.is_empty() {
            let Some(head) = self.head else {
                input = self.feed_head(input)?;
                continue;
            };
            input = self.body.feed(input, |piece| each(head, piece))?;
        }
        Ok(())
    }

    /// `None` until the head is complete.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    pub fn is_ended(&self) -> bool {
        self.body == Body::Ended
    }

    /// Whether the connection can serve another request now.
    pub fn is_reusable(&self) -> bool {
        self.is_ended() && self.head.is_some_and(|head| head.keep_alive)
    }

    /// Whether the end of the connection is a proper end of the body.
    pub fn may_end_here(&self) -> bool {
        matches!(self.body, Body::UntilClose | Body::Ended)
    }

    /// Returns what follows the head, or nothing if the head isn't complete.
    fn feed_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], HttpError> {
        let before = self.head_bytes.len();
        self.head_bytes.extend_from_slice(input);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&self.head_bytes).map_err(HttpError::Head)? {
            httparse::Status::Partial if self.head_bytes.len() > MAX_HEAD_BYTES => Err(HttpError::HeadTooLong),
            httparse::Status::Partial => Ok(&[]),
            httparse::Status::Complete(length) => {
                let head = read_head(&response)?;
                self.head_bytes = Vec::new();
                // 100 Continue and its like announce the response proper.
                if head.status >= 200 {
                    self.body = Body::framed(head.framing);
                    self.head = Some(head);
                }
                Ok(&input[length - before..])
            }
        }
    }
}

fn read_head(response: &httparse::Response<'_, '_>) -> Result<Head, HttpError> {
    let status = response.code.unwrap_or_default();
    let mut head =
        Head { status, retry_after: false, keep_alive: response.version == Some(1), framing: Framing::UntilClose };
    let mut chunked = false;
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
        match header.name.to_ascii_lowercase().as_str() {
            "retry-after" => head.retry_after = true,
            "connection" if value.contains("close") => head.keep_alive = false,
            "connection" if value.contains("keep-alive") => head.keep_alive = true,
            "transfer-encoding" => chunked = value.ends_with("chunked"),
            "content-length" => {
                let length = value.parse().map_err(|_| HttpError::ContentLength(value))?;
                head.framing = Framing::Length(length);
            }
            _ => {}
        }
    }
    match status {
        204 | 304 => head.framing = Framing::Length(0),
        // RFC 9112, 6.3: the transfer encoding overrides the length.
        _ if chunked => head.framing = Framing::Chunked,
        _ => {}
    }
    Ok(head)
}

impl Body {
    fn framed(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Body::Ended,
            Framing::Length(n) => Body::Length(n),
            Framing::Chunked => Body::Chunked(Chunked::Size(Vec::new())),
            Framing::UntilClose => Body::UntilClose,
        }
    }

    /// Consumes what it can and returns the rest.
    fn feed<'a>(&mut self, input: &'a [u8], mut each: impl FnMut(&[u8])) -> Result<&'a [u8], HttpError> {
        match self {
            Body::AwaitsHead | Body::Ended => Err(HttpError::Excess),
            Body::UntilClose => {
                each(input);
                Ok(&[])
            }
            Body::Length(left) => {
                let (piece, rest) = split_at_most(input, *left);
                each(piece);
                *left -= piece.len() as u64;
                if *left == 0 {
                    *self = Body::Ended;
                }
                Ok(rest)
            }
            Body::Chunked(chunked) => {
                let (ended, rest) = chunked.feed(input, each)?;
                if ended {
                    *self = Body::Ended;
                }
                Ok(rest)
            }
        }
    }
}

impl Chunked {
    /// Whether the body ended, and the rest.
    fn feed<'a>(&mut self, input: &'a [u8], mut each: impl FnMut(&[u8])) -> Result<(bool, &'a [u8]), HttpError> {
        match self {
            Chunked::Data(left) => {
                let (piece, rest) = split_at_most(input, *left);
                each(piece);
                *left -= piece.len() as u64;
                if *left == 0 {
                    *self = Chunked::DataEnd;
                }
                Ok((false, rest))
            }
            Chunked::Size(line) => {
                let (head, rest) = split_line(input);
                let Some(rest) = rest else {
                    line.extend_from_slice(head);
                    return if line.len() > MAX_CHUNK_LINE_BYTES { Err(bad_size(line)) } else { Ok((false, &[])) };
                };
                let size = if line.is_empty() { chunk_size(head)? } else { chunk_size(&[line, head].concat())? };
                *self = if size == 0 { Chunked::Trailer(0) } else { Chunked::Data(size) };
                Ok((false, rest))
            }
            Chunked::DataEnd => match input[0] {
                b'\r' => Ok((false, &input[1..])),
                b'\n' => {
                    *self = Chunked::Size(Vec::new());
                    Ok((false, &input[1..]))
                }
                _ => Err(bad_size(&input[..input.len().min(16)])),
            },
            Chunked::Trailer(length) => {
                let (head, rest) = split_line(input);
                *length += head.iter().filter(|b| **b != b'\r').count();
                let ended = rest.is_some() && *length == 0;
                if rest.is_some() {
                    *length = 0;
                }
                Ok((ended, rest.unwrap_or_default()))
            }
        }
    }
}

fn split_at_most(input: &[u8], at: u64) -> (&[u8], &[u8]) {
    input.split_at(usize::try_from(at).unwrap_or(usize::MAX).min(input.len()))
}

/// The line up to its LF, and what follows the LF if there is one.
fn split_line(input: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'\n', input) {
        Some(end) => (&input[..end], Some(&input[end + 1..])),
        None => (input, None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, HttpError> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| bad_size(line))?;
    if text.starts_with('+') {
        return Err(bad_size(line));
    }
    u64::from_str_radix(text, 16).map_err(|_| bad_size(line))
}

fn bad_size(line: &[u8]) -> HttpError {
    HttpError::ChunkSize(String::from_utf8_lossy(&line[..line.len().min(32)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let head = reader.head().expect("a head");
        assert_eq!((head.status, head.retry_after), (503, true));
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
        for broken in ["xyz\r\n", "+5\r\nhello", "5\r\nhelloX", &"1".repeat(5000), "11111111111111111\r\n"] {
            let (outcome, ..) = read(&[head.as_bytes(), broken.as_bytes()]);
            assert!(matches!(outcome, Err(HttpError::ChunkSize(_))), "{broken}");
        }
        assert!(matches!(read(&[b"SSH-2.0-x\r\n"]).0, Err(HttpError::Head(_))));
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; MAX_HEAD_BYTES]].concat();
        assert_eq!(read(&[&endless]).0, Err(HttpError::HeadTooLong));
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
    }
}
