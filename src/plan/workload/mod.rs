//! From what the plan says about requests to the requests themselves.
//!
//! [`PreparedWorkload::prepare`] reads the dataset once; [`PreparedWorkload::schedule`] gives a point's requests, due
//! times and lengths, complete before anything is sent; [`PreparedWorkload::render`] writes one prompt when it is
//! needed. All three depend on the plan and its seed alone, never on the topology under test, so every arm of a
//! comparison gets the same bytes at the same times.
//!
//! Prompts are fresh at every rate and attempt: otherwise prefix caches would serve the later points. Deliberately
//! absent: downloads, clocks, HTTP.

mod causal;
mod chat;
mod conversations;
mod entries;
mod error;
mod images;
mod lengths;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod points;
mod prepared;
mod prompt;
mod ranks;
mod repeated;
mod row;
mod rows;
mod seeds;
mod sentence_piece;
mod sessions;
mod source;
#[cfg(test)]
mod tests;
mod texts;
mod timed;
mod tokenizer;
mod trace;
mod warm_up;
mod wire;

pub use entries::{PrepareContext, PrepareReport};
pub use error::WorkloadError;
pub use lengths::LengthError;
pub use points::PlannedPoint;
pub use prepared::{PreparedWorkload, Schedule};
pub use prompt::{Message, Picture, Prompt, Vision};
pub use source::recorded_rate;
pub use tokenizer::{Tokenizer, TokenizerError, embedded};
pub use trace::{TraceHasher, TraceLine};
pub use warm_up::WarmUpRequest;
