//! How sure: intervals by resampling whole blocks of neighbouring requests.
//!
//! Requests in a queue are not independent: misses come in clusters, most of all where curves cross. So circular blocks
//! in order of arrival are resampled, as long as misses at the target hang together ([`super::series`]), with the same
//! blocks in both arms of a pair that answered the same trace: what a burst of arrivals does to both cancels in the
//! ratio. An arm's own interval draws the arm's own blocks, whoever else is compared. In every resample the curve through
//! all points ([`super::curve`]) is fitted anew; where it doesn't cross within the rates tested it yields bounds
//! ("above 8"), so a ratio against an arm that never fell below the target still gets a lower end.
//!
//! The spread of a point comes from the series at the target ("what if exactly p of these requests had met it"), scaled
//! to the attainment of the fitted curve: a run without a miss is not a run without uncertainty. How strongly requests
//! hang together is taken from the neighbouring rates too, since a lucky point also looks calm.
//! docs/METHODOLOGY.md has the study behind this; `cargo bench --bench intervals` repeats it, the tests a part of it.

use super::curve::{Curve, Observation};
use super::dice::{SplitMix, mix};
use super::replicates::Replicates;
use super::series::{Attempt, clustered_error};
use crate::outcome::EarlyStop;
use crate::plan::slo::Target;
use std::rc::Rc;

/// Resamples drawn: the 2.5 % point then rests on 25 of them.
pub const ROUNDS: u32 = 1000;

/// What the spread of a resample falls short of that of another run, on top of Student's factor; found by simulation.
const WIDEN: f64 = 1.05;

/// Attempts at one rate of one arm.
#[derive(Debug, Clone)]
pub(super) struct RateSeries {
    /// Requests per second.
    pub(super) rate: f64,
    pub(super) attempts: Vec<Rc<Attempt>>,
}

impl RateSeries {
    /// Only attempts that the other arm has too, so that they answered the same requests.
    pub(super) fn shared_with(&self, other: &RateSeries) -> RateSeries {
        let shared = |a: &&Rc<Attempt>| other.attempts.iter().any(|b| b.number == a.number);
        RateSeries { rate: self.rate, attempts: self.attempts.iter().filter(shared).cloned().collect() }
    }

    /// Attempts together.
    pub(super) fn attained(&self) -> f64 {
        let met: usize = self.attempts.iter().map(|a| a.met).sum();
        met as f64 / self.attempts.iter().map(|a| a.len()).sum::<usize>().max(1) as f64
    }
}

/// What a point that ended early says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) rate: f64,
    pub(super) stop: EarlyStop,
}

impl Bound {
    pub(super) fn observation(&self, effect: f64) -> Observation {
        let weight = f64::from(self.stop.planned) / effect;
        Observation { rate: self.rate, missed: self.stop.missed_at_least(), weight, at_least: true }
    }
}

/// How the draws of arms and rates hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resampling {
    pub(super) rounds: u32,
    /// The arms answered the same trace: the same blocks are drawn in every arm.
    pub(super) paired: bool,
    /// Every rate replays the same gaps, only faster: the same blocks are drawn at every rate.
    pub(super) shared_gaps: bool,
}

/// The share of requests that may miss at the target. At a target of 100 % it is less than one of them.
pub(super) fn allowed(arm: &[RateSeries], target: Target) -> f64 {
    let most = arm.iter().flat_map(|r| &r.attempts).map(|a| a.len()).max().unwrap_or(1).max(1);
    (1.0 - target.percent().as_fraction()).max(0.5 / most as f64)
}

/// A sweep of one arm, ready to be resampled.
#[derive(Debug)]
pub(super) struct ArmSweep {
    points: Vec<DrawnPoint>,
    observations: Vec<Observation>,
    /// `None` with fewer than two rates.
    pub(super) curve: Option<Curve>,
    rounds: u32,
}

#[derive(Debug)]
struct DrawnPoint {
    attempt: Rc<Attempt>,
    /// Position among the rates.
    rate: usize,
    slot: usize,
    block: usize,
    /// Where its random numbers come from; equal for arms (and rates) that draw alike.
    stream: u64,
    /// Factor on the deviation of the at-target series, and on that of time.
    gain: f64,
    student: f64,
}

