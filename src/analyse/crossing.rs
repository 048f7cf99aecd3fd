//! Where attainment crosses the target over rate: goodput.
//!
//! The value is the first sign change of (attainment - target) between neighbouring rates, by linear interpolation; if
//! there is none, only the side is known. Attainment need not fall monotonically with rate, so all crossings are listed.
//! No curve is fitted here: this is the number that is quoted, the curve of [`super::curve`] says how sure it is.

use crate::units::RequestRate;

/// Where attainment crosses the target.
#[derive(Debug, Clone, PartialEq)]
pub enum Crossing {
    At(RequestRate),
    /// More than one, ascending; the first is the value.
    Several(Vec<RequestRate>),
    /// The target is met at every rate tested: the crossing lies above the highest.
    AboveTested,
    /// The target is missed at every rate tested: the crossing lies below the lowest.
    BelowTested,
}

impl Crossing {
    /// The value quoted; `None` if it is not within the rates tested.
    pub fn first(&self) -> Option<RequestRate> {
        match self {
            Crossing::At(rate) => Some(*rate),
            Crossing::Several(rates) => rates.first().copied(),
            Crossing::AboveTested | Crossing::BelowTested => None,
        }
    }

    pub fn all(&self) -> &[RequestRate] {
        match self {
            Crossing::At(rate) => std::slice::from_ref(rate),
            Crossing::Several(rates) => rates,
            Crossing::AboveTested | Crossing::BelowTested => &[],
        }
    }
}

/// Crossings of a curve of (rate in requests per second, attainment in percent), ascending in rate, one entry a rate,
/// finite rates only. `None` without points.
///
/// A point exactly at the target meets it: the crossing lies there if the target is missed next to it. A curve that only
/// touches the target from above, or ends on it, has no crossing there.
pub fn crossing(curve: &[(f64, f64)], target_percent: f64) -> Option<Crossing> {
    let first = curve.first()?;
    let mut all: Vec<RequestRate> = curve
        .windows(2)
        .filter_map(|pair| between(pair[0], pair[1], target_percent))
        .filter_map(RequestRate::new)
        .collect();
    // A single point of the target between two misses is crossed twice at the same rate.
    all.dedup();
    Some(match all.len() {
        0 if first.1 >= target_percent => Crossing::AboveTested,
        0 => Crossing::BelowTested,
        1 => Crossing::At(all[0]),
        _ => Crossing::Several(all),
    })
}

/// The crossing as bounds: a number twice, or (highest rate, infinity), or (0, lowest rate).
pub(super) fn bounds(curve: &[(f64, f64)], target_percent: f64) -> (f64, f64) {
    let first = curve.windows(2).find_map(|pair| between(pair[0], pair[1], target_percent));
    match (first, curve.first(), curve.last()) {
        (Some(rate), ..) => (rate, rate),
        (None, Some(&(_, attained)), Some(&(highest, _))) if attained >= target_percent => (highest, f64::INFINITY),
        (None, Some(&(lowest, _)), _) => (0.0, lowest),
        (None, None, _) => (0.0, f64::INFINITY),
    }
}

fn between((r0, a0): (f64, f64), (r1, a1): (f64, f64), target: f64) -> Option<f64> {
    let (d0, d1) = (a0 - target, a1 - target);
    ((d0 >= 0.0) != (d1 >= 0.0)).then(|| r0 + (r1 - r0) * (d0 / (d0 - d1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rates(curve: &[(f64, f64)]) -> Vec<f64> {
        crossing(curve, 90.0).expect("points").all().iter().map(|r| r.per_second()).collect()
    }

    #[test]
    fn a_crossing_lies_on_the_line_between_its_neighbours() {
        assert_eq!(rates(&[(2.0, 100.0), (4.0, 95.0), (8.0, 85.0)]), [6.0]);
    }

    #[test]
    fn without_a_sign_change_only_the_side_is_known() {
        assert_eq!(crossing(&[(2.0, 99.0), (8.0, 91.0)], 90.0), Some(Crossing::AboveTested));
        assert_eq!(crossing(&[(2.0, 85.0), (5.0, 65.0), (8.0, 76.0)], 90.0), Some(Crossing::BelowTested));
        assert_eq!(crossing(&[], 90.0), None);
    }

    #[test]
    fn a_point_exactly_at_the_target_is_the_crossing_itself() {
        assert_eq!(rates(&[(1.0, 95.0), (2.0, 90.0), (3.0, 80.0)]), [2.0]);
        assert_eq!(rates(&[(1.0, 90.0), (2.0, 80.0)]), [1.0]);
        assert_eq!(rates(&[(1.0, 80.0), (2.0, 90.0), (3.0, 80.0)]), [2.0], "once, not twice");
    }

    #[test]
    fn touching_the_target_from_above_is_no_crossing() {
        assert_eq!(crossing(&[(1.0, 95.0), (2.0, 90.0), (3.0, 95.0)], 90.0), Some(Crossing::AboveTested));
        assert_eq!(crossing(&[(1.0, 95.0), (2.0, 90.0)], 90.0), Some(Crossing::AboveTested), "at the highest rate");
    }

    #[test]
    fn several_crossings_are_all_listed_and_the_first_is_the_value() {
        let wavy = [(1.0, 95.0), (2.0, 85.0), (3.0, 95.0), (4.0, 85.0)];
        assert_eq!(rates(&wavy), [1.5, 2.5, 3.5]);
        assert_eq!(crossing(&wavy, 90.0).and_then(|c| c.first()), RequestRate::new(1.5));
    }

    proptest! {
        #[test]
        fn crossings_lie_between_rates_that_disagree(attained in prop::collection::vec(0.0f64..100.0, 1..12), target in 1.0f64..100.0) {
            let curve: Vec<(f64, f64)> = attained.iter().enumerate().map(|(i, a)| (1.0 + i as f64, *a)).collect();
            let found = crossing(&curve, target).expect("points");
            for rate in found.all() {
                let below = curve.iter().rfind(|p| p.0 <= rate.per_second()).expect("bracketed");
                let above = curve.iter().find(|p| p.0 >= rate.per_second()).expect("bracketed");
                prop_assert!((below.1 >= target) != (above.1 >= target) || below.1 == target || above.1 == target);
            }
            let (lo, hi) = bounds(&curve, target);
            prop_assert!(lo <= hi);
            prop_assert_eq!(found.first().map(|r| r.per_second()), (lo == hi).then_some(lo));
        }
    }
}
