//! What the resamples of all arms say: intervals of each arm, of each pair, and which differences may be claimed.

use super::arm::Judged;
use super::claim::CommonRate;
use super::confidence::{ArmSweep, Blocks, Bound, RateSeries, Resampling, scales};
use super::curve::Curve;
use super::fitted::Fitted;
use super::goodput::GoodputRatio;
use super::holm::{Hypothesis, RISK, holm};
use super::input::Question;
use super::interval::{Interval, Z95};
use super::launches::{LaunchSpread, Reach};
use super::levels::{ClosedLoops, difference, in_common};
use super::normal::{p_of, z_of};
use super::power::Precision;
use super::replicates::Replicates;
use crate::units::RequestRate;
use std::rc::Rc;

/// All that is known of how sure the numbers are.
pub(super) struct Evidence {
    pub(super) arms: Vec<ArmEvidence>,
    /// Of every later arm against the first.
    pub(super) pairs: Vec<PairEvidence>,
}

/// An arm's own intervals.
pub(super) struct ArmEvidence {
    pub(super) fitted: Fitted,
    pub(super) scale: Interval,
    /// By finite rate: the standard error that launches add to the share that meets the limits.
    pub(super) between_launches: Vec<f64>,
}

/// The second arm of a pair against the first.
pub(super) struct PairEvidence {
    pub(super) fitted: Fitted,
    pub(super) scale: Interval,
    pub(super) rates: Vec<CommonRate>,
    /// Whether the crossings may be said to differ beside all else that could be claimed.
    pub(super) crossing_claimed: bool,
    /// Standard errors that separate the crossings.
    pub(super) separation: f64,
    /// `None` where an end is open.
    pub(super) precision: Option<Precision>,
}

const NOTHING: Interval = Interval { lo: None, hi: None };

/// One arm as it is resampled by itself.
struct Own<'a> {
    closed: ClosedLoops<'a>,
    series: Vec<RateSeries>,
    bounds: Vec<Bound>,
    at_scale: Option<RateSeries>,
    sweep: ArmSweep,
    drawn: Rc<Replicates>,
    crossing: Option<f64>,
    launches: u32,
}

/// Which arms draw alike.
pub(super) struct Pairing {
    pub(super) rounds: u32,
    /// By arm: every rate replays the same gaps.
    pub(super) shared_gaps: Vec<bool>,
    /// By arm: it answered the first arm's trace.
    pub(super) with_first: Vec<bool>,
}

impl Pairing {
    fn own(&self, arm: usize) -> Resampling {
        Resampling { rounds: self.rounds, paired: true, shared_gaps: self.shared_gaps[arm] }
    }

    fn pair(&self, b: usize) -> Resampling {
        let shared_gaps = self.shared_gaps[0] && self.shared_gaps[b];
        Resampling { rounds: self.rounds, paired: self.with_first[b], shared_gaps }
    }
}

impl Evidence {
    pub(super) fn gather(
        arms: &[Judged],
        question: &Question,
        scale_rate: Option<RequestRate>,
        pairing: &Pairing,
        reach: Reach,
    ) -> Evidence {
        let own: Vec<Own> =
            arms.iter().enumerate().map(|(i, arm)| Own::new(arm, i, (question, scale_rate), pairing, reach)).collect();
        let parts: Vec<Vec<f64>> = arms.iter().map(|arm| crossings_by_launch(arm, question, reach)).collect();
        let within: Vec<Option<f64>> = own.iter().map(|arm| log_error(&arm.interval())).collect();
        let spread = reach.is_wider().then(|| LaunchSpread::pooled(&parts, &within));
        let scale_value = |arm: &Judged| arm.scale_at(scale_rate?, question);
        let reports = own.iter().zip(arms).enumerate().map(|(i, (own, arm))| {
            let wide = spread.map_or(0.0, |s| s.half_width(&[own.launches]));
            let scale = own.at_scale.as_ref().and_then(|s| scales(&[s], fraction(question), pairing.own(i)).pop());
            ArmEvidence {
                fitted: Fitted { value: own.crossing, ci95: own.interval().stretched(own.crossing, wide) },
                scale: scale.map_or(NOTHING, |s| s.interval(scale_value(arm))),
                between_launches: own.series.iter().map(|r| own.between_launches(r.rate, spread)).collect(),
            }
        });
        let mut pairs: Vec<PairEvidence> = (1..own.len())
            .map(|b| {
                let values = scale_value(&arms[0]).zip(scale_value(&arms[b]).filter(|s| *s > 0.0));
                let share = ON_CROSSINGS / (own.len() - 1) as f64;
                Pair { a: &own[0], b: &own[b], how: pairing.pair(b), stream: b as u64, spread, share }
                    .judged(question, values.map(|(a, b)| a / b))
            })
            .collect();
        claim(&mut pairs);
        Evidence { arms: reports.collect(), pairs }
    }
}