impl ArmSweep {
    /// `stream` tells apart the draws of arms that don't draw alike.
    pub(super) fn new(
        (arm, stopped): (&[RateSeries], &[Bound]),
        blocks: &Blocks,
        stream: u64,
        target: Target,
    ) -> ArmSweep {
        let allowed = allowed(arm, target);
        let mut points = Vec::new();
        for (i, series) in arm.iter().enumerate() {
            let own = if blocks.how.shared_gaps { 0 } else { series.rate.to_bits() };
            for attempt in &series.attempts {
                let slot = attempt.number.saturating_sub(1) as usize;
                let block = blocks.of(series).min((attempt.len() / 6).max(1));
                let attempt = Rc::clone(attempt);
                let student = attempt.student(block);
                let stream = mix(own ^ mix(stream));
                points.push(DrawnPoint { attempt, rate: i, slot, block, stream, gain: 0.0, student });
            }
        }
        let effects: Vec<f64> = points.iter().map(|p| p.attempt.design_effect(p.block)).collect();
        let whole: Vec<f64> = points.iter().map(|p| p.attempt.whole_effect(p.block)).collect();
        let smooth = smoothed(&points, &whole);
        let mut observations: Vec<Observation> = points
            .iter()
            .zip(&smooth)
            .map(|(p, effect)| Observation {
                rate: p.attempt.realised_rate().unwrap_or(arm[p.rate].rate),
                missed: 1.0 - p.attempt.attained(),
                weight: p.attempt.len() as f64 / (effect * p.student * p.student),
                at_least: false,
            })
            .collect();
        let widest = smooth.iter().fold(1.0, |a: f64, b| a.max(*b));
        observations.extend(stopped.iter().map(|bound| bound.observation(widest)));
        let curve = Curve::fit(&observations, allowed);
        for ((point, seen), (smooth, own)) in points.iter_mut().zip(&observations).zip(smooth.iter().zip(&effects)) {
            let unit = point.attempt.centre() * (1.0 - point.attempt.centre());
            let variance = |share: f64| share * (1.0 - share);
            // Without a curve, half a miss more than was seen.
            let fallback = (seen.missed * seen.weight + 0.5) / (seen.weight + 1.0);
            let expected = curve.as_ref().map_or(fallback, |curve| curve.missed(seen.rate));
            let widest = variance(expected).max(variance(seen.missed));
            if unit > 0.0 {
                point.gain = WIDEN * point.student * (widest / unit * smooth / own).sqrt();
            }
        }
        ArmSweep { points, observations, curve, rounds: blocks.how.rounds }
    }

    /// Whether both would draw the very same.
    fn draws_like(&self, other: &ArmSweep) -> bool {
        let key = |s: &ArmSweep| s.points.iter().map(|p| (p.block, p.stream)).collect::<Vec<_>>();
        self.rounds == other.rounds && key(self) == key(other)
    }

    /// `known`: the same arm resampled by itself, taken over if the draws are the same.
    pub(super) fn drawn(&self, known: Option<(&ArmSweep, &Rc<Replicates>)>) -> Rc<Replicates> {
        match known {
            Some((sweep, drawn)) if self.draws_like(sweep) => Rc::clone(drawn),
            _ => Rc::new(self.draw()),
        }
    }

    /// The crossing in every resample.
    fn draw(&self) -> Replicates {
        let mut crossings = Replicates::with_capacity(self.rounds as usize);
        let mut seen = self.observations.clone();
        for round in 0..self.rounds {
            for ((point, was), now) in self.points.iter().zip(&self.observations).zip(&mut seen) {
                let mut rng = SplitMix::new(point.stream, round, point.slot);
                let found = point.attempt.resampled(point.block, |n| rng.below(n));
                now.missed = was.missed - point.gain * found.share;
                now.rate = was.rate / (1.0 + point.student * found.time).max(0.1);
            }
            let curve = self.curve.as_ref().map(|curve| curve.refitted(&seen));
            crossings.push(curve.map_or((0.0, f64::INFINITY), |curve| curve.crossing()));
        }
        crossings
    }
}

