//! What holds for any sample.

use super::*;
use crate::analyse::scale::{ScaleCurve, ScaledLimits};
use proptest::prelude::*;

/// TTFTs in seconds, some not served.
fn ttfts() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![9 => 0.01f64..1.0, 1 => Just(f64::INFINITY)], 1..80)
}

proptest! {
    #[test]
    fn the_scale_curve_rises_and_passes_through_the_attainment(values in ttfts()) {
        let (samples, limits) = (samples(2.0, &values, 0.008), slo(150.0, 10.0));
        let curve = ScaleCurve::new([&samples], &limits, ScaledLimits::Both);
        let steps = curve.steps(1000);
        prop_assert!(steps.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
        let attained = PointAttainment::of(&samples, &limits).expect("offered").both.percent();
        prop_assert_eq!(curve.attainment_at(1.0), attained);
    }

    #[test]
    fn the_scale_at_the_target_is_the_tightest_that_meets_it(values in ttfts(), percent in 1.0f64..100.0) {
        let target = Target::new(percent).expect("a target");
        let curve = ScaleCurve::new([&samples(2.0, &values, 0.008)], &slo(150.0, 10.0), ScaledLimits::Both);
        match curve.at_target(target) {
            Some(scale) => {
                prop_assert!(curve.attainment_at(scale) >= percent - 1e-6);
                prop_assert!(curve.attainment_at(scale * (1.0 - 1e-9)) < percent);
            }
            None => prop_assert!(curve.attainment_at(f64::MAX) < percent),
        }
    }

    #[test]
    fn thinned_curves_stay_on_the_exact_one(values in ttfts(), limit in 2usize..20) {
        let curve = ScaleCurve::new([&samples(2.0, &values, 0.008)], &slo(150.0, 10.0), ScaledLimits::Both);
        let steps = curve.steps(limit);
        prop_assert!(steps.len() <= limit);
        for (scale, attained) in &steps {
            prop_assert_eq!(*attained, curve.attainment_at(*scale));
        }
        let highest = curve.attainment_at(f64::MAX);
        prop_assert_eq!(steps.last().map_or(0.0, |s| s.1), highest);
    }

    #[test]
    fn the_order_of_requests_changes_no_point_estimate(values in ttfts(), by in 0usize..80) {
        let mut turned = values.clone();
        turned.rotate_left(by % values.len());
        let (a, b) = (samples(2.0, &values, 0.008), samples(2.0, &turned, 0.008));
        let limits = slo(150.0, 10.0);
        prop_assert_eq!(PointAttainment::of(&a, &limits), PointAttainment::of(&b, &limits));
        let scale = |s: &Samples| ScaleCurve::new([s], &limits, ScaledLimits::Both).at_target(Target::default());
        prop_assert_eq!(scale(&a), scale(&b));
        prop_assert_eq!(latencies::Latencies::of(&a, &[90.0]).tpot, latencies::Latencies::of(&b, &[90.0]).tpot);
    }

    #[test]
    fn the_order_of_points_changes_nothing(misses in prop::collection::vec(0usize..60, 2..6), by in 0usize..6) {
        let points: Vec<PointInput> = misses.iter().enumerate().map(|(i, m)| point(1.0 + i as f64, 60, *m)).collect();
        let mut turned = points.clone();
        turned.rotate_left(by % points.len());
        let json = |points| serde_json::to_string(&Comparison::new(&[arm("simple", "TP2", points)], &question()));
        prop_assert_eq!(json(points).expect("serialises"), json(turned).expect("serialises"));
    }

    #[test]
    fn one_request_more_or_less_never_breaks_a_comparison(values in ttfts(), n in 1usize..4) {
        let points = |k: usize| vec![PointInput { rate: rate(2.0), attempt: 1, launch: 1, host: None, facts: None, duration_secs: None, samples: samples(2.0, &values[..k], 0.008).into() }];
        let arms = [arm("simple", "TP2", points(values.len())), arm("nixl", "1P1D", points(n.min(values.len())))];
        let json = serde_json::to_string(&Comparison::new(&arms, &question())).expect("serialises");
        prop_assert!(!json.contains("NaN") && !json.contains("Infinity"));
    }
}
