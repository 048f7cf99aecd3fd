//! What it would take to tell two arms apart; and where nothing speaks for a difference, how large one would have shown.
//!
//! A difference is found in four runs of five if it is as large as the error that a claim asks for and 0.84 standard errors
//! more. Requests shrink their part of the error with their square root, launches theirs. `cargo bench --bench intervals`
//! follows the advice and counts.

use super::normal::z_of;

/// Standard errors beyond those that a claim asks for: a difference is then found in 80 % of runs.
const FOR_POWER: f64 = 0.841_621;
/// Logarithms of ratios nearer to zero than this many standard errors don't speak for a difference: what is equal lies
/// there in two runs of three.
const LEANS: f64 = 1.0;
/// Arms closer than this are level.
const LEVEL: f64 = 1.05;

/// How well the crossings of two arms are known against each other: standard errors of the logarithm of their ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    pub(super) requests: f64,
    /// What launches add; zero where the comparison doesn't reach beyond them.
    pub(super) launches: f64,
    /// Standard errors that a claim asks for.
    pub(super) claimed_from: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Advice {
    /// So many times the requests.
    Requests(f64),
    /// So many times the launches.
    Launches(f64),
    /// Nothing speaks for a difference; one by this factor would likely have shown.
    Level(f64),
}

impl Precision {
    /// `p`: what the p-value of a claim must not exceed.
    pub(super) fn new(requests: f64, launches: f64, p: f64) -> Precision {
        Precision { requests, launches, claimed_from: z_of(p) }
    }

    /// For a ratio that was measured as `value`.
    pub fn advice(&self, value: f64) -> Advice {
        let (far, error) = (value.ln().abs(), self.requests.hypot(self.launches));
        let wanted = self.claimed_from + FOR_POWER;
        if far < LEVEL.ln() || far < LEANS * error {
            return Advice::Level((wanted * error).exp());
        }
        let affordable = (far / wanted).powi(2);
        let left = affordable - self.launches.powi(2);
        if left > 0.0 {
            return Advice::Requests((self.requests.powi(2) / left).max(1.0));
        }
        // Half of the error for each, unless requests need less.
        let by_requests = self.requests.powi(2).min(affordable / 2.0);
        Advice::Launches(self.launches.powi(2) / (affordable - by_requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: f64 = 0.05;

    #[test]
    fn four_times_the_requests_halve_the_error() {
        // 1.96 + 0.84 standard errors of 0.1 are 0.28.
        let known = Precision::new(0.1, 0.0, P);
        for value in [0.14f64.exp(), (-0.14f64).exp()] {
            let Advice::Requests(times) = known.advice(value) else { panic!("{known:?}") };
            assert!((times - 4.0).abs() < 0.01, "{value}: {times}");
        }
    }

    #[test]
    fn where_nothing_leans_no_number_is_given_but_what_would_have_shown() {
        let Advice::Level(factor) = Precision::new(0.1, 0.0, P).advice(1.09) else { panic!("advice") };
        assert!((factor.ln() - 0.28).abs() < 0.001, "{factor}");
        assert!(matches!(Precision::new(0.001, 0.0, P).advice(1.04), Advice::Level(_)), "level for all purposes");
    }

    #[test]
    fn requests_do_not_help_against_launches() {
        let known = Precision::new(0.01, 0.06, P);
        let Advice::Launches(times) = known.advice(0.12f64.exp()) else { panic!("{known:?}") };
        assert!(times > 2.0 && times < 3.0, "{times}");
        assert!(matches!(known.advice(0.5f64.exp()), Advice::Requests(_)));
    }
}
