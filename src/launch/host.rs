//! Where an instance runs: what has to be asked and done there, and nowhere else.
//!
//! Everybody else in this room works with addresses, ports and pids and leaves it to the host to know whose they are.

use super::guardian::{self, Departure};
use super::lost::LostEngine;
use super::ports::{self, Holder};
use super::procs::ProcTable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// A machine that engines run on.
#[derive(Debug, Clone)]
pub(super) enum Host {
    /// The one that topobench runs on.
    This,
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    /// Only processes of the engine that was asked about.
    pub(super) is_ours: bool,
    /// `None` where nobody listens, or the process is hidden from this user.
    pub(super) holder: Option<Holder>,
}

impl Host {
    /// The command that starts a guardian there, `program` being topobench. Its standard streams are the caller's to
    /// connect.
    pub(super) fn guardian(&self, program: &Path) -> Command {
        match self {
            Host::This => {
                let mut command = Command::new(program);
                command.arg0(guardian::NAME).arg(guardian::MODE);
                command
            }
        }
    }

    /// Who listens on a port; `guardian` is the pid of the guardian of the engine that should.
    pub(super) async fn listener(&self, port: u16, guardian: i32) -> Listener {
        match self {
            Host::This => {
                let living = ProcTable::read().descendants(guardian);
                let tree: Vec<i32> = living.iter().filter(|p| !p.zombie).map(|p| p.pid).collect();
                let is_ours = ports::listener_belongs_to(port, &tree);
                Listener { is_ours, holder: ports::port_holder(port).filter(|_| !is_ours) }
            }
        }
    }

    /// Those of these ports on which somebody listens.
    pub(super) async fn held(&self, ports: &[u16]) -> Vec<u16> {
        match self {
            Host::This => ports.iter().copied().filter(|port| ports::port_holder(*port).is_some()).collect(),
        }
    }

    /// Ends a guardian that does not do as it is told.
    pub(super) async fn kill_guardian(&self, guardian: i32) {
        match self {
            Host::This => drop(kill(Pid::from_raw(guardian), Signal::SIGKILL)),
        }
    }

    /// Ends what is left of an engine without its guardian.
    pub(super) async fn sweep(&self, lost: LostEngine, limit: Duration) -> Departure {
        match self {
            Host::This => on_thread(move || lost.sweep(limit)).await,
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
