//! How sure the SLO-scale curve is, scale by scale.

use super::input::Question;
use super::interval::{Interval, wilson};
use super::samples::Samples;
use super::series::Attempt;

/// Intervals in percent of the attainment of a rate's repeats together, with every limit multiplied by each of `scales`.
/// They know that misses come in clusters, at every scale in its own.
pub fn scale_band(repeats: &[&Samples], question: &Question, scales: &[f64]) -> Vec<Interval> {
    let attempts: Vec<Attempt> = repeats.iter().map(|s| Attempt::new(1, s, &question.slo, question.target)).collect();
    let offered: usize = attempts.iter().map(Attempt::len).sum();
    let one = |scale: &f64| {
        let kept: usize = attempts.iter().map(|a| a.scales.iter().filter(|s| **s <= *scale).count()).sum();
        let effective: f64 = attempts.iter().map(|a| a.effective_size_at(*scale)).sum();
        wilson(kept as f64 / offered.max(1) as f64, effective.max(1.0))
    };
    scales.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::tests::{question, samples};

    /// A third of the requests in one stretch take 1.5 times the limit, the rest half of it.
    #[test]
    fn a_cluster_widens_the_band_where_it_decides() {
        let ttft = |i: usize| if (200..300).contains(&i) { 0.225 } else { 0.075 };
        let scattered = |i: usize| if i.is_multiple_of(3) { 0.225 } else { 0.075 };
        let of = |pick: &dyn Fn(usize) -> f64| {
            let ttfts: Vec<f64> = (0..300).map(pick).collect();
            let loose = Question { slo: crate::analyse::tests::slo(150.0, 1e6), ..question() };
            scale_band(&[&samples(4.0, &ttfts, 0.008)], &loose, &[1.0, 1.6])
        };
        let width = |i: Interval| i.hi.expect("closed") - i.lo.expect("closed");
        let (one, even) = (of(&ttft), of(&scattered));
        assert!(one[0].contains(200.0 / 3.0) && even[0].contains(200.0 / 3.0));
        assert!(width(one[0]) > 2.0 * width(even[0]), "{one:?} {even:?}");
        assert!(one[1].contains(100.0) && width(one[1]) < width(one[0]), "{one:?}");
    }
}
