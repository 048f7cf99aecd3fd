//! How many prefill instances for each decode instance would load both sides alike: a hint from measured utilisation.
//!
//! A prefill instance works on prompts one after the other, so its load is the share of the time it spent prefilling (the
//! engines' own sums). A decode instance batches: its load is its mean batch against the batch at which TPOT would reach
//! its limit, on the line through the slowest and the fastest rate measured (a step's time grows linearly with its batch).
//! Equal loads balance the sides; DistServe (Zhong et al., OSDI 2024) finds the same numbers from simulated goodputs.
//!
//! Deliberately no more than a hint: nothing is claimed of queues, of the hand-over, or of other parallelism.

use super::input::{ArmInput, PointInput};
use crate::outcome::EngineCounters;
use crate::plan::slo::Slo;
use crate::units::RequestRate;

/// More instances of one side for each of the other than this are no ratio, but an idle side.
pub const MOST: u32 = 4;

/// Loads of both sides at the highest rate that may be believed, 0 (idle) to 1 (all it can do). Decode beyond its limit is
/// above 1; prefill isn't, because the engines' sums count prompts that overlap twice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    pub rate: RequestRate,
    pub prefill_load: f64,
    pub decode_load: f64,
    /// Prefill and decode instances that were measured.
    pub measured: (u32, u32),
}

/// What the loads suggest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suggestion {
    /// Prefill and decode instances, in lowest terms.
    Ratio(u32, u32),
    /// Even [`MOST`] prefill instances a decode instance would leave decode idle.
    MorePrefill,
    MoreDecode,
}

impl Balance {
    /// `None` without the engines' own prefill times, without two rates to draw the line through, where TPOT doesn't
    /// grow with the batch, or where even an empty batch breaks its limit. `valid` tells whether a point may be believed.
    pub fn of(arm: &ArmInput, slo: &Slo, valid: impl Fn(&PointInput) -> bool) -> Option<Balance> {
        let measured = arm.instances.filter(|(prefill, decode)| *prefill > 0 && *decode > 0)?;
        let believed = arm.points.iter().filter(|p| valid(p) && !p.rate.is_infinite());
        let mut points: Vec<(&PointInput, Batch)> =
            believed.filter_map(|p| Some((p, Batch::of(p, measured.1)?))).collect();
        points.sort_by(|(a, _), (b, _)| a.rate.total_cmp(&b.rate));
        let ((lowest, low), (highest, high)) = (points.first()?, points.last()?);
        if lowest.rate == highest.rate {
            return None;
        }
        let slope = (high.tpot - low.tpot) / (high.requests - low.requests);
        let allowed = (slo.tpot.as_secs() - (low.tpot - slope * low.requests)) / slope;
        let decode_load = high.requests / allowed;
        let usable = slope > 0.0 && decode_load.is_finite() && decode_load > 0.0;
        // What a prompt takes is read where prompts overlap least; the load grows with the rate.
        let alone = prefill_share(lowest, measured.0).filter(|share| *share <= MOST_OVERLAP)?;
        let prefill_load = (alone * highest.rate.per_second() / lowest.rate.per_second()).min(1.0);
        let balance = Balance { rate: highest.rate, prefill_load, decode_load, measured };
        usable.then_some(balance)
    }

    /// The smallest numbers of instances within a seventh of the balanced ratio, else the nearest.
    pub fn suggestion(&self) -> Suggestion {
        let (prefill, decode) = self.measured;
        let ratio = f64::from(prefill) * self.prefill_load / (f64::from(decode) * self.decode_load);
        let most = f64::from(MOST);
        if ratio > most * NEAR {
            return Suggestion::MorePrefill;
        }
        if ratio * most * NEAR < 1.0 {
            return Suggestion::MoreDecode;
        }
        let error = |(p, d): (u32, u32)| (f64::from(p) / f64::from(d) / ratio).ln().abs();
        let mut all: Vec<(u32, u32)> = (1..=MOST).flat_map(|p| (1..=MOST).map(move |d| (p, d))).collect();
        all.sort_by_key(|(p, d)| p + d);
        let near = all.iter().copied().find(|pair| error(*pair) <= NEAR.ln());
        let nearest = || all.iter().copied().min_by(|a, b| error(*a).total_cmp(&error(*b)));
        let (p, d) = near.or_else(nearest).unwrap_or((1, 1));
        Suggestion::Ratio(p, d)
    }

    /// Whether what was measured is what is suggested.
    pub fn holds(&self) -> bool {
        let (prefill, decode) = self.measured;
        matches!(self.suggestion(), Suggestion::Ratio(p, d) if p * decode == d * prefill)
    }
}

/// The engines' sums count prompts that are in the same step twice. Above this share of the time, too many are: two H100s
/// that computed for 58 of 88 ms a prompt looked busy all the time.
const MOST_OVERLAP: f64 = 0.5;

/// Ratios closer than this factor are one.
const NEAR: f64 = 8.0 / 7.0;

/// The mean batch of a decode instance, and what it did to TPOT.
#[derive(Debug, Clone, Copy)]
struct Batch {
    requests: f64,
    /// Mean, seconds.
    tpot: f64,
}

impl Batch {
    fn of(point: &PointInput, instances: u32) -> Option<Batch> {
        let seconds = point.duration_secs.filter(|secs| *secs > 0.0)?;
        let decoding = point.samples.stages.decode;
        let (sum, n) = point
            .samples
            .latencies()
            .filter(|(_, tpot)| tpot.is_finite())
            .fold((0.0, 0u32), |(sum, n), (_, tpot)| (sum + tpot, n + 1));
        let requests = decoding / seconds / f64::from(instances);
        (n > 0 && requests > 0.0).then(|| Batch { requests, tpot: sum / f64::from(n) })
    }
}

/// Share of the time that a prefill instance spent prefilling.
fn prefill_share(point: &PointInput, instances: u32) -> Option<f64> {
    let engines: EngineCounters = point.facts.as_ref()?.engines?;
    let seconds = point.duration_secs.filter(|secs| *secs > 0.0)?;
    engines.prefill_time.map(|sum| sum.secs / seconds / f64::from(instances)).filter(|share| *share > 0.0)
}
