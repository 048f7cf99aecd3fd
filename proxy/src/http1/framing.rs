//! Where a response's body ends: by length, by chunks, or with the connection.

use super::HttpError;
use bytes::{Buf, Bytes, BytesMut};

/// A chunk's size line, extensions included, may not be longer.
const MAX_SIZE_LINE: usize = 256;
/// Trailers are read over, not relayed.
const MAX_TRAILERS: usize = 16 << 10;

/// The state of a body that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes are left; 0 is the end.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// Where in the chunked coding the next byte stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunked {
    Size,
    Data(u64),
    DataEnd,
    Trailers { read: usize },
    Done,
}

/// What stands at the beginning of the bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many bytes of the body.
    Data(usize),
    /// So many bytes that frame it.
    Frame(usize),
    /// Part of a line that has not arrived whole, or nothing.
    Incomplete,
    /// The body has ended; what follows is not its.
    End,
}

impl Framing {
    pub(crate) fn chunked() -> Self {
        Framing::Chunked(Chunked::Size)
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Framing::Length(0) | Framing::Chunked(Chunked::Done))
    }

    /// What `bytes` begin with; what is told of is taken.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Next, HttpError> {
        match self {
            Framing::Length(0) => Ok(Next::End),
            _ if bytes.is_empty() => Ok(Next::Incomplete),
            Framing::Length(left) => Ok(Next::Data(take(left, bytes))),
            Framing::Chunked(chunked) => chunked.next(bytes),
            Framing::UntilClose => Ok(Next::Data(bytes.len())),
        }
    }

    /// Takes all the body bytes that `buffer` holds as one piece: the first run lies where it is, later ones move down
    /// over the size lines between them. A paced stream has one chunk a read, and nothing moves. `None`: it holds none.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, HttpError> {
        let (mut read, mut start, mut end) = (0, 0, 0);
        loop {
            match self.next(&buffer[read..])? {
                Next::Data(run) => {
                    if start == end {
                        (start, end) = (read, read);
                    }
                    if end != read {
                        buffer.copy_within(read..read + run, end);
                    }
                    (read, end) = (read + run, end + run);
                }
                Next::Frame(bytes) => read += bytes,
                Next::Incomplete | Next::End => break,
            }
        }
        buffer.advance(start);
        let data = buffer.split_to(end - start);
        buffer.advance(read - end.max(start));
        Ok((!data.is_empty()).then(|| data.freeze()))
    }
}

/// As many as are left and there.
fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let run = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= run as u64;
    run
}

impl Chunked {
    fn next(&mut self, bytes: &[u8]) -> Result<Next, HttpError> {
        match self {
            Chunked::Done => Ok(Next::End),
            Chunked::Size => match size_line(bytes)? {
                None => Ok(Next::Incomplete),
                Some((size, used)) => {
                    *self = if size == 0 { Chunked::Trailers { read: 0 } } else { Chunked::Data(size) };
                    Ok(Next::Frame(used))
                }
            },
            Chunked::Data(left) => {
                let run = take(left, bytes);
                if *left == 0 {
                    *self = Chunked::DataEnd;
                }
                Ok(Next::Data(run))
            }
            Chunked::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Chunked::Size;
                    Ok(Next::Frame(2))
                }
                [] | [b'\r'] => Ok(Next::Incomplete),
                _ => Err(HttpError::Chunk("a chunk does not end where its size says")),
            },
            Chunked::Trailers { read } => match memchr::memchr(b'\n', bytes) {
                None if *read + bytes.len() > MAX_TRAILERS => Err(HttpError::Chunk("the trailers do not end")),
                None => Ok(Next::Incomplete),
                Some(at) if bytes[..at] == *b"\r" => {
                    *self = Chunked::Done;
                    Ok(Next::Frame(at + 1))
                }
                Some(at) if bytes[..at].ends_with(b"\r") => {
                    *read += at + 1;
                    if *read > MAX_TRAILERS {
                        Err(HttpError::Chunk("the trailers do not end"))
                    } else {
                        Ok(Next::Frame(at + 1))
                    }
                }
                Some(_) => Err(HttpError::Chunk("a trailer ends without a carriage return")),
            },
        }
    }
}

/// The size, and the length of the line that told it. `None`: the line has not arrived whole.
fn size_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, HttpError> {
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(MAX_SIZE_LINE)]) else {
        return if bytes.len() >= MAX_SIZE_LINE { Err(HttpError::Chunk("a size line does not end")) } else { Ok(None) };
    };
    let line =
        bytes[..end].strip_suffix(b"\r").ok_or(HttpError::Chunk("a size line ends without a carriage return"))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !matches!(line[digits..].first(), None | Some(b';' | b' ' | b'\t')) {
        return Err(HttpError::Chunk("a size is not hexadecimal"));
    }
    let size = std::str::from_utf8(&line[..digits])
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(HttpError::Chunk("a size is missing or too large"))?;
    Ok(Some((size, end + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(framing: &mut Framing, parts: &[&[u8]]) -> Result<Vec<u8>, HttpError> {
        let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
        for part in parts {
            buffer.extend_from_slice(part);
            while let Some(data) = framing.take(&mut buffer)? {
                out.extend_from_slice(&data);
            }
        }
        Ok(out)
    }

    #[test]
    fn several_chunks_in_one_read_are_one_piece() {
        let mut buffer = BytesMut::from(&b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\nHTTP"[..]);
        let mut framing = Framing::chunked();
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), "abcde");
        assert!(framing.is_done());
        assert_eq!(buffer, "HTTP", "what follows the body stays");
    }

    #[test]
    fn a_length_is_kept_to_the_byte() {
        let mut buffer = BytesMut::from(&b"abcdef"[..]);
        let mut framing = Framing::Length(4);
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), "abcd");
        assert!(framing.is_done());
        assert_eq!(buffer, "ef");
    }

    #[test]
    fn trailers_are_read_over() {
        let mut framing = Framing::chunked();
        let read = read_all(&mut framing, &[b"1\r\nx\r\n0\r\nA: b\r\nC: d", b"\r\n", b"\r\n"]);
        assert_eq!(read.unwrap(), b"x");
        assert!(framing.is_done());
    }

    #[test]
    fn what_is_not_chunked_coding_is_told_apart_from_what_is_not_there_yet() {
        for bad in [
            &b"zz\r\n"[..],
            b"\r\n",
            b"3\nabc\r\n",
            b"0\r\n\n",
            b"0\r\nA: b\n\r\n",
            b"1\r\nxy\r\n",
            b"11111111111111111\r\n",
            b"-1\r\n",
            &[b'0'; 300],
        ] {
            assert!(read_all(&mut Framing::chunked(), &[bad]).is_err(), "{}", bad.escape_ascii());
        }
        let endless = [b"0\r\n".as_slice(), &[b'a'; 20_000]].concat();
        assert!(read_all(&mut Framing::chunked(), &[&endless]).is_err());
        for partial in [&b""[..], b"1", b"1\r", b"1\r\n", b"1\r\nx", b"1\r\nx\r", b"0\r\n", b"0\r\n\r"] {
            let mut framing = Framing::chunked();
            assert!(read_all(&mut framing, &[partial]).is_ok() && !framing.is_done());
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_body_is_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]).collect();
            let mut framing = Framing::chunked();
            prop_assert_eq!(read_all(&mut framing, &parts).unwrap(), chunks.concat());
            prop_assert!(framing.is_done());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_all(&mut Framing::chunked(), &[&bytes]);
        }
    }
}
