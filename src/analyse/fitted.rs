//! Where the curve that is fitted to all points crosses the target.

use super::interval::Interval;
use serde::Serialize;

/// A crossing, or a ratio of crossings, by the fitted curves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fitted {
    /// `None` where the curve does not cross the target near the rates tested.
    pub value: Option<f64>,
    pub ci95: Interval,
}
