//! One arm over another: how many times the rate, how many times the tighter SLO.

use super::claim::{Claim, ClaimKind, CommonRate};
use super::evidence::PairEvidence;
use super::fitted::Fitted;
use super::input::Censored;
use super::interval::Interval;
use super::power::{Advice, Precision};
use super::reports::ArmReport;
use serde::Serialize;

/// A ratio with its interval. Without a value, `censored` says on which side of the interval's finite end it lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    pub value: Option<f64>,
    pub ci95: Interval,
    pub censored: Option<Censored>,
}

impl Ratio {
    /// Whether the interval excludes 1: a difference may be claimed.
    pub fn claims(&self) -> bool {
        !self.ci95.contains(1.0)
    }

    fn scaled(self, factor: Option<f64>) -> Ratio {
        let nothing = Ratio { value: None, ci95: Interval { lo: None, hi: None }, censored: None };
        factor.map_or(nothing, |f| Ratio { value: self.value.map(|v| v * f), ci95: self.ci95.scaled(f), ..self })
    }
}

/// Arm `b` over arm `a`, by their positions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatioReport {
    pub a: usize,
    pub b: usize,
    /// Crossing rate of b / crossing rate of a.
    pub max_rate: Ratio,
    /// The same for requests per GPU; all null where GPUs are unknown or none.
    pub max_rate_per_gpu: Ratio,
    /// Crossing scale of a / crossing scale of b: above 1, b keeps tighter limits.
    pub scale: Ratio,
    /// The ratio of the fitted crossings.
    pub fitted: Fitted,
    /// Ascending in rate.
    pub at_common_rates: Vec<CommonRate>,
    pub claim: Claim,
    /// How well the ratio of the fitted crossings is known; `None` where its interval is open.
    #[serde(skip)]
    pub precision: Option<Precision>,
}

impl RatioReport {
    /// What it would take to tell the arms apart, by the fitted crossings, for `max_rate` or for what it is per GPU.
    pub fn advice(&self, ratio: &Ratio) -> Option<Advice> {
        let per_unit = ratio.value? / self.max_rate.value?;
        Some(self.precision?.advice(self.fitted.value? * per_unit))
    }
}

impl RatioReport {
    pub(super) fn new(a: usize, b: usize, arms: &[ArmReport], known: &PairEvidence) -> RatioReport {
        let (base, other) = (&arms[a], &arms[b]);
        let value = other.max_rate.value.zip(base.max_rate.value).map(|(b, a)| b / a);
        let max_rate = Ratio {
            value,
            ci95: known.fitted.ci95.holding(value),
            censored: censored(other.max_rate.censored, base.max_rate.censored),
        };
        let at_common_rates = known.rates.clone();
        let gpus = |arm: &ArmReport| arm.gpus.filter(|n| *n > 0).map(f64::from);
        let scale = base.scale.value.zip(other.scale.value).filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b);
        RatioReport {
            a,
            b,
            max_rate,
            max_rate_per_gpu: max_rate.scaled(gpus(base).zip(gpus(other)).map(|(a, b)| a / b)),
            scale: Ratio {
                value: scale,
                ci95: known.scale.holding(scale),
                censored: censored(base.scale.censored, other.scale.censored),
            },
            fitted: known.fitted,
            claim: claim(a, b, known.crossing_claimed && max_rate.claims(), &max_rate, &at_common_rates),
            at_common_rates,
            precision: known.precision,
        }
    }
}

/// The crossing's claim before that of single rates.
fn claim(a: usize, b: usize, crossing: bool, max_rate: &Ratio, rates: &[CommonRate]) -> Claim {
    let told = |kind, b_is_better| Claim { kind, text: String::new(), better: Some(if b_is_better { b } else { a }) };
    if crossing {
        return told(ClaimKind::Crossing, max_rate.ci95.lo.is_some_and(|lo| lo > 1.0));
    }
    // Arms that are better with different numbers in flight have no winner, nor have those that answer more and meet fewer.
    let by_goodput = rates.iter().filter_map(|r| r.goodput.as_ref().filter(|g| g.claimed)?.value.map(|v| v > 1.0));
    let by_goodput: Vec<bool> = by_goodput.collect();
    if let Some(first) = by_goodput.first() {
        let met = rates.iter().filter(|r| r.claimed).map(|r| r.difference > 0.0);
        return match by_goodput.iter().copied().chain(met).all(|sign| sign == *first) {
            true => told(ClaimKind::GoodputAtCommonLevels, *first),
            false => Claim { kind: ClaimKind::None, text: String::new(), better: None },
        };
    }
    let mut signs = rates.iter().filter(|r| r.claimed).map(|r| r.difference > 0.0);
    match signs.next() {
        // Arms that win at different rates have no winner.
        Some(first) if signs.all(|sign| sign == first) => told(ClaimKind::AttainmentAtCommonRates, first),
        _ => Claim { kind: ClaimKind::None, text: String::new(), better: None },
    }
}

/// On which side numerator / denominator lies when either is known only by its side; `None` where that doesn't say it (both
/// above, both below).
fn censored(numerator: Option<Censored>, denominator: Option<Censored>) -> Option<Censored> {
    let inverse = |c| match c {
        Censored::AboveTested => Censored::BelowTested,
        Censored::BelowTested => Censored::AboveTested,
    };
    match (numerator, denominator.map(inverse)) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => a.or(b),
    }
}