/// Part of the risk of a false claim that is spent on crossings, and on goodput in closed loops, which have none; the rest
/// on common rates.
const ON_CROSSINGS: f64 = 0.7;

/// Settles what may be claimed beside everything else that could be.
fn claim(pairs: &mut [PairEvidence]) {
    let rates: usize = pairs.iter().map(|pair| pair.rates.len()).sum();
    let crossing = ON_CROSSINGS / pairs.len().max(1) as f64;
    let rate = (1.0 - ON_CROSSINGS) / rates.max(1) as f64;
    let mut open = Vec::new();
    for pair in &mut *pairs {
        let levels = pair.rates.iter().filter(|r| r.goodput.is_some()).count();
        let has_rates = levels < pair.rates.len();
        let parts = levels + usize::from(has_rates || levels == 0);
        let part = crossing / parts as f64;
        if parts > levels {
            open.push(Hypothesis { p: p_of(pair.separation), weight: part, claimed: &mut pair.crossing_claimed });
        }
        for r in &mut pair.rates {
            open.extend(r.goodput.as_mut().map(|goodput| goodput.hypothesis(part)));
            open.push(Hypothesis { p: r.p, weight: rate, claimed: &mut r.claimed });
        }
    }
    holm(open);
    pairs.iter_mut().for_each(keep_repeated);
}

/// A point near the most that an arm can carry may be good or bad as a whole, without a sign of it in its requests. So
/// what is claimed of a single rate stands only if the crossings say the same, or another rate does.
fn keep_repeated(pair: &mut PairEvidence) {
    let sides = [1.0, -1.0];
    let [ahead, behind] =
        sides.map(|side| pair.rates.iter().filter(|r| r.claimed && r.difference * side > 0.0).count());
    let crossing = pair.fitted.ci95.lo.is_some_and(|lo| lo > 1.0);
    for rate in &mut pair.rates {
        let b_is_better = rate.difference > 0.0;
        let by_goodput = |g: &GoodputRatio| g.claimed && g.value.is_some_and(|v| (v > 1.0) == b_is_better);
        let again = if b_is_better { ahead } else { behind } > 1;
        rate.claimed &= again
            || rate.goodput.as_ref().is_some_and(by_goodput)
            || (pair.crossing_claimed && crossing == b_is_better);
    }
}

fn fraction(question: &Question) -> f64 {
    question.target.percent().as_fraction()
}

impl<'a> Own<'a> {
    fn new(
        arm: &Judged<'a>,
        i: usize,
        (question, scale_rate): (&Question, Option<RequestRate>),
        pairing: &Pairing,
        reach: Reach,
    ) -> Own<'a> {
        let series = arm.series(|rate| !rate.is_infinite());
        let bounds = arm.bounds();
        let blocks = Blocks::common(&[&series], pairing.own(i));
        let sweep = ArmSweep::new((&series, &bounds), &blocks, 0, question.target);
        let drawn = sweep.drawn(None);
        let at_scale = arm.series(|rate| Some(rate) == scale_rate).pop();
        Own {
            closed: arm.closed_loops(),
            at_scale,
            crossing: sweep.curve.as_ref().and_then(within_rates),
            launches: arm.launches(reach),
            series,
            bounds,
            sweep,
            drawn,
        }
    }

    /// Standard error of a share that launches add at a rate: how far the curve moves there.
    fn between_launches(&self, rate: f64, spread: Option<LaunchSpread>) -> f64 {
        let slope = self.sweep.curve.as_ref().map_or(0.0, |curve| curve.steepness(rate));
        spread.map_or(0.0, |spread| slope * spread.half_width(&[self.launches]) / Z95)
    }

    /// Without what another launch would change. A lucky arm looks calm as well as good, so its lower end needs more
    /// room than resampling gives it: half of what mirroring the upper end would give.
    fn interval(&self) -> Interval {
        let found = self.drawn.interval(self.crossing);
        match (self.crossing, found.lo, found.hi) {
            (Some(value), Some(lo), Some(hi)) => Interval::closed(lo.min((lo * value * value / hi).sqrt()), hi),
            _ => found,
        }
    }
}

