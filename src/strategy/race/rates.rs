//! The rates that a race measures: the same steps for every deployment, so that what answered at a rate can be held
//! against others at the same.

use crate::units::RequestRate;

/// From one rate to the next.
const STEP: f64 = 1.08;

/// Position of the rate nearest to a logarithm.
pub(super) fn nearest(log_rate: f64) -> i32 {
    (log_rate / STEP.ln()).round() as i32
}

/// Requests a second at a position, in three digits.
pub(super) fn rate(position: i32) -> f64 {
    let exact = STEP.powi(position);
    let unit = 10f64.powi(2 - exact.log10().floor() as i32);
    (exact * unit).round() / unit
}

/// The rate to measure next: near `log_rate`, and further off where it was measured before, `measured` times each.
pub(super) fn next(log_rate: f64, measured: impl Fn(f64) -> u32) -> Option<RequestRate> {
    const AROUND: i32 = 6;
    let centre = nearest(log_rate);
    let cost = |position: i32| {
        let distance = (f64::from(position) - log_rate / STEP.ln()).abs();
        distance + 1.5 * f64::from(measured(rate(position)))
    };
    let around = (centre - AROUND..=centre + AROUND).min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
    RequestRate::new(rate(around))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_distinct() {
        let all: Vec<f64> = (-60..120).map(rate).collect();
        assert!(all.windows(2).all(|pair| (1.05..1.12).contains(&(pair[1] / pair[0]))), "{all:?}");
        assert_eq!((rate(0), rate(30)), (1.0, 10.1));
    }

    #[test]
    fn a_rate_that_was_measured_gives_way_to_its_neighbours() {
        let at = 10f64.ln();
        let first = next(at, |_| 0).unwrap().per_second();
        let second = next(at, |rate| u32::from(rate == first)).unwrap().per_second();
        assert!(second != first && (second / first - 1.0).abs() < 0.1, "{first} {second}");
    }
}
