//! What the points of one launch say of the rate at which it meets the target.
//!
//! The share of requests that meet the limits falls with the logarithm of the rate as a logistic curve whose steepness
//! is not known. A point weighs as many requests as its clusters leave of it. Points that met the target only, or missed
//! it only, say on which side the crossing lies, and no more.

use super::belief::Word;

/// A point as the race takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Requests a second, as the point is named.
    pub rate: f64,
    /// Requests a second as they fell due.
    pub offered: f64,
    pub attempt: u32,
    pub launch: u32,
    /// Share of the requests offered that met the limits, 0 to 1.
    pub met: f64,
    /// How many independent requests would tell as much.
    pub weight: f64,
}

/// How steeply the log-odds fall when the rate grows by a factor of e.
const STEEPNESS: [f64; 4] = [5.0, 10.0, 20.0, 40.0];
/// Some requests miss at any rate, and some meet the limits.
const STRAY: f64 = 0.01;
/// Places at which a crossing is tried, over this many standard errors to either side.
const PLACES: i32 = 60;
const REACH: f64 = 5.0;

/// The launch's own crossing as a Gaussian that, times what was believed of it before, gives what is believed after.
/// `None` where the points say nothing, or all that they say was known.
pub(super) fn heard(of: usize, points: &[Seen], target: f64, mean: f64, variance: f64) -> Option<Word> {
    let (after, left) = moments(points, target, mean, variance)?;
    let precision = 1.0 / left - 1.0 / variance;
    if precision <= 1e-3 / variance {
        return None;
    }
    Some(Word { of, mean: (after / left - mean / variance) / precision, variance: 1.0 / precision })
}

/// Mean and variance of the crossing after the points.
pub(super) fn moments(points: &[Seen], target: f64, mean: f64, variance: f64) -> Option<(f64, f64)> {
    let spread = variance.sqrt();
    let place = |i: i32| mean + spread * REACH * f64::from(i) / f64::from(PLACES);
    let heights: Vec<(f64, f64)> = (-PLACES..=PLACES)
        .map(|i| {
            let crossing = place(i);
            let before = -(crossing - mean).powi(2) / (2.0 * variance);
            (crossing, before + log_likelihood(points, target, crossing))
        })
        .collect();
    let top = heights.iter().map(|(_, height)| *height).fold(f64::NEG_INFINITY, f64::max);
    let weighed = heights.iter().map(|(crossing, height)| (*crossing, (height - top).exp()));
    let (sum, first) = weighed.clone().fold((0.0, 0.0), |(s, f), (x, w)| (s + w, f + w * x));
    let centre = first / sum;
    let second: f64 = weighed.map(|(x, w)| w * (x - centre).powi(2)).sum();
    // A grid knows nothing finer than itself.
    let finest = (spread * REACH / f64::from(PLACES) / 2.0).powi(2);
    (sum.is_finite() && sum > 0.0).then(|| (centre, (second / sum).max(finest)))
}

fn log_likelihood(points: &[Seen], target: f64, crossing: f64) -> f64 {
    let odds = (target / (1.0 - target)).ln();
    let of_steepness = STEEPNESS.map(|steepness| {
        let of_point = |point: &Seen| {
            let share = 1.0 / (1.0 + (steepness * (point.offered.ln() - crossing) - odds).exp());
            let share = STRAY / 2.0 + (1.0 - STRAY) * share;
            point.weight * (point.met * share.ln() + (1.0 - point.met) * (1.0 - share).ln())
        };
        points.iter().map(of_point).sum::<f64>()
    });
    let top = of_steepness.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + of_steepness.iter().map(|height| (height - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(points: &[(f64, f64)]) -> Vec<Seen> {
        let one = |&(rate, met): &(f64, f64)| Seen { rate, offered: rate, attempt: 1, launch: 1, met, weight: 60.0 };
        points.iter().map(one).collect()
    }

    fn crossing(points: &[(f64, f64)]) -> (f64, f64) {
        let (mean, variance) = moments(&seen(points), 0.9, 10f64.ln(), 0.25).expect("points");
        (mean.exp(), variance.sqrt())
    }

    #[test]
    fn points_on_both_sides_hold_it() {
        let (rate, error) = crossing(&[(9.0, 0.99), (10.0, 0.95), (11.0, 0.8)]);
        assert!((9.5..11.0).contains(&rate) && error < 0.06, "{rate} {error}");
    }

    #[test]
    fn points_on_one_side_say_which() {
        let (above, error) = crossing(&[(14.0, 1.0)]);
        assert!(above > 14.0 && error > 0.1, "{above} {error}");
        let (below, error) = crossing(&[(14.0, 0.1)]);
        assert!(below < 13.0 && error > 0.1, "{below} {error}");
    }

    #[test]
    fn what_is_heard_added_to_what_was_believed_is_what_is_believed_after() {
        let points = seen(&[(12.0, 0.97), (13.0, 0.85)]);
        let (mean, variance) = (10f64.ln(), 0.25);
        let (after, left) = moments(&points, 0.9, mean, variance).expect("points");
        let word = heard(0, &points, 0.9, mean, variance).expect("they say something");
        let precision = 1.0 / variance + 1.0 / word.variance;
        assert!((1.0 / precision - left).abs() < 1e-9);
        assert!(((mean / variance + word.mean / word.variance) / precision - after).abs() < 1e-9);
        assert_eq!(heard(0, &[], 0.9, mean, variance), None);
    }
}
