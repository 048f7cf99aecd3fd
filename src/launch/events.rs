//! What a launch tells while it happens. Rendering is somebody else's.

use super::phase::Phase;
use super::preflight::Warning;
use super::process::ExitStatus;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// State of one engine. Readiness is an observation that can expire: an engine that was ready may have exited since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    Starting,
    Ready,
    Stopping,
    Exited,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LaunchEvent {
    Warning {
        warning: Warning,
    },
    /// `command` is masked and fit for a shell.
    Started {
        instance: String,
        pid: i32,
        command: String,
        log: PathBuf,
    },
    Phase {
        instance: String,
        phase: Phase,
    },
    Ready {
        instance: String,
        base_url: String,
        after: Duration,
    },
    /// An engine ended that nobody had asked to.
    Died {
        instance: String,
        /// Where, if it is one of several that had a part of it.
        node: Option<String>,
        status: ExitStatus,
    },
    Stopping {
        instance: String,
    },
    Stopped(InstanceExit),
}

/// How an instance was brought down, for the manifest.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceExit {
    pub name: String,
    pub status: ExitStatus,
    /// It had ended before anybody asked it to.
    pub unasked: bool,
    /// Where it ended first, if it is one of several nodes that had a part of it.
    pub node: Option<String>,
    /// SIGTERM was not enough.
    pub forced: bool,
    /// Processes of its tree that needed SIGKILL.
    pub killed: u32,
    /// Pids that not even SIGKILL ended: stuck in the kernel, usually in a driver.
    pub survivors: Vec<i32>,
    /// Its ports that still have a listener.
    pub ports_held: Vec<u16>,
    /// Files it had left behind, now removed.
    pub leftovers: Vec<PathBuf>,
    /// Bytes of its log that could not be written (disk full).
    pub log_bytes_lost: u64,
}

impl InstanceExit {
    /// Nothing of it is left.
    pub fn is_clean(&self) -> bool {
        self.survivors.is_empty() && self.ports_held.is_empty()
    }
}
