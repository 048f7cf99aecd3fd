//! A quantity in every resample, and the interval that follows.

use super::interval::Interval;

/// A quantity in every resample, as bounds: equal where it is a number.
#[derive(Debug, Clone)]
pub(super) struct Replicates {
    lo: Vec<f64>,
    hi: Vec<f64>,
}

impl Replicates {
    pub(super) fn with_capacity(n: usize) -> Self {
        Replicates { lo: Vec::with_capacity(n), hi: Vec::with_capacity(n) }
    }

    pub(super) fn push(&mut self, (lo, hi): (f64, f64)) {
        self.lo.push(lo);
        self.hi.push(hi);
    }

    /// Resample by resample, self / base.
    pub(super) fn over(&self, base: &Replicates) -> Replicates {
        let divide = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect();
        Replicates { lo: divide(&self.lo, &base.hi), hi: divide(&self.hi, &base.lo) }
    }

    /// The percentile interval, widened to the value where resampling an irregular curve missed it.
    pub(super) fn interval(&self, value: Option<f64>) -> Interval {
        let n = self.lo.len();
        if n == 0 {
            return Interval { lo: None, hi: None };
        }
        let tail = (0.025 * n as f64) as usize;
        let nth = |column: &[f64], i: usize| {
            let mut column = column.to_vec();
            *column.select_nth_unstable_by(i, f64::total_cmp).1
        };
        let (lo, hi) = (nth(&self.lo, tail), nth(&self.hi, n - 1 - tail));
        value.map_or(Interval::of_positive(lo, hi), |v| Interval::of_positive(lo.min(v), hi.max(v)))
    }

    /// Two-sided p-value of "it is 1": twice the share of resamples on the rarer side, half a resample at least.
    pub(super) fn p_of_one(&self) -> f64 {
        let below = self.lo.iter().filter(|x| **x <= 1.0 || x.is_nan()).count();
        let above = self.hi.iter().filter(|x| **x >= 1.0 || x.is_nan()).count();
        let rarer = (below.min(above) as f64).max(0.5);
        (2.0 * rarer / self.lo.len().max(1) as f64).min(1.0)
    }
}
