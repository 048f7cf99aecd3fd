//! What tests and benches share: servers that do as a test says, waiting, cores, the kernel's stamps.
//!
//! Knows nothing of topobench or its proxy, so that unit tests may use it too.

pub mod arrival;
pub mod cores;
mod wait;

pub use wait::{PATIENCE, eventually};
