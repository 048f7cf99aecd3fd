//! A curve through all points of an arm: the share of requests that miss the limits, over rate.
//!
//! The log-odds of a miss are a quadratic in the realised rate, fitted to every point at once by quasi-likelihood: each
//! point weighs as many requests as its clusters leave of it, and less the further it lies from the target, since the
//! curve need only be right where it crosses. Curvature has a weak prior, so that a few noisy points give a line; what
//! few independent requests exaggerate is taken back. The
//! crossing is looked for to the right of the curve's lowest miss: attainment only falls with rate.
//! docs/METHODOLOGY.md says what else was tried.

/// One point as the fit takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observation {
    /// Requests per second as they fell due.
    pub(super) rate: f64,
    /// Share of requests that missed. A resampled one may lie outside of 0 to 1: the fit is linear in it.
    pub(super) missed: f64,
    /// How many independent requests would tell as much.
    pub(super) weight: f64,
    /// The share that missed is known only to be no less: the point ended early.
    pub(super) at_least: bool,
}

/// Log-odds of a miss, less those at the target, as a polynomial in rate / centre - 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    coefficients: [f64; 3],
    centre: f64,
    lowest: f64,
    highest: f64,
    /// Log-odds of a miss at the target.
    target: f64,
}

/// Points this far from the target in log-odds count a quarter.
const BAND: f64 = 4.0;
/// How far a share is pulled towards one half, in independent requests. With few of them a logistic fit exaggerates: small
/// shares come out too small, and the crossing 3 to 5 % too high with 300 requests a point (Firth, Biometrika 80, 1993,
/// pulls by half of a point's leverage; misses in clusters, whose number is skewed, ask for more). Found by simulation.
const PULL: f64 = 0.8;
/// At most by this part of the share that may miss: a handful of requests must not decide by themselves.
const MOST_PULL: f64 = 0.5;
/// Precision of the priors around zero: slope (hardly any), curvature (standard deviation 3.2).
const PRIOR: [f64; 3] = [0.0, 0.003, 0.1];
/// Shares are kept this far from 0 and 1.
const EDGE: f64 = 1e-4;
const FROM_NOTHING: usize = 32;
const FROM_A_NEIGHBOUR: usize = 3;

