//! Numbers, intervals and command lines as people read them.

use crate::analyse::Interval;
use crate::analyse::input::{Censored, SloMillis};
use crate::words::decimal;

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "–";

/// `3.1 to 3.7`, `from 3.1`, `up to 3.7`; nothing without any end.
pub(super) fn interval(interval: Interval, show: impl Fn(f64) -> String) -> String {
    match (interval.lo, interval.hi) {
        (Some(lo), Some(hi)) => format!("{} to {}", show(lo), show(hi)),
        (Some(lo), None) => format!("from {}", show(lo)),
        (None, Some(hi)) => format!("up to {}", show(hi)),
        (None, None) => String::new(),
    }
}

/// In words, on which side a missing value lies.
pub(super) fn censored(side: Option<Censored>) -> String {
    match side {
        Some(Censored::AboveTested) => "above what was tested".to_string(),
        Some(Censored::BelowTested) => "below what was tested".to_string(),
        None => UNKNOWN.to_string(),
    }
}

/// Seconds as milliseconds: `5.17`, `66.3`, `1250`.
pub(super) fn millis(secs: f64) -> String {
    let ms = secs * 1e3;
    decimal(ms, (2 - ms.abs().max(1.0).log10().floor() as i32).max(0) as usize)
}

pub(super) fn slo(slo: &SloMillis) -> String {
    let e2el = slo.e2el_ms.map(|ms| format!(", E2EL {} ms", decimal(ms, 3))).unwrap_or_default();
    format!("TTFT {} ms, TPOT {} ms{e2el}", decimal(slo.ttft_ms, 3), decimal(slo.tpot_ms, 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::number;

    #[test]
    fn open_intervals_say_on_which_side_they_are_open() {
        let of = |lo, hi| interval(Interval { lo, hi }, number);
        assert_eq!(of(Some(3.1), Some(3.7)), "3.1 to 3.7");
        assert_eq!(of(Some(3.1), None), "from 3.1");
        assert_eq!(of(None, None), "");
    }
}
