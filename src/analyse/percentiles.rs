//! Percentiles as `vllm bench serve` prints them: type 7 quantiles (numpy's default), standard deviation over n.

use super::gaps::Gaps;
use super::samples::Samples;

/// Type 7 quantile of values in ascending order, `q` in 0..=1; `None` without values.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = sorted[at as usize];
    let above = sorted[(at as usize + 1).min(last)];
    // numpy's own interpolation, so that the last digit agrees too.
    let (gap, t) = (above - below, at.fract());
    Some(if t < 0.5 { below + gap * t } else { above - gap * (1.0 - t) })
}

/// What is told of one kind of latency, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    pub count: usize,
    pub mean: f64,
    pub median: f64,
    pub std: f64,
    /// (percentile 0..=100, value), as asked for.
    pub percentiles: Vec<(f64, f64)>,
}

impl Distribution {
    /// Of the finite values; `None` if there are none: a latency nobody had is no zero.
    pub fn of(values: impl IntoIterator<Item = f64>, percentiles: &[f64]) -> Option<Distribution> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|x| x.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / n;
        let variance = sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        Some(Distribution {
            count: sorted.len(),
            mean,
            median: quantile(&sorted, 0.5)?,
            std: variance.sqrt(),
            percentiles: percentiles.iter().filter_map(|p| Some((*p, quantile(&sorted, p / 100.0)?))).collect(),
        })
    }
}

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

    #[test]
    fn quantiles_are_numpys() {
        // numpy.percentile([1, 2, 4, 8], [0, 25, 50, 90, 100])
        let got: Vec<f64> =
            [0.0, 0.25, 0.5, 0.9, 1.0].iter().filter_map(|q| quantile(&[1.0, 2.0, 4.0, 8.0], *q)).collect();
        for (got, numpy) in got.iter().zip([1.0, 1.75, 3.0, 6.8, 8.0]) {
            assert!((got - numpy).abs() < 1e-12);
        }
        assert_eq!(got.len(), 5);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn failures_leave_no_zero_behind() {
        assert_eq!(Distribution::of([f64::INFINITY, f64::NEG_INFINITY], &[50.0]), None);
        let one = Distribution::of([0.25, f64::INFINITY], &[99.0]).expect("one value");
        assert_eq!((one.count, one.mean, one.std), (1, 0.25, 0.0));
        assert_eq!(one.percentiles, [(99.0, 0.25)]);
    }

    proptest! {
        #[test]
        fn the_quick_median_is_the_median(values in prop::collection::vec(0.001f64..10.0, 1..60)) {
            let samples = Samples { ttft: values.clone(), ..Samples::default() };
            let slow = Distribution::of(values, &[]).expect("values").median;
            prop_assert!((median_ttft(&[&samples]).expect("values") - slow).abs() < 1e-12);
        }
    }
}
