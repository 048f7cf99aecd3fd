//! Whether a point keeps thresholds, and the largest load of an arm that does.
//!
//! A request that was not served keeps no threshold: it counts as infinitely late.

use super::input::PointInput;
use super::percentiles::quantile;
use super::samples::Samples;
use super::scale::{ScaledLimits, per_request};
use crate::plan::slo::{Slo, Target};
use crate::plan::slo_words::Metric;
use crate::plan::threshold::{Statistic, ThresholdPlan};
use crate::units::{E2el, RequestRate, Tpot, Ttft};

/// How far an arm's loads keep the thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeptLoads {
    /// The largest load below every one that misses.
    pub largest: Option<RequestRate>,
    /// The smallest load that misses.
    pub missed: Option<RequestRate>,
}

impl KeptLoads {
    /// Repeats of a load keep the thresholds if each does.
    pub fn of(points: &[PointInput], goal: &ThresholdPlan, target: Target) -> KeptLoads {
        let misses = points.iter().filter(|p| !keeps(&p.samples, goal, target)).map(|p| p.rate);
        let missed = misses.min_by(RequestRate::total_cmp);
        let below = |rate: &RequestRate| missed.is_none_or(|missed| rate.total_cmp(&missed).is_lt());
        KeptLoads { largest: points.iter().map(|p| p.rate).filter(below).max_by(RequestRate::total_cmp), missed }
    }
}

/// Whether a point keeps every threshold.
pub fn keeps(samples: &Samples, goal: &ThresholdPlan, target: Target) -> bool {
    if samples.is_empty() {
        return false;
    }
    if goal.by == Statistic::Attainment {
        let met = per_request(samples, &limits(goal), ScaledLimits::Both).iter().filter(|scale| **scale <= 1.0).count();
        return met as f64 >= target.percent().as_fraction() * samples.len() as f64;
    }
    goal.limits.iter().all(|limit| {
        let column = match limit.metric {
            Metric::Ttft => &samples.ttft,
            Metric::Tpot => &samples.tpot,
            Metric::E2el => &samples.e2el,
        };
        // A single token has no TPOT.
        let values: Vec<f64> = column.iter().copied().filter(|v| *v != f64::NEG_INFINITY).collect();
        values.is_empty() || statistic(values, goal.by) * 1e3 <= limit.millis
    })
}

fn statistic(mut values: Vec<f64>, by: Statistic) -> f64 {
    match by {
        Statistic::Percentile(p) if values.iter().all(|v| v.is_finite()) => {
            values.sort_unstable_by(f64::total_cmp);
            quantile(&values, p / 100.0).unwrap_or(f64::INFINITY)
        }
        // Infinities can't be interpolated: the value at or above the rank.
        Statistic::Percentile(p) => {
            values.sort_unstable_by(f64::total_cmp);
            let rank = (p / 100.0 * (values.len() - 1) as f64).ceil() as usize;
            values[rank.min(values.len() - 1)]
        }
        Statistic::Mean | Statistic::Attainment => values.iter().sum::<f64>() / values.len() as f64,
    }
}

/// As limits of each request; a metric without a threshold is free.
fn limits(goal: &ThresholdPlan) -> Slo {
    let of = |metric: Metric| goal.limits.iter().rfind(|limit| limit.metric == metric).map(|limit| limit.millis);
    let free = f64::MAX / 1e6;
    Slo {
        ttft: Ttft::from_millis(of(Metric::Ttft).unwrap_or(free)),
        tpot: Tpot::from_millis(of(Metric::Tpot).unwrap_or(free)),
        e2el: of(Metric::E2el).map(E2el::from_millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Failure, Outcome, RequestRecord, Timeline};
    use crate::units::{Offset, TokenCount};
    use std::num::NonZeroU32;
    use std::sync::Arc;

    /// Requests of these TTFTs in ms and a TPOT of 10 ms; `None`: it failed.
    fn samples(ttfts: &[Option<f64>]) -> Samples {
        let record = |(index, ttft): (usize, &Option<f64>)| {
            let at = |ms: f64| Offset::from_secs(ms / 1e3);
            let timeline = Timeline {
                sent: Some(Offset::ZERO),
                first_token: ttft.map(at),
                last_token: ttft.map(|ms| at(ms + 90.0)),
                end: at(ttft.unwrap_or(1.0) + 90.0),
                output_tokens: Some(TokenCount(10)),
                ..Timeline::default()
            };
            let failed = Outcome::Failed(Failure::Connect { detail: String::new() });
            RequestRecord {
                index: index as u32,
                id: String::new(),
                prompt_tokens: TokenCount(8),
                max_tokens: TokenCount(10),
                timeline,
                outcome: if ttft.is_some() { Outcome::Completed } else { failed },
                stages: None,
                turn: None,
                text: None,
            }
        };
        Samples::from_records(&ttfts.iter().enumerate().map(record).collect::<Vec<_>>(), None)
    }

    fn goal(words: &str, by: &str) -> ThresholdPlan {
        ThresholdPlan::parse(&[words.to_string()], by).expect("thresholds")
    }

    fn kept(ttfts: &[Option<f64>], words: &str, by: &str) -> bool {
        keeps(&samples(ttfts), &goal(words, by), Target::default())
    }

    #[test]
    fn each_statistic_judges_in_its_own_way() {
        let ttfts: Vec<Option<f64>> = (1..=10).map(|n| Some(f64::from(n) * 10.0)).collect();
        assert!(kept(&ttfts, "ttft:56", "mean") && !kept(&ttfts, "ttft:54", "mean"));
        assert!(kept(&ttfts, "ttft:92", "p90") && !kept(&ttfts, "ttft:90", "p90"));
        assert!(kept(&ttfts, "ttft:90", "attainment") && !kept(&ttfts, "ttft:89", "attainment"));
        assert!(kept(&ttfts, "tpot:10.1", "mean") && !kept(&ttfts, "ttft:1000 tpot:9", "mean"));
    }

    #[test]
    fn a_request_that_failed_keeps_nothing() {
        let ttfts = [Some(1.0), Some(1.0), None];
        assert!(!kept(&ttfts, "ttft:1000", "mean") && !kept(&ttfts, "ttft:1000", "p99"));
        assert!(kept(&ttfts, "ttft:1000", "p50"));
        assert!(!kept(&[], "ttft:1000", "mean"), "nothing was measured");
    }

    #[test]
    fn the_largest_load_lies_below_the_first_that_misses() {
        let point = |level: u32, ttft: f64| PointInput {
            rate: RequestRate::closed(NonZeroU32::new(level).expect("a level")),
            attempt: 1,
            launch: 1,
            host: None,
            facts: None,
            duration_secs: None,
            samples: Arc::new(samples(&[Some(ttft)])),
        };
        let goal = goal("ttft:100", "mean");
        let found = |points: &[PointInput]| {
            let kept = KeptLoads::of(points, &goal, Target::default());
            (kept.largest.and_then(RequestRate::in_flight), kept.missed.and_then(RequestRate::in_flight))
        };
        assert_eq!(found(&[point(1, 10.0), point(5, 50.0), point(10, 150.0)]), (Some(5), Some(10)));
        assert_eq!(found(&[point(1, 10.0), point(5, 150.0), point(10, 50.0)]), (Some(1), Some(5)));
        assert_eq!(found(&[point(1, 10.0)]), (Some(1), None));
        assert_eq!(found(&[point(1, 110.0)]), (None, Some(1)));
    }
}
