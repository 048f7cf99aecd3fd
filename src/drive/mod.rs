//! Driving the load: open loop, on time, and telling the truth about what came back.
//!
//! `sse`, `chunk`, `http1`, `timeline` and `answer` are pure: bytes in, facts out.

pub mod answer;
pub mod chunk;
pub mod http1;
pub mod sse;
pub mod timeline;
