//! What may be claimed of two arms, and on what ground.

use super::goodput::GoodputRatio;
use super::interval::Interval;
use crate::units::RequestRate;
use serde::Serialize;

/// The ground of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// The interval of the ratio of the crossings lies on one side of 1.
    Crossing,
    /// At rates that both arms were offered, one of them meets the limits for more of the requests.
    AttainmentAtCommonRates,
    /// In closed loops with as many in flight, one of them answers more requests a second within the limits.
    GoodputAtCommonLevels,
    None,
}

/// The difference that a ratio may claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    pub kind: ClaimKind,
    pub text: String,
    /// Position of the better arm; `None` without a claim.
    #[serde(skip)]
    pub better: Option<usize>,
}

/// Attainment of arm `b` less that of arm `a` at a rate that both were offered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CommonRate {
    pub rate: RequestRate,
    /// Percentage points.
    pub difference: f64,
    /// Clustered, and paired where both answered the same trace; for this rate alone.
    pub ci95: Interval,
    /// Whether the difference may be claimed beside everything else that the comparison could claim.
    pub claimed: bool,
    /// Of a closed loop: requests a second within the limits, of `b` over `a`, per GPU where both have GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputRatio>,
    /// By itself, two-sided.
    #[serde(skip)]
    pub p: f64,
}

impl CommonRate {
    pub(super) fn goodput(&self) -> Option<&GoodputRatio> {
        self.goodput.as_ref()
    }
}