/// Where the curve crosses, if it does so within the rates tested.
fn within_rates(curve: &Curve) -> Option<f64> {
    let (lo, hi) = curve.crossing();
    (lo == hi).then_some(lo)
}

/// Standard error of a logarithm, from its interval.
fn log_error(interval: &Interval) -> Option<f64> {
    Some((interval.hi? / interval.lo?).ln() / (2.0 * Z95))
}

/// Logarithms of the crossings that each launch would have by itself, where it has one.
fn crossings_by_launch(arm: &Judged, question: &Question, reach: Reach) -> Vec<f64> {
    let how = Resampling { rounds: 0, paired: true, shared_gaps: false };
    let of = |series: Vec<RateSeries>| {
        let sweep = ArmSweep::new((&series, &[]), &Blocks::common(&[&series], how), 0, question.target);
        sweep.curve.as_ref().and_then(within_rates).map(f64::ln)
    };
    if reach.is_wider() { arm.series_by_launch(reach).into_iter().filter_map(of).collect() } else { Vec::new() }
}

struct Pair<'a> {
    a: &'a Own<'a>,
    b: &'a Own<'a>,
    how: Resampling,
    /// Where b's random numbers come from if it doesn't draw as a does.
    stream: u64,
    spread: Option<LaunchSpread>,
    /// Of the risk of a false claim.
    share: f64,
}

impl Pair<'_> {
    fn judged(&self, question: &Question, scale_value: Option<f64>) -> PairEvidence {
        let blocks = Blocks::common(&[&self.a.series, &self.b.series], self.how);
        let stream = if self.how.paired { 0 } else { self.stream };
        let resampled = |own: &Own<'_>, stream| {
            let sweep = ArmSweep::new((&own.series, &own.bounds), &blocks, stream, question.target);
            sweep.drawn(Some((&own.sweep, &own.drawn)))
        };
        let (a, b) = (resampled(self.a, 0), resampled(self.b, stream));
        let ratio = b.over(&a);
        let value = self.b.crossing.zip(self.a.crossing).map(|(b, a)| b / a);
        let (fitted, separation, precision) = self.ratio(&ratio, value);
        PairEvidence {
            fitted,
            precision,
            scale: self.scale(question, scale_value),
            rates: self.rates(question),
            crossing_claimed: false,
            separation,
        }
    }

    fn ratio(&self, drawn: &Replicates, value: Option<f64>) -> (Fitted, f64, Option<Precision>) {
        let narrow = drawn.interval(value);
        let wide = self.spread.map_or(0.0, |s| s.half_width(&[self.a.launches, self.b.launches]));
        let ci95 = narrow.stretched(value, wide);
        // The side that faces 1 shrinks the distance as much as it grows itself.
        let facing = |i: &Interval| if value.is_none_or(|v| v >= 1.0) { i.lo } else { i.hi };
        let reach = |i: &Interval| Some((value? / facing(i)?).ln().abs());
        let share = reach(&narrow).zip(reach(&ci95)).filter(|(_, wide)| *wide > 0.0).map_or(1.0, |(n, w)| n / w);
        let precision = reach(&narrow).map(|half| Precision::new(half / Z95, wide / Z95, self.share * RISK));
        (Fitted { value, ci95 }, z_of(drawn.p_of_one()) * share, precision)
    }

    /// Scale of a over scale of b: above 1, b keeps tighter limits.
    fn scale(&self, question: &Question, value: Option<f64>) -> Interval {
        let (Some(a), Some(b)) = (&self.a.at_scale, &self.b.at_scale) else { return NOTHING };
        match scales(&[a, b], fraction(question), self.how).as_slice() {
            [a, b] => a.over(b).interval(value),
            _ => NOTHING,
        }
    }

    /// Attainment of b less that of a wherever both have points.
    fn rates(&self, question: &Question) -> Vec<CommonRate> {
        let twin = |rate: f64| self.b.series.iter().find(|s| s.rate == rate);
        let common = self.a.series.iter().filter_map(|a| Some((a, twin(a.rate)?)));
        let levels = in_common(&self.a.closed, &self.b.closed, self.how.paired, &question.slo);
        common.filter_map(|(a, b)| self.rate(a, b)).chain(levels).collect()
    }

    fn rate(&self, a: &RateSeries, b: &RateSeries) -> Option<CommonRate> {
        let (difference, within) = difference(a, b, self.how.paired);
        let launches = |own: &Own<'_>| 100.0 * own.between_launches(a.rate, self.spread);
        let error = within.hypot(launches(self.a)).hypot(launches(self.b));
        Some(CommonRate::new(RequestRate::new(a.rate)?, difference, error))
    }
}
