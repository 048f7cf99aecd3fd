//! What is left of an engine whose guardian was killed.

use super::guardian::Departure;
use super::leftovers::Inventory;
use super::procs::{self, Proc, ProcTable};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How an engine's processes are known without their guardian. They lived in its session; what left the session still
/// carries the marker, unless it has overwritten its environment too.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LostEngine {
    pub(super) session: i32,
    /// A value in the environment of all its processes.
    pub(super) marker: String,
    /// Files that it was seen to use.
    pub(super) files: Inventory,
    /// The Slurm step it ran in.
    pub(super) step: Option<String>,
}

impl LostEngine {
    /// Kills what is left and removes its files. Takes as long as that takes, `limit` at the most.
    pub(super) fn sweep(&self, limit: Duration) -> Departure {
        let find = || {
            let of_ours = |p: &&Proc| !p.zombie && (p.session == self.session || self.marks(p.pid));
            ProcTable::read().iter().filter(of_ours).copied().collect()
        };
        Departure { swept: procs::sweep(find, limit), removed: self.files.remove() }
    }

    fn marks(&self, pid: i32) -> bool {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        memchr::memmem::find(&environ, self.marker.as_bytes()).is_some()
    }
}
