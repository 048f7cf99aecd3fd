//! Driving the load: open loop, on time, and telling the truth about what came back.
//!
//! [`run_point`] sends a schedule from threads of its own. The client never waits for an answer before the next due send,
//! but where the schedule says that a session's turn waits for the one before; under a concurrency limit a send waits for a slot, and the record says since when one was free. `sse`, `chunk`,
//! `count`, `timeline` and `answer` are pure: bytes in, facts out.
//!
//! Deliberately absent: retries (a retried request is another request), SLOs, files, and any knowledge of what is behind
//! the URL.

mod answer;
mod backlog;
mod chunk;
mod connection;
mod count;
mod due_timer;
mod exchange;
mod look_ahead;
mod once;
mod pattern;
mod point;
mod progress;
mod sessions;
mod sse;
mod stamped;
mod stream_queue;
mod target;
mod timeline;
mod turns;
mod worker;

pub use answer::{Asked, JudgedAnswer, judge};
pub use exchange::Deadlines;
pub use once::{Completion, Single, SingleError, send_one};
pub use point::{DriveError, LoadReport, Pace, PointSpec, run_point};
pub use progress::{Counts, Progress};
pub use target::{Capabilities, Destination, TargetError};
