//! An engine as numbers: what GPUs and models are, what a step and a hand-over cost, and how vLLM's scheduler spends
//! them. In any time: whoever drives it says what time it is. The simulated engine sleeps through the steps, the
//! predictions of this room don't.

pub mod blocks;
pub mod cost;
pub mod preset;
pub mod scheduler;
pub mod sequence;

pub use crate::plan::parallelism::Parallelism;
