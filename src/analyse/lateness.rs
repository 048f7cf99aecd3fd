//! What the client's own lateness may have changed.
//!
//! Latency counts from when a request was due, so a late send makes its own request look slower by up to its lag, and no
//! other one. How many requests are doubtful for it follows by judging them both ways: a point is doubtful only if that
//! moves its attainment by more than [`NOTICED_POINTS`], or across the target.

use super::samples::Samples;
use crate::plan::slo::{Slo, Target};
use serde::Serialize;

/// Lag that no TTFT limit is tight enough to notice, seconds.
const LAG_FLOOR_SECS: f64 = 0.002;
/// Share of the TTFT limit that the client's own lag may take.
const LAG_SHARE: f64 = 0.02;
/// Attainment that moves by no more than this, in points, is known well enough.
const NOTICED_POINTS: f64 = 0.5;

/// Sends of the client that were late, and what attainment would be without their lag.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lateness {
    pub sends: usize,
    /// The latest of them.
    pub most_ms: f64,
    /// Percent of the requests offered that met every limit.
    #[serde(skip)]
    pub attainment: f64,
    /// The same with the lag of these sends taken off their latencies.
    pub attainment_less_lag: f64,
}

/// A lag up to this is no lateness.
pub(super) fn allowed_lag(slo: &Slo) -> f64 {
    (LAG_SHARE * slo.ttft.as_secs()).max(LAG_FLOOR_SECS)
}

impl Lateness {
    /// `None` where no send was late, or nothing tells.
    pub(super) fn of(samples: &Samples, slo: &Slo) -> Option<Lateness> {
        let (lags, allowed) = (samples.lag.as_ref()?, allowed_lag(slo));
        let (ttft, tpot) = (slo.ttft.as_secs(), slo.tpot.as_secs());
        let e2el = slo.e2el.map_or(f64::INFINITY, |limit| limit.as_secs());
        let meets = |i: usize, lag: f64| {
            samples.ttft[i] - lag <= ttft && samples.tpot[i] <= tpot && samples.e2el[i] - lag <= e2el
        };
        let (mut sends, mut most, mut met, mut met_less_lag) = (0, 0f64, 0u32, 0u32);
        for (i, lag) in lags.iter().enumerate() {
            // Never sent is another matter: that request was not served.
            let late = *lag > allowed && lag.is_finite() && !samples.excused[i];
            let lag = if late { *lag } else { 0.0 };
            sends += usize::from(late);
            most = most.max(lag);
            met += u32::from(meets(i, 0.0));
            met_less_lag += u32::from(meets(i, lag));
        }
        let percent = |met: u32| 100.0 * f64::from(met) / samples.len().max(1) as f64;
        (sends > 0).then(|| Lateness {
            sends,
            most_ms: 1e3 * most,
            attainment: percent(met),
            attainment_less_lag: percent(met_less_lag),
        })
    }

    /// Whether attainment is doubtful for it.
    pub fn matters(&self, target: Target) -> bool {
        let wanted = target.percent().get();
        let crosses = self.attainment < wanted && self.attainment_less_lag >= wanted;
        crosses || self.attainment_less_lag - self.attainment > NOTICED_POINTS
    }

    /// `2 sends were late, by 45.0 ms at most; attainment is the same without their lag`.
    pub fn told(&self) -> String {
        let sends = match self.sends {
            1 => format!("1 send was late, by {:.1} ms", self.most_ms),
            n => format!("{n} sends were late, by {:.1} ms at most", self.most_ms),
        };
        let effect = if self.attainment_less_lag > self.attainment {
            format!("would be {:.1} % and not {:.1} %", self.attainment_less_lag, self.attainment)
        } else {
            "is the same".to_string()
        };
        let whose = if self.sends == 1 { "its" } else { "their" };
        format!("{sends}; attainment {effect} without {whose} lag")
    }
}
