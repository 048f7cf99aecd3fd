//! One instance of a fleet with its processes: its state, its death, its end.

use super::diagnose::diagnose;
use super::events::{EngineState, InstanceExit};
use super::instance::{Death, Instance};
use super::part::{EnginePart, EngineParts};
use super::process::{ExitStatus, Stopped};
use super::readiness::Proof;
use futures_util::future::join_all;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The pipe may still hold the last words of a process that just ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

pub(super) struct FleetMember {
    pub instance: Instance,
    pub parts: EngineParts,
    ready: AtomicBool,
    stopping: AtomicBool,
    death_told: AtomicBool,
}

impl FleetMember {
    pub(super) fn new(instance: Instance, parts: EngineParts) -> Self {
        FleetMember {
            instance,
            parts,
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
        join_all(self.parts.all().iter().map(|part| part.process.note_files())).await;
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> EngineState {
        if self.parts.has_exited() {
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
        self.parts.end_begins().await;
        self
    }

    /// Tells the death; told, it is not told again.
    pub(super) async fn death(&self) -> Death {
        self.parts.end_begins().await;
        let culprit = self.parts.culprit(LAST_WORDS).await;
        let (part, status) = culprit.unwrap_or((self.parts.first(), ExitStatus::Unseen));
        self.death_told.store(true, Ordering::Relaxed);
        let log_tail = part.process.log().tail();
        Death {
            instance: self.instance.name.clone(),
            node: part.node.clone(),
            status,
            log: part.log.clone(),
            cause: diagnose(&log_tail),
            log_tail,
        }
    }

    /// All parts at once, each with its own grace.
    pub(super) async fn stop(&self, grace: Duration) -> InstanceExit {
        self.stopping.store(true, Ordering::Relaxed);
        let unasked = self.parts.has_exited();
        let culprit = self.parts.culprit(LAST_WORDS).await;
        let ends: Vec<PartEnd> = join_all(self.parts.all().iter().map(|part| stop_part(part, grace))).await;
        let of_first = ends.first().map_or(ExitStatus::Unseen, |end| end.stopped.status);
        InstanceExit {
            name: self.instance.name.clone(),
            status: culprit.map_or(of_first, |(_, status)| status),
            unasked,
            node: culprit.and_then(|(part, _)| part.node.clone()),
            forced: ends.iter().any(|end| end.stopped.forced),
            killed: ends.iter().map(|end| end.stopped.departure.swept.killed).sum(),
            survivors: ends.iter().flat_map(|end| end.stopped.departure.swept.survivors.clone()).collect(),
            ports_held: ends.iter().flat_map(|end| end.ports_held.clone()).collect(),
            log_bytes_lost: ends.iter().map(|end| end.log_bytes_lost).sum(),
            leftovers: ends.into_iter().flat_map(|end| -> Vec<PathBuf> { end.stopped.departure.removed }).collect(),
        }
    }
}

struct PartEnd {
    stopped: Stopped,
    ports_held: Vec<u16>,
    log_bytes_lost: u64,
}

async fn stop_part(part: &EnginePart, grace: Duration) -> PartEnd {
    let stopped = part.process.stop(grace).await;
    let _ = timeout(LAST_WORDS, part.process.log().finished()).await;
    let listening = [part.ports.http, part.ports.side_channel, part.ports.internal];
    PartEnd {
        stopped,
        ports_held: part.process.host().held(&listening).await,
        log_bytes_lost: part.process.log().state().lost_bytes,
    }
}
