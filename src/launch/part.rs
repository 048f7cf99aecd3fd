//! What one machine runs of an instance: all of it, or a node's part of one that is larger than a node.

use super::ports::Ports;
use super::process::{EngineProcess, ExitStatus};
use futures_util::future::{join_all, select_all};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// One of them.
pub(super) struct EnginePart {
    /// The instance's name; of all but the first with the node's: `replica-0@n2`.
    pub(super) name: String,
    /// Given where there are several.
    pub(super) node: Option<String>,
    pub(super) process: EngineProcess,
    pub(super) log: PathBuf,
    pub(super) ports: Ports,
}

/// All of them, in the order of their ranks. The first one answers requests.
pub(super) struct EngineParts(Vec<EnginePart>);

impl EngineParts {
    /// `more`: those beside the first.
    pub(super) fn new(first: EnginePart, more: Vec<EnginePart>) -> Self {
        EngineParts(std::iter::once(first).chain(more).collect())
    }

    pub(super) fn first(&self) -> &EnginePart {
        &self.0[0]
    }

    pub(super) fn all(&self) -> &[EnginePart] {
        &self.0
    }

    pub(super) fn has_exited(&self) -> bool {
        self.0.iter().any(|part| part.process.exit().is_some())
    }

    /// Waits until one of them has ended: the others are then on their way out, or useless.
    pub(super) async fn end_begins(&self) {
        select_all(self.0.iter().map(|part| Box::pin(part.process.ended()))).await;
    }

    /// The part whose end explains the others', and how it ended; `None` while all live. `patience` is for last words, and
    /// for those that end because they lost a part: they may be heard of first.
    pub(super) async fn culprit(&self, patience: Duration) -> Option<(&EnginePart, ExitStatus)> {
        if !self.has_exited() {
            return None;
        }
        let _ = timeout(patience, join_all(self.0.iter().map(|part| part.process.log().finished()))).await;
        let ended = self.0.iter().filter_map(|part| Some((part, part.process.exit()?)));
        let (part, exit) = ended.min_by_key(|(_, exit)| (is_chosen(exit.status), exit.at))?;
        Some((part, exit.status))
    }
}

/// Who misses another part ends with an exit code.
fn is_chosen(status: ExitStatus) -> bool {
    matches!(status, ExitStatus::Code(_))
}
