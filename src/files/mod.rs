//! Files that other people and other programs wrote: opened without surprises, unpacked, brought to UTF-8, and their
//! JSON to what a strict parser takes. Datasets, result files, topologies and tokenizers come through here.
//!
//! Deliberately absent: what a file means. Rooms that read one know that.

mod json;
mod open;
mod pieces;
mod utf16;
mod zstd;

pub(crate) use json::{parse, strict};
pub(crate) use open::{open, open_raw, read, read_text};
pub(crate) use pieces::Pieces;
