//! What a dataset is prepared for, and what became of its entries.

use crate::plan::load::Overlong;
use crate::units::TokenCount;
use serde::{Deserialize, Serialize};

/// What is known of the model when a workload is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PrepareContext {
    /// Context length; `None`: unknown, nothing is checked.
    pub max_model_len: Option<TokenCount>,
    /// What the server's chat template adds to every prompt, as far as it is known.
    pub template_tokens: u32,
    pub overlong: Overlong,
}

impl PrepareContext {
    /// Tokens that a prompt and its answer may have together.
    pub fn room(&self) -> u32 {
        self.max_model_len.map_or(u32::MAX, |all| all.get().saturating_sub(self.template_tokens))
    }
}

impl std::fmt::Display for PrepareContext {
    /// `512`, or `512, of which the chat template takes 9`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.max_model_len, self.template_tokens) {
            (None, _) => f.write_str("unknown length"),
            (Some(all), 0) => write!(f, "{all}"),
            (Some(all), template) => write!(f, "{all}, of which the chat template takes {template}"),
        }
    }
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
