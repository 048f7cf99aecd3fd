//! What a dataset is prepared for, and what became of its entries.

use crate::plan::load::Overlong;
use crate::units::TokenCount;

/// What is known of the model when a workload is prepared.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrepareContext {
    /// Context length; `None`: unknown, nothing is checked.
    pub max_model_len: Option<TokenCount>,
    pub overlong: Overlong,
}

/// What became of the dataset's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrepareReport {
    pub candidates: usize,
    /// Shorter than the dataset's minimum.
    pub too_short: usize,
    /// Longer than the dataset's maximum.
    pub too_long: usize,
    /// Beyond the model's context and shortened.
    pub clipped: usize,
    /// Beyond the model's context and left out.
    pub skipped: usize,
}

impl std::fmt::Display for PrepareReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PrepareReport { candidates, too_short, too_long, clipped, skipped } = self;
        write!(
            f,
            "{candidates} entries: {too_short} too short, {too_long} too long, {clipped} clipped to the context, {skipped} skipped for it"
        )
    }
}
