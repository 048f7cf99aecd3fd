//! Gaps between tokens, as many as there are, in bounded memory.
//!
//! A million requests of 128 tokens have 127 million gaps. Up to [`EXACT`] of them are kept as they are; beyond that
//! they are counted in buckets, each a thousandth wider than the one before (the scheme of DDSketch, Masson et al., VLDB
//! 2019), so that a percentile is off by at most 0.05 % of itself. Count, mean and standard deviation stay those of
//! every single gap.

use super::percentiles::Distribution;

/// Gaps that are kept one by one: 2 MB, some 4000 requests of 128 tokens.
pub const EXACT: usize = 1 << 19;
/// Upper end over lower end of a bucket.
const RATIO: f64 = 1.001;
/// What lies below, seconds, counts as no gap at all: tokens that came in one piece. Journals hold whole microseconds.
const SHORTEST: f64 = 5e-7;
/// Longer gaps are counted as if they had this length, seconds.
const LONGEST: f64 = 1e5;

/// Gaps between the tokens of one point, or of several together.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    /// Single precision (relative error 6e-8); empty once there are buckets.
    exact: Vec<f32>,
    counted: Option<Box<Counted>>,
}

#[derive(Debug, Clone, Default)]
struct Counted {
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
    squares: f64,
}

impl Gaps {
    /// The same gap `times` times, in seconds.
    pub fn push(&mut self, secs: f64, times: u32) {
        if self.counted.is_none() && self.exact.len() + times as usize > EXACT {
            self.count_all();
        }
        match &mut self.counted {
            None => self.exact.extend(std::iter::repeat_n(secs as f32, times as usize)),
            Some(counted) => counted.push(secs, u64::from(times)),
        }
    }

    /// Adds another point's gaps.
    pub fn absorb(&mut self, other: &Gaps) {
        other.exact.iter().for_each(|gap| self.push(f64::from(*gap), 1));
        if let Some(theirs) = &other.counted {
            self.count_all();
            if let Some(ours) = &mut self.counted {
                ours.absorb(theirs);
            }
        }
    }

    /// `None` without a gap; `percentiles` in 0..=100.
    pub fn distribution(&self, percentiles: &[f64]) -> Option<Distribution> {
        match &self.counted {
            None => Distribution::of(self.exact.iter().map(|gap| f64::from(*gap)), percentiles),
            Some(counted) => counted.distribution(percentiles),
        }
    }

    fn count_all(&mut self) {
        let counted = self.counted.get_or_insert_default();
        std::mem::take(&mut self.exact).into_iter().for_each(|gap| counted.push(f64::from(gap), 1));
    }
}

impl Counted {
    fn push(&mut self, secs: f64, times: u64) {
        let bucket = bucket(secs);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += times;
        self.count += times;
        self.sum += secs * times as f64;
        self.squares += secs * secs * times as f64;
    }

    fn absorb(&mut self, other: &Counted) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    fn distribution(&self, percentiles: &[f64]) -> Option<Distribution> {
        let n = self.count as f64;
        let mean = self.sum / n;
        Some(Distribution {
            count: usize::try_from(self.count).ok()?,
            mean,
            median: self.quantile(0.5)?,
            std: (self.squares / n - mean * mean).max(0.0).sqrt(),
            percentiles: percentiles.iter().filter_map(|p| Some((*p, self.quantile(p / 100.0)?))).collect(),
        })
    }

    /// Type 7 between the middles of the buckets that hold the two neighbours.
    fn quantile(&self, q: f64) -> Option<f64> {
        let at = q.clamp(0.0, 1.0) * self.count.checked_sub(1)? as f64;
        let (below, above) = (self.nth(at as u64)?, self.nth((at.ceil() as u64).min(self.count - 1))?);
        Some(below + (above - below) * at.fract())
    }

    /// The middle of the bucket of the `n`th gap from below, from 0.
    fn nth(&self, n: u64) -> Option<f64> {
        let mut seen = 0;
        let holds = |count: &u64| {
            seen += count;
            seen > n
        };
        self.buckets.iter().position(holds).map(middle)
    }
}

/// 0: no gap; then from [`SHORTEST`] up.
fn bucket(secs: f64) -> usize {
    if secs < SHORTEST { 0 } else { 1 + ((secs.min(LONGEST) / SHORTEST).ln() / RATIO.ln()) as usize }
}

/// The geometric middle: as far from either end, relatively.
fn middle(bucket: usize) -> f64 {
    match bucket {
        0 => 0.0,
        n => SHORTEST * RATIO.powf(n as f64 - 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASKED: [f64; 5] = [0.0, 50.0, 90.0, 99.0, 100.0];

    fn of(gaps: &[f64]) -> Gaps {
        let mut all = Gaps::default();
        gaps.iter().for_each(|gap| all.push(*gap, 1));
        all
    }

    #[test]
    fn few_gaps_are_told_as_they_are() {
        let told = of(&[0.25, 0.5, 1.0]).distribution(&ASKED).expect("gaps");
        assert_eq!((told.count, told.median, told.percentiles[4]), (3, 0.5, (100.0, 1.0)));
        assert_eq!(Gaps::default().distribution(&ASKED), None);
    }

    #[test]
    fn many_gaps_are_counted_and_none_is_lost() {
        let mut gaps = Gaps::default();
        for _ in 0..3 {
            gaps.push(0.01, EXACT as u32 / 2);
            gaps.push(0.03, 1);
        }
        assert!(gaps.exact.is_empty() && gaps.counted.is_some());
        let told = gaps.distribution(&ASKED).expect("gaps");
        assert_eq!(told.count, 3 * (EXACT / 2 + 1));
        assert!((told.median / 0.01 - 1.0).abs() < 6e-4 && (told.percentiles[4].1 / 0.03 - 1.0).abs() < 6e-4);
        assert!((told.mean - 0.01).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn counting_keeps_percentiles_to_a_two_thousandth(
            gaps in prop::collection::vec(prop_oneof![Just(0.0), 1e-6f64..1.0], 1..300)
        ) {
            let exact = of(&gaps).distribution(&ASKED).expect("gaps");
            let mut all = of(&gaps);
            all.count_all();
            let counted = all.distribution(&ASKED).expect("gaps");
            prop_assert_eq!(counted.count, exact.count);
            prop_assert!((counted.mean - exact.mean).abs() < 1e-7);
            prop_assert!((counted.std - exact.std).abs() < 1e-6);
            for ((_, about), (_, right)) in counted.percentiles.iter().zip(&exact.percentiles) {
                prop_assert!((about - right).abs() <= 5.1e-4 * right + 1e-9, "{about} for {right}");
            }
        }

        #[test]
        fn points_together_are_as_one(a in prop::collection::vec(1e-4f64..1.0, 0..50), b in prop::collection::vec(1e-4f64..1.0, 1..50)) {
            let mut together = of(&a);
            let mut other = of(&b);
            other.count_all();
            together.absorb(&other);
            let mut whole = of(&[a, b].concat());
            whole.count_all();
            let (x, y) = (together.distribution(&ASKED).expect("gaps"), whole.distribution(&ASKED).expect("gaps"));
            prop_assert_eq!((x.count, x.median, x.percentiles), (y.count, y.median, y.percentiles));
        }
    }
}
