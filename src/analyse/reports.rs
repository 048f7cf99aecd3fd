//! What a comparison says of an arm and of its points.

use super::attainment::PointAttainment;
use super::crossing::Crossing;
use super::energy::CrossingEnergy;
use super::fitted::Fitted;
use super::hand_over::HandOver;
use super::input::{Censored, StoppedPoint};
use super::interval::Interval;
use super::lateness::Lateness;
use super::prefix::PrefixCache;
use super::proof::HandOverProof;
use super::scale::ScaleCurve;
use super::session_slo::SessionReport;
use crate::outcome::PointStatus;
use crate::units::RequestRate;
use serde::Serialize;
use std::collections::BTreeMap;

/// Percentages of the three curves; E2EL joins when the SLO limits it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ByLimit<T> {
    pub both: T,
    pub ttft: T,
    pub tpot: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2el: Option<T>,
}

/// One point as `compare --json` has it.
#[derive(Debug, Clone, Serialize)]
pub struct PointReport {
    pub rate: RequestRate,
    /// Requests in flight of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Joules of all GPUs for each served request and output token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_j_per_request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_j_per_token: Option<f64>,
    pub attempt: u32,
    pub launch: u32,
    /// Requests a second as they fell due; `None` with fewer than two, or where all were due at once.
    pub realised_rate: Option<f64>,
    pub offered: usize,
    /// Percent of the requests offered; `None` where TPOT is needed and not known of every request that was served.
    pub attainment: ByLimit<Option<f64>>,
    /// Percent; they know that misses come in clusters.
    pub ci95: ByLimit<Interval>,
    /// Percent: Wilson's intervals, which hold if requests were independent.
    pub wilson95: ByLimit<Interval>,
    /// What every limit would have to be multiplied by for the target to be just met here: below 1 there was room left,
    /// `None` where too few requests were served for any.
    pub slo_scale: Option<f64>,
    pub status: PointStatus,
    pub valid: Option<bool>,
    pub why: Vec<String>,
    /// Sends that the client made late; absent where none was, or nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_sends: Option<Lateness>,
    /// How KV was handed over; absent where no engine counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv: Option<HandOver>,
    /// Whether counters show that KV was handed over; absent without a hand-over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_over_proof: Option<HandOverProof>,
    /// Sessions, where turns wait for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionReport>,
    /// What prefix caches found; absent where no engine counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_cache: Option<PrefixCache>,
    /// What readers must know though it doesn't invalidate the point.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// How many independent requests would tell as much.
    #[serde(skip)]
    pub effective_requests: f64,
    #[serde(skip)]
    pub served: usize,
}

/// The highest rate with attainment at the target, requests per second.
#[derive(Debug, Clone, Serialize)]
pub struct MaxRate {
    pub value: Option<f64>,
    pub per_gpu: Option<f64>,
    pub ci95: Interval,
    pub censored: Option<Censored>,
    pub all: Vec<f64>,
}

/// The most requests in flight in a closed loop with attainment at the target, as far as it was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MaxConcurrency {
    pub value: Option<u32>,
    /// `above_tested`: it was the largest tested; `below_tested`: the smallest tested misses.
    pub censored: Option<Censored>,
    /// The smallest above it that misses the target.
    pub missed: Option<u32>,
}

impl MaxConcurrency {
    /// Of (requests in flight, percent), ascending.
    pub(super) fn of(levels: impl Iterator<Item = (u32, f64)>, target: f64) -> Option<MaxConcurrency> {
        let mut levels = levels.peekable();
        levels.peek()?;
        let (mut value, mut missed) = (None, None);
        for (level, attained) in levels {
            if attained < target {
                missed = Some(level);
                break;
            }
            value = Some(level);
        }
        let censored = match (value, missed) {
            (Some(_), None) => Some(Censored::AboveTested),
            (None, _) => Some(Censored::BelowTested),
            (Some(_), Some(_)) => None,
        };
        Some(MaxConcurrency { value, censored, missed })
    }
}

/// The tightest SLO scale at which the target is met at one rate.
#[derive(Debug, Clone, Serialize)]
pub struct ScaleReport {
    pub at_rate: Option<RequestRate>,
    pub value: Option<f64>,
    pub ci95: Interval,
    pub censored: Option<Censored>,
}

/// Repeats of a rate together: a point of the curves that are drawn.
#[derive(Debug, Clone)]
pub struct RateReport {
    pub rate: RequestRate,
    pub attainment: PointAttainment,
    /// Of all limits together, percent: it knows of clusters, and of launches where the comparison covers them.
    pub ci95: Interval,
    /// As in [`PointReport`].
    pub slo_scale: Option<f64>,
    /// Of served requests, seconds from due.
    pub median_ttft: Option<f64>,
}

/// The exact scale curves at the scale rate.
#[derive(Debug, Clone)]
pub struct ScaleCurves {
    pub both: ScaleCurve,
    pub ttft: ScaleCurve,
    pub tpot: ScaleCurve,
}

/// One arm as `compare --json` has it, and what is drawn of it.
#[derive(Debug, Clone, Serialize)]
pub struct ArmReport {
    pub label: String,
    pub dir: String,
    pub gpus: Option<u32>,
    pub topology: serde_json::Value,
    /// What the arm sets beside its sizes, as typed; empty where it sets nothing.
    pub settings: BTreeMap<String, String>,
    /// How often the deployment was started for these points.
    pub launches: u32,
    pub points: Vec<PointReport>,
    /// Points that ended early, below the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<StoppedPoint>,
    pub max_rate: MaxRate,
    /// Absent where no point is a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<MaxConcurrency>,
    /// Joules at `max_rate`; absent where they aren't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<CrossingEnergy>,
    /// Money for a million output tokens at `max_rate`, where a price was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_million_tokens: Option<f64>,
    /// What prefix caches found at all points together; absent where no engine counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_cache: Option<PrefixCache>,
    /// The crossing of the curve through all points, over realised rates.
    pub fitted: Fitted,
    pub scale: ScaleReport,
    /// Label and size, for sentences: `nixl 1P1D`.
    #[serde(skip)]
    pub name: String,
    /// Ascending in rate, repeats pooled; points that sent nothing are not among them.
    #[serde(skip)]
    pub rates: Vec<RateReport>,
    /// `None` without a finite rate at which something was sent.
    #[serde(skip)]
    pub crossing: Option<Crossing>,
    #[serde(skip)]
    pub scale_curves: Option<ScaleCurves>,
}

impl ArmReport {
    /// Points that may not be believed.
    pub fn invalid_points(&self) -> impl Iterator<Item = &PointReport> {
        self.points.iter().filter(|p| p.valid == Some(false))
    }

    /// Lowest and highest finite rate that was measured.
    pub fn tested(&self) -> Option<(f64, f64)> {
        let mut finite = self.rates.iter().map(|r| r.rate.per_second()).filter(|r| r.is_finite());
        let lowest = finite.next()?;
        Some((lowest, finite.next_back().unwrap_or(lowest)))
    }
}
