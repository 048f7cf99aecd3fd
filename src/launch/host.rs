//! Where an instance runs: what has to be asked and done there, and nowhere else.
//!
//! Everybody else in this room works with addresses, ports and pids and leaves it to the host to know whose they are.

use super::guardian::{self, Departure};
use super::lost::LostEngine;
use super::ports::{self, Listener};
use super::slurm::{BEAT, Node, SILENT_WAITS};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// A machine that engines run on.
#[derive(Debug, Clone)]
pub(super) enum Host {
    /// The one that topobench runs on.
    This,
    /// A node of a Slurm job.
    Node(Arc<Node>),
}

impl Host {
    /// The command that starts a guardian there for an instance of this name, `program` being topobench. Its standard
    /// streams are the caller's to connect.
    pub(super) fn guardian(&self, program: &Path, instance: &str) -> Command {
        match self {
            Host::This => {
                let mut command = Command::new(program);
                command.arg0(guardian::NAME).arg(guardian::MODE);
                command
            }
            Host::Node(node) => node.guardian(program, guardian::MODE, instance),
        }
    }

    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Host::Node(_))
    }

    /// How often a guardian there has to hear of topobench; `None` where its end is seen at once.
    pub(super) fn beat(&self) -> Option<Duration> {
        self.is_remote().then_some(BEAT)
    }

    /// How many seconds' waits a guardian there hears nothing before topobench counts as gone.
    pub(super) fn silent_waits(&self) -> Option<u32> {
        self.is_remote().then_some(SILENT_WAITS)
    }

    /// Who listens on a port; `guardian` is the pid of the guardian of the engine that should.
    pub(super) async fn listener(&self, port: u16, guardian: i32) -> Listener {
        match self {
            Host::This => ports::listener(port, guardian),
            Host::Node(node) => {
                node.listener(port, guardian).await.unwrap_or(Listener { is_ours: false, holder: None })
            }
        }
    }

    /// Those of these ports on which somebody listens.
    pub(super) async fn held(&self, ports: &[u16]) -> Vec<u16> {
        match self {
            Host::This => ports::held(ports),
            // A node that is gone holds none.
            Host::Node(node) => node.held(ports).await.unwrap_or_default(),
        }
    }

    /// Ends a guardian that does not do as it is told.
    pub(super) async fn kill_guardian(&self, guardian: i32) {
        match self {
            Host::This => drop(kill(Pid::from_raw(guardian), Signal::SIGKILL)),
            Host::Node(node) => node.kill(guardian).await,
        }
    }

    /// Ends what is left of an engine without its guardian.
    pub(super) async fn sweep(&self, lost: LostEngine, limit: Duration) -> Departure {
        match self {
            Host::This => on_thread(move || lost.sweep(limit)).await,
            Host::Node(node) => node.sweep(lost, limit).await,
        }
    }
}

/// Outside the runtime's threads: a sweep waits for processes to go.
async fn on_thread(sweep: impl FnOnce() -> Departure + Send + 'static) -> Departure {
    let (done, departure) = tokio::sync::oneshot::channel();
    let swept = std::thread::Builder::new().name("sweep".to_string()).spawn(move || done.send(sweep()).map_err(drop));
    match swept {
        Ok(_) => departure.await.unwrap_or_default(),
        Err(e) => {
            tracing::warn!("cannot look for what the engine left behind: {e}");
            Departure::default()
        }
    }
}
