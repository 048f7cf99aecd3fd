//! Points of an arm gathered by rate, and what resampling needs to know of each.

use super::input::PointInput;
use super::interval::{Interval, Z95, student95, wilson};
use super::samples::Samples;
use super::scale::{Limits, needed, per_request};
use crate::plan::slo::{Slo, Target};

/// Points of one rate, in the order of their attempts, ascending in rate. Without points that sent nothing: they
/// measured nothing.
pub(super) fn by_rate(points: &[PointInput]) -> Vec<(f64, Vec<&PointInput>)> {
    let mut sorted: Vec<&PointInput> = points.iter().filter(|p| p.samples.sent() > 0).collect();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.attempt.cmp(&b.attempt)));
    let mut groups: Vec<(f64, Vec<&PointInput>)> = Vec::new();
    for point in sorted {
        let rate = point.rate.per_second();
        match groups.last_mut() {
            Some((same, group)) if *same == rate => group.push(point),
            _ => groups.push((rate, vec![point])),
        }
    }
    groups
}

/// One attempt, ready for resampling.
#[derive(Debug)]
pub(super) struct Attempt {
    /// s* in arrival order.
    pub(super) scales: Vec<f64>,
    /// Requests that met the SLO.
    pub(super) met: usize,
    /// Prefix sums of "among the best p N": the point as it would be if it just met the target.
    at_target: Vec<u32>,
    /// Requests that belong together: block length of the resampling.
    pub(super) block: usize,
}

/// How much one attempt's resampled attainment strays, given the block length in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) block: usize,
    /// Factor on the deviation of the at-target series.
    pub(super) gain: f64,
    /// Student's factor alone, for the at-target series itself.
    pub(super) student: f64,
}

impl Attempt {
    pub(super) fn new(samples: &Samples, slo: &Slo, target: Target) -> Attempt {
        Attempt::by(samples, slo, target, Limits::Both)
    }

    /// By one limit alone.
    pub(super) fn by(samples: &Samples, slo: &Slo, target: Target, limits: Limits) -> Attempt {
        let scales = per_request(samples, slo, limits);
        let order = best_first(&scales);
        let met = scales.iter().filter(|s| **s <= 1.0).count();
        let at_target = at_target(&scales, &order, target);
        Attempt { block: block_length(&at_target), at_target, met, scales }
    }

    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    pub(super) fn attained(&self) -> f64 {
        self.met as f64 / self.len().max(1) as f64
    }

    /// Share of the at-target series: the target, unless failures keep the point from ever meeting it.
    fn centre(&self) -> f64 {
        f64::from(self.at_target[self.len()]) / self.len().max(1) as f64
    }

    pub(super) fn spread(&self, block: usize) -> Spread {
        let blocks = (self.len() as f64 / block as f64).max(3.0);
        // With few blocks their spread is itself uncertain (t instead of z) and too small by (b-1)/b.
        let student = student95(blocks - 1.0) / Z95 * (blocks / (blocks - 1.0)).sqrt();
        let (centre, attained) = (self.centre(), self.attained());
        let unit = centre * (1.0 - centre);
        let shrunk = (attained * blocks + PSEUDO_BLOCKS) / (blocks + 2.0 * PSEUDO_BLOCKS);
        let variance = (shrunk * (1.0 - shrunk)).max(attained * (1.0 - attained));
        let gain = if unit > 0.0 { student * (variance / unit).sqrt() } else { 0.0 };
        Spread { block, gain, student }
    }

    /// Deviation of a resample of the at-target series from its mean; `next` draws a start below its argument.
    pub(super) fn deviation(&self, block: usize, mut next: impl FnMut(usize) -> usize) -> f64 {
        let n = self.len();
        let all = self.at_target[n];
        let (mut left, mut sum) = (n, 0);
        while left > 0 {
            let length = block.min(left);
            let start = next(n);
            let end = start + length;
            sum += if end <= n {
                self.at_target[end] - self.at_target[start]
            } else {
                all - self.at_target[start] + self.at_target[end - n]
            };
            left -= length;
        }
        (f64::from(sum) - f64::from(all)) / n.max(1) as f64
    }

    /// Variance of the mean of the at-target series by its blocks, over what independent requests would have; 1 for a
    /// series without variance.
    fn design_effect(&self, block: usize) -> f64 {
        let (n, block) = (self.len(), block.min(self.len()));
        let centre = self.centre();
        let unit = centre * (1.0 - centre);
        if unit <= 0.0 {
            return 1.0;
        }
        let square = |start: usize| {
            let end = start + block;
            let wrapped = if end <= n { 0 } else { self.at_target[end - n] };
            let sum = self.at_target[end.min(n)] - self.at_target[start] + wrapped;
            (f64::from(sum) / block as f64 - centre).powi(2)
        };
        (0..n).map(square).sum::<f64>() / n as f64 * block as f64 / unit
    }

    /// How many independent requests would tell as much: n over the design effect of the clusters.
    pub(super) fn effective_size(&self) -> f64 {
        let widened = self.design_effect(self.block) * self.spread(self.block).student.powi(2);
        self.len() as f64 / widened.max(1.0)
    }

