//! Points of an arm gathered by rate, and what resampling needs to know of each.

use super::input::PointInput;
use super::interval::{Interval, Z95, student95, wilson};
use super::samples::Samples;
use super::scale::{ScaledLimits, needed, per_request};
use crate::plan::slo::{Slo, Target};
use crate::units::RequestRate;
use std::rc::Rc;

/// Points of one rate, in the order of their attempts, ascending in rate. Without points that sent nothing: they
/// measured nothing.
pub(super) fn by_rate(points: &[PointInput]) -> Vec<(RequestRate, Vec<&PointInput>)> {
    let mut sorted: Vec<&PointInput> =
        points.iter().filter(|p| p.samples.sent() > 0 && p.samples.unknown_tpots() == 0).collect();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.attempt.cmp(&b.attempt)));
    let mut groups: Vec<(RequestRate, Vec<&PointInput>)> = Vec::new();
    for point in sorted {
        match groups.last_mut() {
            Some((same, group)) if *same == point.rate => group.push(point),
            _ => groups.push((point.rate, vec![point])),
        }
    }
    groups
}

/// One attempt, ready for resampling.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Which attempt at its rate it was: arms that answered the same requests have the same.
    pub(super) number: u32,
    /// s* in arrival order.
    pub(super) scales: Vec<f64>,
    /// When each was due, seconds.
    due: Vec<f64>,
    /// Requests that met the SLO.
    pub(super) met: usize,
    /// The scale of the limits at which the target is just met; infinite where too few were served.
    pub(super) needed_scale: f64,
    /// Prefix sums of "among the best p N": the point as it would be if it just met the target.
    at_target: Vec<u32>,
    /// Requests that belong together: block length of the resampling.
    pub(super) block: usize,
    /// By how much the block would be longer if the point were; 1 where it is long enough.
    cut: f64,
}

/// How far a resample lies from the attempt itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Resampled {
    /// Of the at-target series.
    pub(super) share: f64,
    /// Of the time that the requests took to fall due, as a part of it.
    pub(super) time: f64,
}

impl Attempt {
    pub(super) fn new(number: u32, samples: &Samples, slo: &Slo, target: Target) -> Attempt {
        Attempt { number, ..Attempt::by(samples, slo, target, ScaledLimits::Both) }
    }

    /// By one limit alone.
    pub(super) fn by(samples: &Samples, slo: &Slo, target: Target, limits: ScaledLimits) -> Attempt {
        let scales = per_request(samples, slo, limits);
        let order = best_first(&scales);
        let met = scales.iter().filter(|s| **s <= 1.0).count();
        let at_target = at_target(&scales, &order, target);
        let needed_scale = scale_at_target(&scales, &order, target);
        let (block, cut) = block_length(&at_target);
        Attempt { number: 1, block, cut, at_target, met, needed_scale, scales, due: samples.offered_times() }
    }

    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    pub(super) fn attained(&self) -> f64 {
        self.met as f64 / self.len().max(1) as f64
    }

