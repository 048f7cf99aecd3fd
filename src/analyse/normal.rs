//! The normal distribution, for p-values.

/// Probability that a standard normal variable lies above `z`: W. J. Cody's range reduction isn't needed for p-values,
/// Abramowitz and Stegun 26.2.17 is good to 7.5e-8.
fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let t = (1.0 + 0.231_641_9 * z).recip();
    let poly =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly
}

/// Two-sided p-value of a deviation of `z` standard errors.
pub(super) fn p_of(z: f64) -> f64 {
    (2.0 * upper_tail(z.abs())).min(1.0)
}

/// The deviation whose two-sided p-value is `p`.
pub(super) fn z_of(p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 12.0);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if p_of(middle) > p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_tables() {
        for (z, p) in [(0.0, 1.0), (1.959_964, 0.05), (2.575_829, 0.01), (3.290_527, 0.001)] {
            assert!((p_of(z) - p).abs() < 1e-6 && (z_of(p) - z).abs() < 1e-4, "{z} {p}");
        }
    }
}