    /// The interval of attainment in percent that knows of clusters: Wilson's with the effective sample size.
    pub(super) fn clustered95(&self) -> Interval {
        wilson(self.attained(), self.effective_size().max(1.0))
    }
}

/// Half a cluster of each kind that every point is presumed to hide: a run without a miss may just not have met its bad
/// moment (Agresti and Coull's remedy, counted in clusters instead of requests; size found by simulation).
const PSEUDO_BLOCKS: f64 = 0.5;

/// Indices by ascending s*; ties in an order that has nothing to do with arrival.
fn best_first(scales: &[f64]) -> Vec<u32> {
    let scatter = |i: u32| i.wrapping_mul(0x9E37_79B9).rotate_left(13).wrapping_mul(0x85EB_CA6B);
    let mut order: Vec<u32> = (0..scales.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| {
        scales[a as usize].total_cmp(&scales[b as usize]).then_with(|| scatter(a).cmp(&scatter(b)))
    });
    order
}

fn at_target(scales: &[f64], order: &[u32], target: Target) -> Vec<u32> {
    let served = scales.iter().filter(|s| s.is_finite() || **s < 0.0).count();
    // At a target of 100 % the series still needs a miss to show how misses cluster.
    let kept = needed(target, scales.len()).min(scales.len().saturating_sub(1)).min(served);
    let mut among = vec![0u32; scales.len() + 1];
    for &i in &order[..kept] {
        among[i as usize + 1] = 1;
    }
    for i in 1..among.len() {
        among[i] += among[i - 1];
    }
    among
}

/// Block length: 0.45 tau^1.2 n^(1/3), at least n^(1/3), at most n/6, where tau is the integrated autocorrelation time
/// of "missed" at the target: of the misses that a point would have if it just met it. Their own misses are none at a good
/// point, which has the queue's memory all the same; the ranks of s* remember longer than their extremes, which made
/// blocks too long where TPOT binds. n^(1/3) is the block bootstrap's of a variance, which would have tau^(2/3) beside it
/// (Lahiri, Resampling Methods for Dependent Data, 2003); intervals want blocks that grow faster with the memory, since
/// short blocks cut its clusters and long ones without it leave too few: factor and exponent are found by simulation.
fn block_length(at_target: &[u32]) -> usize {
    let met: Vec<f64> = at_target.windows(2).map(|pair| f64::from(pair[1] - pair[0])).collect();
    let n = met.len() as f64;
    let third = n.cbrt();
    let wanted = 0.45 * autocorrelation_time(&met).powf(1.2) * third;
    wanted.max(third).min(n / 6.0).round().max(1.0) as usize
}

/// Longest series whose autocorrelation is computed request by request; longer ones are averaged in pairs, triples...
const DIRECT: usize = 8192;

/// Integrated autocorrelation time in requests: 1 + 2 sum of correlations until they sink into noise; 1 without memory.
fn autocorrelation_time(series: &[f64]) -> f64 {
    let stride = series.len().div_ceil(DIRECT).max(1);
    let coarse: Vec<f64> = series.chunks(stride).map(|c| c.iter().sum::<f64>() / c.len() as f64).collect();
    let n = coarse.len();
    let mean = coarse.iter().sum::<f64>() / n.max(1) as f64;
    let centred: Vec<f64> = coarse.iter().map(|x| x - mean).collect();
    let power: f64 = centred.iter().map(|x| x * x).sum();
    if power <= 0.0 {
        return 1.0;
    }
    let noise = (n as f64).sqrt().recip();
    let mut tau = 1.0;
    for lag in 1..n / 3 {
        let correlation = centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b).sum::<f64>() / power;
        if correlation < noise {
            break;
        }
        tau += 2.0 * correlation;
    }
    tau * stride as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_requests_have_no_memory_and_a_queue_has() {
        let white: Vec<f64> = (0..2000u32).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 8)).collect();
        assert!(autocorrelation_time(&white) < 1.5);
        let slow: Vec<f64> = (0..2000).map(|i| (f64::from(i) / 30.0).sin()).collect();
        assert!(autocorrelation_time(&slow) > 30.0);
        assert_eq!(autocorrelation_time(&[1.0; 100]), 1.0, "a constant has none");
    }

    #[test]
    fn misses_in_a_row_count_for_fewer_requests_than_scattered_ones() {
        let of = |scales: Vec<f64>| {
            let order = best_first(&scales);
            let target = Target::default();
            let met = scales.iter().filter(|s| **s <= 1.0).count();
            let at_target = at_target(&scales, &order, target);
            Attempt { block: block_length(&at_target), at_target, met, scales }
        };
        let miss = |bad: fn(u32) -> bool| of((0..500).map(|i| if bad(i) { 2.0 } else { 0.5 }).collect());
        let (burst, even) =
            (miss(|i| (200..250).contains(&i)), miss(|i| i.wrapping_mul(2_654_435_761) >> 8 & 1023 < 102));
        assert!(burst.effective_size() < 50.0, "{}", burst.effective_size());
        assert!(even.effective_size() > 250.0, "{}", even.effective_size());
    }
}
