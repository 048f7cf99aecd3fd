//! The run directory: written so that a kill at any byte loses at most the line being written, and read back later.
//!
//! Deliberately absent: any judgement. What is stored are facts; whether a point is valid depends on the SLO and is
//! judged in `analyse` each time somebody asks.

pub mod catalog;
pub mod dir;
pub mod error;
pub mod export;
pub mod host;
pub mod import;
mod imported;
pub mod journal;
pub mod links;
pub mod manifest;
pub mod race;
pub mod read;
mod run;
mod sent_before;
mod tree;
pub mod writer;

pub use error::RecordError;
pub use import::Numbers;
pub use manifest::Manifest;
pub use read::{JudgedPart, RecordedPoint, RecordedRun};
pub use sent_before::{Repeats, SentBefore};
pub use tree::runs_below;
pub use writer::RunWriter;