    /// Request by request in arrival order, 1 for those that met the SLO.
    pub(super) fn each_met(&self) -> impl Iterator<Item = u8> + '_ {
        self.scales.iter().map(|s| u8::from(*s <= 1.0))
    }

    /// Share of the at-target series: the target, unless failures keep the point from ever meeting it.
    pub(super) fn centre(&self) -> f64 {
        f64::from(self.at_target[self.len()]) / self.len().max(1) as f64
    }

    pub(super) fn student(&self, block: usize) -> f64 {
        few_blocks(self.len(), block)
    }

    /// A resample by blocks; `next` draws a start below its argument.
    pub(super) fn resampled(&self, block: usize, mut next: impl FnMut(usize) -> usize) -> Resampled {
        let n = self.len();
        let all = self.at_target[n];
        let span = self.since_first(n);
        let (mut left, mut sum, mut time) = (n, 0, 0.0);
        while left > 0 {
            let length = block.min(left);
            let start = next(n);
            let end = start + length;
            let (wraps, end) = if end <= n { (0, end) } else { (1, end - n) };
            sum += self.at_target[end] + wraps * all - self.at_target[start];
            time += self.since_first(end) + f64::from(wraps) * span - self.since_first(start);
            left -= length;
        }
        Resampled {
            share: (f64::from(sum) - f64::from(all)) / n.max(1) as f64,
            time: if span > 0.0 { time / span - 1.0 } else { 0.0 },
        }
    }

    /// Seconds from the first due to the last of the first `n`.
    fn since_first(&self, n: usize) -> f64 {
        let at = |i: usize| self.due.get(i).copied().unwrap_or(0.0);
        at(n.saturating_sub(1)) - at(0)
    }

    /// Requests a second as they fell due; `None` where all were due at once.
    pub(super) fn realised_rate(&self) -> Option<f64> {
        let span = self.since_first(self.len());
        (span > 0.0).then(|| (self.len() - 1) as f64 / span)
    }

    /// Variance of the mean of the at-target series by its blocks, over what independent requests would have; 1 for a
    /// series without variance.
    pub(super) fn design_effect(&self, block: usize) -> f64 {
        design_effect(&self.at_target, block)
    }

    /// The design effect with what blocks cut off of it: what it grew from half the block on goes on half as far, and a
    /// memory that outlasts the longest block allowed adds its square root. Both found by simulation.
    pub(super) fn whole_effect(&self, block: usize) -> f64 {
        let seen = self.design_effect(block);
        let grown = seen - self.design_effect((block / 2).max(1));
        (seen + 0.5 * grown).clamp(seen, 2.0 * seen) * self.cut.sqrt()
    }

    /// How many independent requests would tell as much: n over the design effect of the clusters.
    pub(super) fn effective_size(&self) -> f64 {
        self.effective_under(self.design_effect(self.block))
    }

    /// The same for attainment with every limit multiplied by `scale`: by the clusters of those misses, which tell less
    /// than those at the target where there are few of them.
    pub(super) fn effective_size_at(&self, scale: f64) -> f64 {
        let among = running_sum(self.scales.iter().map(|s| u32::from(*s <= scale)));
        self.effective_under(design_effect(&among, self.block).max(self.design_effect(self.block)))
    }

    fn effective_under(&self, effect: f64) -> f64 {
        let widened = effect * self.student(self.block).powi(2);
        self.len() as f64 / widened.max(1.0)
    }

    /// The interval of attainment in percent that knows of clusters: Wilson's with the effective sample size.
    pub(super) fn clustered95(&self) -> Interval {
        wilson(self.attained(), self.effective_size().max(1.0))
    }
}

/// The interval in percent of attempts taken together, as [`Attempt::clustered95`] is of one. `between`: the standard
/// error that launches add to the share.
pub(super) fn pooled95(attempts: &[Rc<Attempt>], between: f64) -> Interval {
    let (met, all) = attempts.iter().fold((0, 0), |(met, all), a| (met + a.met, all + a.len()));
    let effective: f64 = attempts.iter().map(|a| a.effective_size()).sum();
    let share = met as f64 / all.max(1) as f64;
    // Not the share itself: a rate without a miss may have some in another launch.
    let likely = (met as f64 + 0.5) / (all as f64 + 1.0);
    let unit = likely * (1.0 - likely);
    wilson(share, (unit / (unit / effective.max(1.0) + between * between)).max(1.0))
}

/// Variance of the mean of a series of 0 and 1 by circular blocks, over what independent ones would have; 1 for a series
/// without variance. `among`: its running sum.
fn design_effect(among: &[u32], block: usize) -> f64 {
    let n = among.len().saturating_sub(1);
    let block = block.min(n);
    let centre = f64::from(among[n]) / n.max(1) as f64;
    let unit = centre * (1.0 - centre);
    if unit <= 0.0 {
        return 1.0;
    }
    let square = |start: usize| {
        let end = start + block;
        let wrapped = if end <= n { 0 } else { among[end - n] };
        let sum = among[end.min(n)] - among[start] + wrapped;
        (f64::from(sum) / block as f64 - centre).powi(2)
    };
    ((0..n).map(square).sum::<f64>() / n as f64 * block as f64 / unit).max(LEAST_EFFECT)
}

fn running_sum(series: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut sum = 0;
    let next = |x: u32| {
        sum += x;
        sum
    };
    std::iter::once(0).chain(series.map(next)).collect()
}

/// With few blocks their spread is itself uncertain (t instead of z) and too small by (b-1)/b.
fn few_blocks(requests: usize, block: usize) -> f64 {
    let blocks = (requests as f64 / block as f64).max(3.0);
    student95(blocks - 1.0) / Z95 * (blocks / (blocks - 1.0)).sqrt()
}

