//! Engines whose metrics are read, and what they all said at about one moment.

use super::hand_over::{self, DecodePool};
use super::prometheus::Snapshot;
use super::ranks;
use crate::outcome::KvTotals;
use crate::plan::access::Access;
use crate::plan::topology::Role;

/// An engine that is served by, or driven.
#[derive(Debug, Clone)]
pub struct EngineTarget {
    /// `prefill-0`.
    pub name: String,
    pub role: Role,
    /// `http://host:port`.
    pub base_url: String,
    /// Data-parallel ranks that serve requests behind that URL.
    pub ranks: u32,
    pub access: Access,
}

/// Why an engine's metrics could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{instance}: no metrics from {url}: {detail}")]
pub struct ScrapeError {
    pub instance: String,
    pub url: String,
    pub detail: String,
}

/// Metrics of every engine at about one moment.
#[derive(Debug, Clone)]
pub struct FleetSnapshot {
    pub engines: Vec<EngineSnapshot>,
}

impl FleetSnapshot {
    /// What every decode instance says; `None` where there is none, or one of them doesn't say it.
    fn of_decode<T>(&self, read: impl Fn(&Snapshot) -> Option<T>) -> Option<Vec<T>> {
        let decode = self.engines.iter().filter(|e| e.role == Role::Decode);
        let each: Option<Vec<T>> = decode.map(|e| read(e.metrics.as_ref().ok()?)).collect();
        each.filter(|all| !all.is_empty())
    }

    /// The hand-over counters of each instance that has them, since its start, with its name. Decode instances count what
    /// they pull, prefill instances what they push.
    pub fn each_hand_over(&self) -> impl Iterator<Item = (&str, KvTotals)> {
        self.engines.iter().filter_map(|e| Some((e.name.as_str(), e.hand_over()?)))
    }

    /// The hand-over counters of all instances together, since their start; `None` where a decode instance has none.
    pub fn hand_overs(&self) -> Option<KvTotals> {
        self.of_decode(hand_over::totals)?;
        self.each_hand_over().map(|(_, totals)| totals).reduce(KvTotals::plus)
    }

    /// The KV memory of each decode instance.
    pub fn decode_pools(&self) -> Option<Vec<DecodePool>> {
        self.of_decode(DecodePool::read)
    }
}

#[derive(Debug, Clone)]
pub struct EngineSnapshot {
    pub name: String,
    pub role: Role,
    pub metrics: Result<Snapshot, ScrapeError>,
}

const START_TIME: &str = "process_start_time_seconds";

impl EngineSnapshot {
    pub(super) fn hand_over(&self) -> Option<KvTotals> {
        let metrics = self.metrics.as_ref().ok().filter(|_| self.role != Role::Replica);
        metrics.and_then(hand_over::totals)
    }

    /// How many data-parallel ranks it counts apart; 0 where it doesn't tell.
    pub fn data_parallel_ranks(&self) -> u32 {
        self.metrics.as_ref().map_or(0, |page| ranks::of_page(page).len() as u32)
    }

    /// When the engine's process started, seconds since the epoch; `None` where it doesn't tell.
    pub fn process_started(&self) -> Option<f64> {
        process_started(self.metrics.as_ref().ok()?)
    }
}

pub(super) fn process_started(page: &Snapshot) -> Option<f64> {
    page.sum(START_TIME, &[])
}
