//! What every part of a session needs.

use super::events::EventSink;
use super::fitted::FittedWorkload;
use super::stop::Stop;
use crate::plan::Sweep;
use std::path::PathBuf;

/// The same for all arms, from the beginning of a session to its end.
pub(super) struct SessionContext {
    pub(super) sweep: Sweep,
    pub(super) workload: FittedWorkload,
    /// Where earlier runs lie.
    pub(super) result_dir: PathBuf,
    /// Unique to this session: part of every request id.
    pub(super) nonce: String,
    pub(super) events: EventSink,
    pub(super) stop: Stop,
}