/// Standard error of the mean of a series in arrival order, from circular blocks as long as its own memory asks for,
/// `block` at least; and half a block that may hide what the series didn't show.
pub(super) fn clustered_error(series: &[f64], block: usize) -> f64 {
    let n = series.len();
    if n == 0 {
        return 0.0;
    }
    let block = block.max(block_of(series)).min((n / 6).max(1));
    let mean = series.iter().sum::<f64>() / n as f64;
    let mut sum: f64 = series[..block].iter().sum();
    let mut squares = 0.0;
    for start in 0..n {
        squares += (sum / block as f64 - mean).powi(2);
        sum += series[(start + block) % n] - series[start];
    }
    let (blocks, variance) = (n as f64 / block as f64, squares / n as f64);
    let hidden = 0.25 / (blocks * blocks);
    few_blocks(n, block) * (variance / blocks + hidden * HIDDEN).sqrt()
}

/// How much of a block's full swing may be hidden; it keeps a lone cluster from being claimed.
const HIDDEN: f64 = 0.1;

/// Misses that keep their distance from each other tell more than independent ones, but few blocks may look so by chance.
const LEAST_EFFECT: f64 = 0.3;

/// The order statistic ceil(p n) of s*.
fn scale_at_target(scales: &[f64], order: &[u32], target: Target) -> f64 {
    order.get(needed(target, scales.len()) - 1).map_or(f64::INFINITY, |&i| scales[i as usize].max(0.0))
}

/// The same of attempts taken together.
pub(super) fn pooled_scale(attempts: &[Rc<Attempt>], target: Target) -> f64 {
    if let [one] = attempts {
        return one.needed_scale;
    }
    let mut all: Vec<f64> = attempts.iter().flat_map(|a| a.scales.iter().copied()).collect();
    let at = needed(target, all.len()) - 1;
    if at < all.len() { all.select_nth_unstable_by(at, f64::total_cmp).1.max(0.0) } else { f64::INFINITY }
}

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
    let mut among = vec![0u32; scales.len()];
    order[..kept].iter().for_each(|&i| among[i as usize] = 1);
    running_sum(among.into_iter())
}

/// Block length: 0.45 tau^1.2 n^(1/3), at least n^(1/3), at most n/6, where tau is the integrated autocorrelation time
/// of "missed" at the target: of the misses that a point would have if it just met it. Their own misses are none at a good
/// point, which has the queue's memory all the same; the ranks of s* remember longer than their extremes, which made
/// blocks too long where TPOT binds. n^(1/3) is the block bootstrap's of a variance, which would have tau^(2/3) beside it
/// (Lahiri, Resampling Methods for Dependent Data, 2003); intervals want blocks that grow faster with the memory, since
/// short blocks cut its clusters and long ones without it leave too few: factor and exponent are found by simulation.
///
/// Beside it, by how much longer it would be without the upper end.
fn block_length(at_target: &[u32]) -> (usize, f64) {
    let met: Vec<f64> = at_target.windows(2).map(|pair| f64::from(pair[1] - pair[0])).collect();
    let (wanted, longest) = (wanted_block(&met), longest_block(&met));
    (wanted.min(longest).round().max(1.0) as usize, (wanted / longest).max(1.0))
}

fn block_of(series: &[f64]) -> usize {
    wanted_block(series).min(longest_block(series)).round().max(1.0) as usize
}

fn wanted_block(series: &[f64]) -> f64 {
    let third = (series.len() as f64).cbrt();
    (0.45 * autocorrelation_time(series).powf(1.2) * third).max(third)
}

fn longest_block(series: &[f64]) -> f64 {
    (series.len() as f64 / 6.0).max(1.0)
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
            let needed_scale = scale_at_target(&scales, &order, target);
            let (block, cut) = block_length(&at_target);
            Attempt { number: 1, block, cut, at_target, met, needed_scale, scales, due: Vec::new() }
        };
        let miss = |bad: fn(u32) -> bool| of((0..500).map(|i| if bad(i) { 2.0 } else { 0.5 }).collect());
        let (burst, even) =
            (miss(|i| (200..250).contains(&i)), miss(|i| i.wrapping_mul(2_654_435_761) >> 8 & 1023 < 102));
        assert!(burst.effective_size() < 50.0, "{}", burst.effective_size());
        assert!(even.effective_size() > 250.0, "{}", even.effective_size());
    }
}