fn log_odds(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

impl Curve {
    /// `None` with fewer than two rates. `allowed`: the share that may miss at the target.
    pub(super) fn fit(points: &[Observation], allowed: f64) -> Option<Curve> {
        let rates = || points.iter().map(|p| p.rate);
        let (lowest, highest) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        let nearest = points.iter().min_by(|a, b| {
            let distance = |p: &Observation| (p.missed - allowed).abs();
            distance(a).total_cmp(&distance(b)).then(a.rate.total_cmp(&b.rate))
        })?;
        let target = log_odds(allowed.clamp(EDGE, 1.0 - EDGE));
        let start = Curve { coefficients: [0.0; 3], centre: nearest.rate, lowest, highest, target };
        let first = |p: &Observation| (p.missed * p.weight + 0.5) / (p.weight + 1.0);
        let once = start.improved(points, first);
        let fitted = (1..FROM_NOTHING).fold(once, |curve, _| curve.improved(points, |p| curve.missed(p.rate)));
        (lowest < highest && fitted.coefficients.iter().all(|c| c.is_finite())).then_some(fitted)
    }

    /// The fit of points that differ little from those of this curve.
    pub(super) fn refitted(&self, points: &[Observation]) -> Curve {
        (0..FROM_A_NEIGHBOUR).fold(self.clone(), |curve, _| curve.improved(points, |p| curve.missed(p.rate)))
    }

    /// Share of requests that miss at a rate.
    pub(super) fn missed(&self, rate: f64) -> f64 {
        (1.0 + (-(self.above_target(rate) + self.target)).exp()).recip()
    }

    fn above_target(&self, rate: f64) -> f64 {
        let [a, b, c] = self.coefficients;
        let x = rate / self.centre - 1.0;
        a + x * (b + x * c)
    }

    /// One step of iteratively reweighted least squares from `expected` shares; the curve itself where that has no
    /// solution.
    fn improved(&self, points: &[Observation], expected: impl Fn(&Observation) -> f64) -> Curve {
        let mut rows = [[0.0; 4]; 3];
        let most = MOST_PULL / (1.0 + (-self.target).exp());
        for (i, precision) in PRIOR.iter().enumerate() {
            rows[i][i] = *precision;
        }
        for point in points {
            let share = expected(point).clamp(EDGE, 1.0 - EDGE);
            // Of what is only known to be no less, the curve itself says how much more (expectation and maximisation).
            let missed = if point.at_least { point.missed.max(share) } else { point.missed };
            let (variance, above) = (share * (1.0 - share), log_odds(share) - self.target);
            let near = (1.0 + (above / BAND).powi(2)).powi(-2);
            // What the curve itself has filled in is nothing that was seen.
            let seen = missed <= point.missed;
            let pull = if seen { (PULL * (0.5 - share) / point.weight).clamp(-most, most) } else { 0.0 };
            let missed = missed + pull;
            let (weight, value) = (point.weight * variance * near, above + (missed - share) / variance);
            let powers = self.powers(point.rate);
            for (row, a) in rows.iter_mut().zip(powers) {
                for (cell, b) in row.iter_mut().zip(powers) {
                    *cell += weight * a * b;
                }
                row[3] += weight * a * value;
            }
        }
        let coefficients = solved(rows).unwrap_or(self.coefficients);
        Curve { coefficients, ..*self }
    }

    /// Where the curve crosses the target, as bounds: a number twice, or (highest rate, infinity), or (0, lowest rate).
    pub(super) fn crossing(&self) -> (f64, f64) {
        const STEPS: u32 = 32;
        let place = |i: u32| self.lowest + (self.highest - self.lowest) * f64::from(i) / f64::from(STEPS);
        let height = |i: u32| self.above_target(place(i));
        let best = (1..=STEPS).fold((0, height(0)), |best, i| if height(i) < best.1 { (i, height(i)) } else { best });
        if best.1 >= 0.0 {
            return (0.0, self.lowest);
        }
        let mut below = best;
        for i in best.0 + 1..=STEPS {
            let above = (i, height(i));
            if above.1 >= 0.0 {
                let share = below.1 / (below.1 - above.1);
                let rate = place(below.0) + (place(above.0) - place(below.0)) * share;
                return (rate, rate);
            }
            below = above;
        }
        (self.highest, f64::INFINITY)
    }

    fn powers(&self, rate: f64) -> [f64; 3] {
        let x = rate / self.centre - 1.0;
        [1.0, x, x * x]
    }

    /// Variance of the logarithm of the rate at which the curve crosses the target, if it were fitted to these points: by
    /// the information they hold and the slope there. `None` where that says nothing, or the curve doesn't fall.
    pub(super) fn crossing_variance<'a>(
        &self,
        points: impl Iterator<Item = &'a Observation>,
        crossing: f64,
    ) -> Option<f64> {
        let mut information = [[0.0; 4]; 3];
        for (i, precision) in PRIOR.iter().enumerate() {
            information[i][i] = *precision;
        }
        for point in points {
            let share = self.missed(point.rate).clamp(EDGE, 1.0 - EDGE);
            let near = (1.0 + ((log_odds(share) - self.target) / BAND).powi(2)).powi(-2);
            let weight = point.weight * share * (1.0 - share) * near;
            let powers = self.powers(point.rate);
            for (row, a) in information.iter_mut().zip(powers) {
                row.iter_mut().zip(powers).for_each(|(cell, b)| *cell += weight * a * b);
            }
        }
        let gradient = self.powers(crossing);
        information.iter_mut().zip(gradient).for_each(|(row, g)| row[3] = g);
        let spread = solved(information)?;
        let variance: f64 = spread.iter().zip(gradient).map(|(s, g)| s * g).sum();
        let [_, b, c] = self.coefficients;
        let slope = (b + 2.0 * c * (crossing / self.centre - 1.0)) * crossing / self.centre;
        (slope > 0.0 && variance >= 0.0).then(|| variance / (slope * slope))
    }

    /// By how much the share that misses grows when the rate grows by a small part of itself.
    pub(super) fn steepness(&self, rate: f64) -> f64 {
        let step = 0.01;
        (self.missed(rate * (1.0 + step)) - self.missed(rate * (1.0 - step))) / (2.0 * step)
    }
}

