//! Answers in HTTP/1.1, read strictly: the load client and the proxy share this reader, so that an engine passes in both
//! or in none.
//!
//! Bytes of a body are handed on where they lie. What is ambiguous is refused: lines that end without a carriage return,
//! lengths that differ, codings other than `chunked`. Deliberately absent: trailers' content, compression (never asked
//! for), upgrades.

mod framing;
mod head;
mod reader;

pub(crate) use framing::Framing;
pub(crate) use head::{AnswerHead, tokens};
pub use reader::ResponseReader;

/// Heads larger than this are no answer of an inference server.
pub(crate) const MAX_HEAD_BYTES: usize = 64 << 10;

/// Bytes that are no HTTP/1.1 response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("its answer's head: {0}")]
    Head(String),
    #[error("its answer's head is longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    #[error("bad chunked coding: {0}")]
    Chunk(&'static str),
    #[error("bytes after the end of its answer")]
    Excess,
}
