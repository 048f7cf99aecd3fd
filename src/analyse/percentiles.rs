//! Percentiles as `vllm bench serve` prints them: type 7 quantiles (numpy's default), standard deviation over n.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