/// Design effects, each with those of the rates nearby: in ranks of rate, a normal kernel of 1.5; on a log scale.
fn smoothed(points: &[DrawnPoint], effects: &[f64]) -> Vec<f64> {
    let near = |a: &DrawnPoint, b: &DrawnPoint| (-0.5 * ((a.rate as f64 - b.rate as f64) / 1.5).powi(2)).exp();
    let one = |at: &DrawnPoint| {
        let all = points.iter().zip(effects).map(|(p, effect)| (near(at, p), effect.ln()));
        let (weight, sum) = all.fold((0.0, 0.0), |(weight, sum), (w, x)| (weight + w, sum + w * x));
        (sum / weight).exp()
    };
    points.iter().map(one).collect()
}

/// Standard error of the difference of what two arms met of the same requests, as a share: of the request-by-request
/// differences, by blocks.
pub(super) fn paired_error(a: &RateSeries, b: &RateSeries) -> f64 {
    let twin = |a: &Rc<Attempt>| b.attempts.iter().find(|b| b.number == a.number).cloned();
    let each = a.attempts.iter().filter_map(|a| Some((a, twin(a)?)));
    error_of(each.map(|(a, b)| {
        let met = a.each_met().zip(b.each_met());
        (met.map(|(a, b)| f64::from(b) - f64::from(a)).collect(), a.block.max(b.block))
    }))
}

/// Standard error of attainment, as a share: of what was met, by blocks.
pub(super) fn own_error(arm: &RateSeries) -> f64 {
    error_of(arm.attempts.iter().map(|a| (a.each_met().map(f64::from).collect(), a.block)))
}

/// Of the mean over all attempts.
fn error_of(attempts: impl Iterator<Item = (Vec<f64>, usize)>) -> f64 {
    let (mut squares, mut requests) = (0.0, 0.0);
    for (series, block) in attempts {
        let n = series.len() as f64;
        squares += (n * clustered_error(&series, block)).powi(2);
        requests += n;
    }
    squares.sqrt() / f64::max(requests, 1.0)
}

/// The scale at the target of every arm's series at one rate, in every resample.
pub(super) fn scales(arms: &[&RateSeries], target_fraction: f64, how: Resampling) -> Vec<Replicates> {
    let singles: Vec<&[RateSeries]> = arms.iter().map(|r| std::slice::from_ref(*r)).collect();
    let blocks = Blocks::common(&singles, how);
    let one = |(i, series): (usize, &&RateSeries)| {
        let plan = ScalePlan::new(series, if how.paired { 0 } else { i as u64 }, &blocks);
        let sorted = Sorted::new(series);
        let mut found = Replicates::with_capacity(how.rounds as usize);
        let mut counts = vec![0u32; sorted.values.len()];
        for round in 0..how.rounds {
            found.push(plan.scale(round, &sorted, target_fraction, &mut counts));
        }
        found
    };
    arms.iter().enumerate().map(one).collect()
}

/// Block lengths that arms (and rates, if they share their gaps) have in common.
pub(super) struct Blocks {
    by_rate: Vec<(f64, usize)>,
    longest: usize,
    how: Resampling,
}

impl Blocks {
    pub(super) fn common(arms: &[&[RateSeries]], how: Resampling) -> Blocks {
        let mut by_rate: Vec<(f64, usize)> = Vec::new();
        for series in arms.iter().flat_map(|arm| arm.iter()) {
            let block = own_block(series);
            match by_rate.iter_mut().find(|(rate, _)| *rate == series.rate) {
                Some((_, longest)) => *longest = block.max(*longest),
                None => by_rate.push((series.rate, block)),
            }
        }
        let longest = by_rate.iter().map(|(_, block)| *block).max().unwrap_or(1);
        Blocks { by_rate, longest, how }
    }

