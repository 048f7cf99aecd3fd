//! The exact SLO-scale curve: attainment when every limit of the SLO is multiplied by s.
//!
//! A request keeps the SLO at scale s exactly when s >= s* = max(ttft/T, tpot/P[, e2el/E]), so the curve is the
//! empirical distribution of s* and needs no grid of scales. The scale at the target is its inverse: the order statistic
//! ceil(p N), the tightest scale at which the target is met by these very requests.

use super::samples::Samples;
use crate::plan::slo::{Slo, Target};

/// Which limits are scaled; the curve of one alone leaves the others out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaledLimits {
    Both,
    Ttft,
    Tpot,
    /// Not limited: met by every request that was served.
    E2el,
}

/// s* of every request in arrival order; infinite where it was not served.
pub(super) fn per_request(samples: &Samples, slo: &Slo, limits: ScaledLimits) -> Vec<f64> {
    let (t, p) = (slo.ttft.as_secs(), slo.tpot.as_secs());
    match (limits, slo.e2el) {
        (ScaledLimits::Ttft, _) => samples.ttft.iter().map(|x| x / t).collect(),
        (ScaledLimits::Tpot, _) => samples.tpot.iter().map(|x| x / p).collect(),
        (ScaledLimits::E2el, e2el) => {
            let limit = e2el.map_or(f64::INFINITY, |limit| limit.as_secs());
            samples.e2el.iter().map(|x| if x.is_finite() { x / limit } else { *x }).collect()
        }
        (ScaledLimits::Both, None) => samples.ttft.iter().zip(&samples.tpot).map(|(x, y)| (x / t).max(y / p)).collect(),
        (ScaledLimits::Both, Some(e2el)) => {
            let pairs = samples.ttft.iter().zip(&samples.tpot).zip(&samples.e2el);
            pairs.map(|((x, y), z)| (x / t).max(y / p).max(z / e2el.as_secs())).collect()
        }
    }
}

/// ceil(p n): how many of n requests must meet the SLO. The slack keeps 0.9 * 80 at 72.
pub(super) fn needed(target: Target, n: usize) -> usize {
    let exact = target.percent().get() * n as f64 / 100.0;
    ((exact - 1e-9 * exact.max(1.0)).ceil() as usize).clamp(1, n.max(1))
}

/// An integer that sorts as the number does (`total_cmp`), a third faster for a million of them; its own inverse.
fn order_key(x: f64) -> i64 {
    let bits = x.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn from_order_key(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

/// The distribution of s* at one rate, repeats together.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleCurve {
    /// Finite s* in ascending order.
    sorted: Vec<f64>,
    offered: usize,
}

impl ScaleCurve {
    pub fn new<'a>(repeats: impl IntoIterator<Item = &'a Samples>, slo: &Slo, limits: ScaledLimits) -> ScaleCurve {
        let all: Vec<f64> = repeats.into_iter().flat_map(|s| per_request(s, slo, limits)).collect();
        let offered = all.len();
        let mut keys: Vec<i64> = all.into_iter().filter(|s| *s < f64::INFINITY).map(order_key).collect();
        keys.sort_unstable();
        ScaleCurve { sorted: keys.into_iter().map(from_order_key).collect(), offered }
    }

    /// Attainment in percent with every limit multiplied by `scale`.
    pub fn attainment_at(&self, scale: f64) -> f64 {
        let met = self.sorted.partition_point(|s| *s <= scale);
        100.0 * met as f64 / self.offered.max(1) as f64
    }

    /// The tightest scale at which the target is met; `None` if no scale meets it (too many requests not served), or
    /// if nothing was offered.
    pub fn at_target(&self, target: Target) -> Option<f64> {
        // A scale of minus infinity (one-token requests, TPOT alone) is no number to quote: zero is the tightest limit.
        self.sorted.get(needed(target, self.offered) - 1).map(|s| s.max(0.0))
    }

    /// The curve as steps for drawing, ascending in scale: (scale, attainment in percent) after each step, thinned to
    /// at most `limit` points (2 at least) so that it stays within one step of `1/limit` of the exact curve.
    pub fn steps(&self, limit: usize) -> Vec<(f64, f64)> {
        let n = self.sorted.len();
        let stride = n.div_ceil(limit.max(2)).max(1);
        let picked = (0..n).step_by(stride).map(|i| self.sorted[(i + stride - 1).min(n - 1)]);
        let mut steps: Vec<(f64, f64)> = picked.map(|scale| (scale.max(0.0), self.attainment_at(scale))).collect();
        steps.dedup();
        steps
    }

    /// Requests behind the curve, served or not.
    pub fn offered(&self) -> usize {
        self.offered
    }
}
