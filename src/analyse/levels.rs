//! Two arms at the same numbers of requests in flight.
//!
//! A closed loop has no rate that could cross the target. What can be compared is how many requests a second each arm
//! answers within the limits ([`super::goodput`]), and, request by request, which of the same prompts met them.

use super::claim::CommonRate;
use super::confidence::{RateSeries, own_error, paired_error};
use super::goodput::GoodputRatio;
use super::input::PointInput;
use super::interval::{Interval, Z95};
use super::normal::p_of;
use super::samples::Samples;
use crate::plan::slo::Slo;
use crate::units::RequestRate;

/// The repeats of a closed loop on one arm.
pub(super) struct ClosedLoop<'a> {
    pub(super) load: RequestRate,
    pub(super) series: RateSeries,
    pub(super) points: Vec<&'a PointInput>,
}

/// One arm's levels, and the GPUs that it takes.
pub(super) struct ClosedLoops<'a> {
    pub(super) all: Vec<ClosedLoop<'a>>,
    pub(super) gpus: Option<u32>,
}

/// b against a at every level that both have.
pub(super) fn in_common(a: &ClosedLoops<'_>, b: &ClosedLoops<'_>, paired: bool, slo: &Slo) -> Vec<CommonRate> {
    // Per GPU wherever both have GPUs: an arm with more of them must not win by it.
    let per_gpu = a.gpus.filter(|n| *n > 0).zip(b.gpus.filter(|n| *n > 0));
    let (of_a, of_b) = per_gpu.unwrap_or((1, 1));
    let twin = |a: &ClosedLoop<'_>| b.all.iter().find(|b| b.load == a.load);
    let common = a.all.iter().filter_map(|a| Some((a, twin(a)?)));
    let one = |(a, b): (&ClosedLoop<'_>, &ClosedLoop<'_>)| {
        let samples = |level: &ClosedLoop<'_>| level.points.iter().map(|p| p.samples.clone()).collect::<Vec<_>>();
        let (all_a, all_b) = (samples(a), samples(b));
        let (all_a, all_b): (Vec<&Samples>, Vec<&Samples>) =
            (all_a.iter().map(AsRef::as_ref).collect(), all_b.iter().map(AsRef::as_ref).collect());
        let in_flight = a.load.in_flight()?;
        let (difference, error) = difference(&a.series, &b.series, paired);
        let goodput = GoodputRatio::new((&all_a, of_a), (&all_b, of_b), in_flight, slo);
        Some(CommonRate { goodput: Some(goodput), ..CommonRate::new(a.load, difference, error) })
    };
    common.filter_map(one).collect()
}

/// What arm b met more than arm a, in percentage points, and the standard error of that: of the same requests one by one
/// where both answered the same.
pub(super) fn difference(a: &RateSeries, b: &RateSeries, paired: bool) -> (f64, f64) {
    let shared = paired.then(|| (a.shared_with(b), b.shared_with(a)));
    let shared = shared.filter(|(a, _)| !a.attempts.is_empty());
    let (paired, (a, b)) = (shared.is_some(), shared.as_ref().map_or((a, b), |(a, b)| (a, b)));
    let error = if paired { paired_error(a, b) } else { own_error(a).hypot(own_error(b)) };
    (100.0 * (b.attained() - a.attained()), 100.0 * error)
}

impl CommonRate {
    pub(super) fn new(rate: RequestRate, difference: f64, error: f64) -> CommonRate {
        let end = |sign: f64| (difference + sign * Z95 * error).clamp(-100.0, 100.0);
        CommonRate {
            rate,
            difference,
            ci95: Interval::closed(end(-1.0), end(1.0)),
            claimed: false,
            goodput: None,
            p: if error > 0.0 { p_of(difference / error) } else { 1.0 },
        }
    }
}