    fn of(&self, series: &RateSeries) -> usize {
        match self.how {
            Resampling { shared_gaps: true, .. } => self.longest,
            Resampling { paired: false, .. } => own_block(series),
            _ => self.by_rate.iter().find(|(rate, _)| *rate == series.rate).map_or(1, |(_, block)| *block),
        }
    }
}

fn own_block(series: &RateSeries) -> usize {
    series.attempts.iter().map(|a| a.block).max().unwrap_or(1)
}

/// One rate of one arm with everything a round needs to find its scale.
struct ScalePlan<'a> {
    series: &'a RateSeries,
    /// Block and Student's factor of each attempt.
    spreads: Vec<(usize, f64)>,
    requests: usize,
    stream: u64,
}

impl<'a> ScalePlan<'a> {
    fn new(series: &'a RateSeries, stream: u64, blocks: &Blocks) -> Self {
        let block = blocks.of(series);
        let spread = |a: &Rc<Attempt>| {
            let block = block.min((a.len() / 6).max(1));
            (block, a.student(block))
        };
        ScalePlan {
            series,
            spreads: series.attempts.iter().map(spread).collect(),
            requests: series.attempts.iter().map(|a| a.len()).sum(),
            stream: mix(series.rate.to_bits() ^ mix(stream)),
        }
    }

    /// How often each request was drawn, walked from the best up.
    fn scale(&self, round: u32, sorted: &Sorted, target: f64, counts: &mut [u32]) -> (f64, f64) {
        counts.fill(0);
        let attempts = &self.series.attempts;
        let mut drawn = 0;
        for slot in 0..attempts.len() {
            let mut rng = SplitMix::new(self.stream, round, slot);
            let chosen = rng.below(attempts.len());
            let places = &sorted.places[chosen];
            let (n, block) = (places.len(), self.spreads[chosen].0);
            let mut left = n;
            drawn += n;
            while left > 0 {
                let (start, length) = (rng.below(n), block.min(left));
                for i in start..start + length {
                    counts[places[if i < n { i } else { i - n }] as usize] += 1;
                }
                left -= length;
            }
        }
        let student = self.spreads.iter().map(|s| s.1).fold(1.0, f64::max);
        sorted.quantile(counts, student, target * self.requests as f64 - 1e-9, self.requests as f64 / drawn as f64)
    }
}

/// A rate's requests by ascending s*, and where each attempt's requests stand among them.
struct Sorted {
    values: Vec<f64>,
    places: Vec<Vec<u32>>,
}

impl Sorted {
    fn new(series: &RateSeries) -> Sorted {
        let of = |(a, attempt): (usize, &Rc<Attempt>)| {
            attempt.scales.iter().enumerate().map(|(i, s)| (*s, a, i)).collect::<Vec<_>>()
        };
        let mut all: Vec<(f64, usize, usize)> = series.attempts.iter().enumerate().flat_map(of).collect();
        all.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then((x.1, x.2).cmp(&(y.1, y.2))));
        let mut places: Vec<Vec<u32>> = series.attempts.iter().map(|a| vec![0; a.len()]).collect();
        for (place, &(_, attempt, i)) in all.iter().enumerate() {
            places[attempt][i] = place as u32;
        }
        Sorted { values: all.into_iter().map(|x| x.0).collect(), places }
    }

    /// First s* by which `wanted` requests are met, each draw counting for `weight` requests and deviations from the
    /// data widened by `student`. An infinite one is known only to lie above every scale seen.
    fn quantile(&self, counts: &[u32], student: f64, wanted: f64, weight: f64) -> (f64, f64) {
        let mut drawn = 0u64;
        for (place, count) in counts.iter().enumerate() {
            drawn += u64::from(*count);
            let seen = (place + 1) as f64;
            if seen + student * (drawn as f64 * weight - seen) >= wanted {
                let value = self.values[place].max(0.0);
                if value.is_finite() {
                    return (value, value);
                }
                break;
            }
        }
        let largest = self.values.iter().rfind(|v| v.is_finite()).copied().unwrap_or(0.0);
        (largest, f64::INFINITY)
    }
}
