//! Service-level objectives: the limits a request must keep, and the share of requests that must keep them.

use crate::units::{E2el, Percent, Tpot, Ttft};
use serde::{Deserialize, Serialize};

/// Limits that one request must keep together. DistServe's defaults: TTFT 125 ms, TPOT 200 ms (HumanEval row).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    pub ttft: Ttft,
    pub tpot: Tpot,
    /// Joins the conjunction only when given.
    pub e2el: Option<E2el>,
}

impl Default for Slo {
    fn default() -> Self {
        Slo { ttft: Ttft::from_millis(125.0), tpot: Tpot::from_millis(200.0), e2el: None }
    }
}

impl std::fmt::Display for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TTFT {}, TPOT {}", self.ttft, self.tpot)?;
        match self.e2el {
            Some(e2el) => write!(f, ", E2EL {e2el}"),
            None => Ok(()),
        }
    }
}

/// The share of offered requests that must meet the SLO: above 0, at most 100 %.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(Percent);

impl Target {
    /// `None` unless above 0 and at most 100.
    pub fn new(percent: f64) -> Option<Self> {
        Percent::new(percent).filter(|p| p.get() > 0.0).map(Target)
    }

    pub const fn percent(self) -> Percent {
        self.0
    }
}

impl Default for Target {
    fn default() -> Self {
        Target(Percent::new(90.0).unwrap_or_else(|| unreachable!("90 lies in 0..=100")))
    }
}
