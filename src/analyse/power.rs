//! What it would take to tell two arms apart; and where nothing speaks for a difference, how large one would have shown.
//!
//! What was measured is itself uncertain, and what looks like a difference is on average a smaller one: advice is for
//! differences as they may be, given what was measured, so that four runs of five that follow it find one (the assurance
//! of a trial: O'Hagan, Stevens and Campbell, Pharmaceutical Statistics 4, 2005). Requests shrink their part of the error
//! with their square root, launches theirs. `cargo bench --bench intervals` follows the advice and counts.

use super::normal::z_of;

/// Standard errors beyond those that a claim asks for: a difference is then found in 80 % of runs.
const FOR_POWER: f64 = 0.841_621;
/// Logarithms of ratios nearer to zero than this many standard errors don't speak for a difference: what is equal lies
/// there in 87 runs of 100, and for what isn't, ten times the requests and more would be needed.
const LEANS: f64 = 1.5;
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
        if far < LEVEL.ln() || far < LEANS * error {
            return Advice::Level(((self.claimed_from + FOR_POWER) * error).exp());
        }
        let affordable = self.affordable(far, error).powi(2);
        let left = affordable - self.launches.powi(2);
        if left > 0.0 {
            return Advice::Requests((self.requests.powi(2) / left).max(1.0));
        }
        // Half of the error for each, unless requests need less.
        let by_requests = self.requests.powi(2).min(affordable / 2.0);
        Advice::Launches(self.launches.powi(2) / (affordable - by_requests))
    }

    /// The largest standard error of another run that makes a claim in 80 % of runs, where the logarithm was measured as
    /// `far` with an `error` of its own.
    fn affordable(&self, far: f64, error: f64) -> f64 {
        let found = |again: f64| far - self.claimed_from * again >= FOR_POWER * error.hypot(again);
        let (mut lo, mut hi) = (0.0, far);
        for _ in 0..50 {
            let middle = f64::midpoint(lo, hi);
            *(if found(middle) { &mut lo } else { &mut hi }) = middle;
        }
        lo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: f64 = 0.05;

    #[test]
    fn what_was_measured_may_be_less_than_it_looks() {
        // If 0.18 were the truth, 1.96 + 0.84 standard errors would ask for 2.4 times the requests.
        let known = Precision::new(0.1, 0.0, P);
        for value in [0.18f64.exp(), (-0.18f64).exp()] {
            let Advice::Requests(times) = known.advice(value) else { panic!("{known:?}") };
            let again = 0.1 / times.sqrt();
            let assured = (0.18 - 1.96 * again) / 0.1f64.hypot(again);
            assert!((assured - 0.8416).abs() < 0.001 && times > 4.0, "{value}: {times}");
        }
        let Advice::Requests(times) = known.advice(0.6f64.exp()) else { panic!("{known:?}") };
        assert!((times - 1.0).abs() < 1e-9, "what is plain needs no more");
    }

    #[test]
    fn where_nothing_leans_no_number_is_given_but_what_would_have_shown() {
        let Advice::Level(factor) = Precision::new(0.1, 0.0, P).advice(1.15) else { panic!("advice") };
        assert!((factor.ln() - 0.28).abs() < 0.001, "{factor}");
        assert!(matches!(Precision::new(0.001, 0.0, P).advice(1.04), Advice::Level(_)), "level for all purposes");
    }

    #[test]
    fn requests_do_not_help_against_launches() {
        let known = Precision::new(0.01, 0.06, P);
        let Advice::Launches(times) = known.advice(0.12f64.exp()) else { panic!("{known:?}") };
        assert!(times > 2.0 && times < 6.0, "{times}");
        assert!(matches!(known.advice(0.5f64.exp()), Advice::Requests(_)));
    }
}
