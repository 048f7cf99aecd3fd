//! The latencies of a point's served requests, from due and from sent.

use super::gaps::Gaps;
use super::percentiles::Distribution;
use super::samples::Samples;

/// Latencies of a point's served requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    /// From due: what a user waits.
    pub ttft: Option<Distribution>,
    /// From sent: what vLLM calls TTFT.
    pub ttft_from_sent: Option<Distribution>,
    /// Of requests with at least two tokens.
    pub tpot: Option<Distribution>,
    pub itl: Option<Distribution>,
    /// False: the server didn't say how many tokens a chunk holds, so `itl` is chunk latency and must be called so.
    pub itl_per_token: bool,
    /// From due.
    pub e2el: Option<Distribution>,
    /// From sent: what vLLM calls E2EL.
    pub e2el_from_sent: Option<Distribution>,
}

impl Latencies {
    /// `percentiles` in 0..=100, e.g. 50, 90, 99.
    pub fn of(samples: &Samples, percentiles: &[f64]) -> Latencies {
        Latencies::pooled(&[samples], percentiles)
    }

    /// Of repeats together.
    pub fn pooled(repeats: &[&Samples], percentiles: &[f64]) -> Latencies {
        let column = |pick: fn(&Samples) -> &Vec<f64>| {
            Distribution::of(repeats.iter().flat_map(|s| pick(s).iter().copied()), percentiles)
        };
        let mut gaps = Gaps::default();
        repeats.iter().for_each(|s| gaps.absorb(&s.itl));
        Latencies {
            ttft: column(|s| &s.ttft),
            ttft_from_sent: Distribution::of(repeats.iter().flat_map(|s| s.ttft_from_sent()), percentiles),
            tpot: column(|s| &s.tpot),
            itl: gaps.distribution(percentiles),
            itl_per_token: repeats.iter().all(|s| s.itl_per_token),
            e2el: column(|s| &s.e2el),
            e2el_from_sent: Distribution::of(repeats.iter().flat_map(|s| s.e2el_from_sent()), percentiles),
        }
    }
}

/// Median TTFT from due, in seconds.
pub(super) fn median_ttft(samples: &[&Samples]) -> Option<f64> {
    let all = samples.iter().flat_map(|s| s.ttft.iter().copied());
    let mut served: Vec<f64> = all.filter(|t| t.is_finite()).collect();
    let middle = served.len().checked_sub(1)? / 2;
    let (_, low, above) = served.select_nth_unstable_by(middle, f64::total_cmp);
    let (low, even) = (*low, above.len() > middle);
    let high = above.iter().copied().min_by(f64::total_cmp).filter(|_| even).unwrap_or(low);
    Some(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_quick_median_is_the_median(values in prop::collection::vec(0.001f64..10.0, 1..60)) {
            let samples = Samples { ttft: values.clone(), ..Samples::default() };
            let slow = Distribution::of(values, &[]).expect("values").median;
            prop_assert!((median_ttft(&[&samples]).expect("values") - slow).abs() < 1e-12);
        }
    }
}
