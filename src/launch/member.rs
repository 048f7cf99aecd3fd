//! One instance of a fleet with its process: its state, its death, its end.

use super::diagnose::diagnose;
use super::events::{EngineState, InstanceExit};
use super::instance::{Death, Instance};
use super::process::EngineProcess;
use super::readiness::Proof;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The pipe may still hold the last words of a process that just ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

pub(super) struct FleetMember {
    pub instance: Instance,
    pub process: EngineProcess,
    ready: AtomicBool,
    stopping: AtomicBool,
    death_told: AtomicBool,
}

impl FleetMember {
    pub(super) fn new(instance: Instance, process: EngineProcess) -> Self {
        FleetMember {
            instance,
            process,
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            death_told: AtomicBool::new(false),
        }
    }

    /// Takes over what the proof brought to light.
    pub(super) async fn ready(&mut self, proof: Proof, after: Duration) {
        self.instance.version = proof.version;
        self.instance.max_model_len = proof.max_model_len;
        self.instance.ready_after = after;
        self.process.note_files().await;
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> EngineState {
        if self.process.exit_status().is_some() {
            EngineState::Exited
        } else if self.stopping.load(Ordering::Relaxed) {
            EngineState::Stopping
        } else if self.ready.load(Ordering::Relaxed) {
            EngineState::Ready
        } else {
            EngineState::Starting
        }
    }

    pub(super) fn death_was_told(&self) -> bool {
        self.death_told.load(Ordering::Relaxed)
    }

    pub(super) async fn died(&self) -> &Self {
        self.process.ended().await;
        self
    }

    /// Tells the death; told, it is not told again.
    pub(super) async fn death(&self) -> Death {
        let status = self.process.ended().await;
        let _ = timeout(LAST_WORDS, self.process.log().finished()).await;
        self.death_told.store(true, Ordering::Relaxed);
        let log_tail = self.process.log().tail();
        Death { instance: self.instance.name.clone(), status, cause: diagnose(&log_tail), log_tail }
    }

    pub(super) async fn stop(&self, grace: Duration) -> InstanceExit {
        self.stopping.store(true, Ordering::Relaxed);
        let unasked = self.process.exit_status().is_some();
        let stopped = self.process.stop(grace).await;
        let _ = timeout(LAST_WORDS, self.process.log().finished()).await;
        let ports = self.instance.ports;
        let listening = [ports.http, ports.side_channel, ports.internal];
        InstanceExit {
            name: self.instance.name.clone(),
            status: stopped.status,
            unasked,
            forced: stopped.forced,
            killed: stopped.departure.swept.killed,
            survivors: stopped.departure.swept.survivors,
            ports_held: self.process.host().held(&listening).await,
            leftovers: stopped.departure.removed,
            log_bytes_lost: self.process.log().state().lost_bytes,
        }
    }
}