/// Three equations by Gauss and Jordan, with pivots; `None` where they don't determine a solution.
fn solved(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for i in 0..3 {
        let pivot = (i..3).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs()))?;
        rows.swap(i, pivot);
        if rows[i][i].abs() < 1e-300 {
            return None;
        }
        for r in 0..3 {
            if r != i {
                let factor = rows[r][i] / rows[i][i];
                let from = rows[i];
                rows[r].iter_mut().zip(from).for_each(|(cell, x)| *cell -= factor * x);
            }
        }
    }
    let answer = [rows[0][3] / rows[0][0], rows[1][3] / rows[1][1], rows[2][3] / rows[2][2]];
    answer.iter().all(|x| x.is_finite()).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(shares: &[(f64, f64)]) -> Vec<Observation> {
        shares.iter().map(|&(rate, missed)| Observation { rate, missed, weight: 400.0, at_least: false }).collect()
    }

    fn crossing(shares: &[(f64, f64)]) -> (f64, f64) {
        Curve::fit(&points(shares), 0.1).expect("two rates").crossing()
    }

    #[test]
    fn a_logistic_curve_is_found_again() {
        let missed = |rate: f64| (1.0 + (-(-6.0 + 1.2 * rate)).exp()).recip();
        let shares: Vec<(f64, f64)> = (1..=7).map(|r| (f64::from(r), missed(f64::from(r)))).collect();
        let (lo, hi) = crossing(&shares);
        let truth = (6.0 - 9f64.ln()) / 1.2;
        // 400 requests a point are pulled down a little.
        assert!(lo == hi && lo < truth && (lo - truth).abs() < 0.02, "{lo} {hi} {truth}");
    }

    #[test]
    fn outside_of_the_rates_only_the_side_is_known() {
        assert_eq!(crossing(&[(1.0, 0.0), (2.0, 0.01), (4.0, 0.03)]), (4.0, f64::INFINITY));
        assert_eq!(crossing(&[(1.0, 0.3), (2.0, 0.5), (4.0, 0.9)]), (0.0, 1.0));
    }

    #[test]
    fn a_jump_from_all_to_none_is_crossed_in_between() {
        let (lo, hi) = crossing(&[(1.0, 0.0), (2.0, 0.0), (4.0, 1.0), (8.0, 1.0)]);
        assert!(lo == hi && lo > 2.0 && lo < 4.0, "{lo} {hi}");
    }

    #[test]
    fn one_bad_point_among_good_ones_is_not_the_crossing() {
        let (lo, _) = crossing(&[(2.0, 0.03), (4.0, 0.12), (6.0, 0.02), (8.0, 0.05), (12.0, 0.4)]);
        assert!(lo > 7.0 && lo < 10.5, "{lo}");
    }

    #[test]
    fn a_point_that_ended_early_bounds_the_crossing_and_no_more() {
        let mut points = points(&[(2.0, 0.0), (4.0, 0.02), (6.0, 0.08)]);
        let open = Curve::fit(&points, 0.1).expect("rates").crossing();
        assert_eq!(open, (6.0, f64::INFINITY));
        points.push(Observation { rate: 12.0, missed: 0.3, weight: 200.0, at_least: true });
        let (bounded, _) = Curve::fit(&points, 0.1).expect("rates").crossing();
        assert!(bounded > 6.0 && bounded < 8.5, "{bounded}");
        // Where other points say that more than that missed, it says nothing new.
        points.push(Observation { rate: 9.0, missed: 0.6, weight: 400.0, at_least: false });
        let with = Curve::fit(&points, 0.1).expect("rates").crossing().0;
        points.retain(|p| !p.at_least);
        let without = Curve::fit(&points, 0.1).expect("rates").crossing().0;
        assert!((with / without - 1.0).abs() < 0.02, "{with} {without}");
    }

    #[test]
    fn one_rate_makes_no_curve() {
        assert_eq!(Curve::fit(&points(&[(4.0, 0.1)]), 0.1), None);
        assert_eq!(Curve::fit(&[], 0.1), None);
    }
}
