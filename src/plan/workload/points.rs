//! The points of a run, and how many requests each has.

use super::error::WorkloadError;
use super::seeds::{self, SeedPurpose};
use crate::outcome::PointKey;
use crate::plan::arrivals::{self, ArrivalPattern};
use crate::plan::load::{Extent, Load};
use crate::units::{Offset, RequestRate};
use serde::{Deserialize, Serialize};

/// What a point's requests depend on, beside the workload and the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedPoint {
    #[serde(flatten)]
    pub key: PointKey,
    pub extent: Extent,
    /// Requests of each of the run's earlier points: where this one goes on in a dataset that is used up. Empty where
    /// prompts are drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<u64>,
}

pub(super) fn due_offsets(
    load: &Load,
    rate: RequestRate,
    attempt: u32,
    recorded: Option<&[Offset]>,
) -> Result<Vec<Offset>, WorkloadError> {
    let pattern =
        ArrivalPattern { rate, extent: load.extent_of(rate), arrivals: load.arrivals, ramp_up: load.ramp_up, recorded };
    let seed = seeds::derive(SeedPurpose::Arrivals, &[seeds::point(load.seed, rate, attempt)]);
    Ok(arrivals::due_offsets(&pattern, seed)?)
}

/// Requests of a point whose sessions are causal: nobody knows when their later turns will fall due, so that a duration
/// stands for as many as are due in it at the rate.
pub(super) fn requests_of(extent: Extent, rate: RequestRate) -> u64 {
    match extent {
        Extent::Requests(n) => u64::from(n),
        Extent::Duration(window) => (window.as_secs_f64() * rate.per_second()).round().max(1.0) as u64,
    }
}

pub(super) fn count(load: &Load, rate: RequestRate, attempt: u32) -> Result<u64, WorkloadError> {
    match load.extent_of(rate) {
        extent if load.causal.is_some() => Ok(requests_of(extent, rate)),
        Extent::Requests(n) => Ok(u64::from(n)),
        Extent::Duration(_) => Ok(due_offsets(load, rate, attempt, None)?.len() as u64),
    }
}

/// Points in the order of attempts; the order of measuring within one is the plan's.
pub(super) fn points(load: &Load) -> impl Iterator<Item = (RequestRate, u32)> {
    (1..=load.repeats()).flat_map(|attempt| load.rates.iter().map(move |rate| (*rate, attempt)))
}

pub(super) fn requests_in_run(load: &Load) -> Result<usize, WorkloadError> {
    let total: Result<u64, _> = points(load).map(|(rate, attempt)| count(load, rate, attempt)).sum();
    Ok(usize::try_from(total?).unwrap_or(usize::MAX))
}
