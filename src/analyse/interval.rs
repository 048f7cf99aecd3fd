//! Intervals of 95 % confidence, and the few distribution functions they need.

use serde::{Serialize, Serializer, ser::SerializeTuple};

/// Two-sided 95 % point of the normal distribution.
pub const Z95: f64 = 1.959_963_984_540_054;

/// A 95 % confidence interval; an end is `None` where the data puts no bound on that side.
/// Serialises as `[lo, hi]`, missing ends as null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub lo: Option<f64>,
    pub hi: Option<f64>,
}

impl Interval {
    /// Ends at zero or below, infinite or NaN say nothing and become `None`: for positive quantities such as
    /// rates, scales and ratios.
    pub(super) fn of_positive(lo: f64, hi: f64) -> Self {
        Interval { lo: (lo > 0.0 && lo.is_finite()).then_some(lo), hi: (hi > 0.0 && hi.is_finite()).then_some(hi) }
    }

    pub(super) fn closed(lo: f64, hi: f64) -> Self {
        Interval { lo: Some(lo), hi: Some(hi) }
    }

    /// Whether `x` is compatible with the interval; a missing end excludes nothing.
    pub fn contains(&self, x: f64) -> bool {
        self.lo.is_none_or(|lo| lo <= x) && self.hi.is_none_or(|hi| x <= hi)
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Interval { lo: self.lo.map(|x| x * factor), hi: self.hi.map(|x| x * factor) }
    }

    /// Widened by an independent error of a logarithm; `half` is half of its own interval. Around the value, or outwards
    /// where there is none.
    pub(super) fn stretched(self, value: Option<f64>, half: f64) -> Self {
        if half <= 0.0 {
            return self;
        }
        let end = |end: f64, sign: f64| match value {
            Some(value) => value * (sign * (end / value).ln().hypot(half)).exp(),
            None => end * (sign * half).exp(),
        };
        Interval { lo: self.lo.map(|lo| end(lo, -1.0)), hi: self.hi.map(|hi| end(hi, 1.0)) }
    }

    /// Widened to hold a value.
    pub(super) fn holding(self, value: Option<f64>) -> Self {
        let Some(value) = value else { return self };
        Interval { lo: self.lo.map(|lo| lo.min(value)), hi: self.hi.map(|hi| hi.max(value)) }
    }

    /// The interval of `1/x`.
    pub(super) fn reciprocal(self) -> Self {
        Interval { lo: self.hi.map(f64::recip), hi: self.lo.map(f64::recip) }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut pair = s.serialize_tuple(2)?;
        pair.serialize_element(&self.lo)?;
        pair.serialize_element(&self.hi)?;
        pair.end()
    }
}

/// Wilson's score interval of a proportion, in percent; `trials` may be fractional (an effective sample size).
///
/// Holds for independent trials. E. B. Wilson, JASA 22 (1927).
pub fn wilson(share: f64, trials: f64) -> Interval {
    let z2 = Z95 * Z95 / trials;
    let centre = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z95 / (1.0 + z2) * (share * (1.0 - share) / trials + z2 / (4.0 * trials)).sqrt();
    // Rounding must not push the interval off the share it belongs to (all met, none met).
    let (lo, hi) = ((centre - half).clamp(0.0, share), (centre + half).clamp(share, 1.0));
    Interval::closed(100.0 * lo, 100.0 * hi)
}

/// Two-sided 95 % point of Student's t: the Cornish-Fisher expansion, good to 1 % from two degrees of freedom up
/// (Abramowitz and Stegun 26.7.5).
pub(super) fn student95(freedom: f64) -> f64 {
    let (z, n) = (Z95, freedom.max(2.0));
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + g1 / n + g2 / (n * n) + g3 / (n * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends(i: Interval) -> (f64, f64) {
        (i.lo.expect("closed"), i.hi.expect("closed"))
    }

    #[test]
    fn wilson_gives_the_textbook_numbers() {
        let (lo, hi) = ends(wilson(0.9, 100.0));
        assert!((lo - 82.56).abs() < 0.01 && (hi - 94.48).abs() < 0.01, "{lo} {hi}");
        let (lo, hi) = ends(wilson(0.9, 1000.0));
        assert!((lo - 87.98).abs() < 0.01 && (hi - 91.71).abs() < 0.01, "{lo} {hi}");
    }

    #[test]
    fn student_approaches_its_table() {
        for (freedom, table) in [(4.0, 2.776), (9.0, 2.262), (30.0, 2.042), (1e6, 1.960)] {
            assert!((student95(freedom) / table - 1.0).abs() < 0.01, "{freedom}: {}", student95(freedom));
        }
    }

    #[test]
    fn missing_ends_serialise_as_null_and_exclude_nothing() {
        let open = Interval::of_positive(1.5, f64::INFINITY);
        assert_eq!(serde_json::to_string(&open).expect("serialises"), "[1.5,null]");
        assert!(open.contains(1e9) && !open.contains(1.4));
        assert_eq!(open.reciprocal(), Interval { lo: None, hi: Some(1.0 / 1.5) });
        assert_eq!(Interval::of_positive(f64::NAN, 0.0), Interval { lo: None, hi: None });
    }

    proptest! {
        #[test]
        fn wilson_stays_within_percent_and_holds_its_share(n in 1u32..100_000, part in 0.0f64..=1.0) {
            let share = (f64::from(n) * part).floor() / f64::from(n);
            let (lo, hi) = ends(wilson(share, f64::from(n)));
            prop_assert!((0.0..=100.0).contains(&lo) && (0.0..=100.0).contains(&hi));
            prop_assert!(lo <= 100.0 * share && 100.0 * share <= hi);
        }
    }
}
