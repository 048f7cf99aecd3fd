//! What a page is made from, and why there may be none.

use crate::analyse::summary::PointSummary;
use crate::analyse::{ArmInput, Comparison};
use crate::draw::{DrawError, Drawing};
use crate::record::RecordedRun;

/// What one page tells of.
#[derive(Debug, Clone, Copy)]
pub struct PageInput<'a> {
    pub title: &'a str,
    /// Of two arms or more, or of one run alone: then there are no ratios.
    pub comparison: &'a Comparison,
    /// In the comparison's order.
    pub arms: &'a [ArmPage<'a>],
    pub figures: &'a [PageFigure<'a>],
    /// The command line that made this report; empty where there was none.
    pub command: &'a [String],
    /// Any form; it is shown as it stands.
    pub generated_at: &'a str,
    /// What lies beside the page, and what it is.
    pub files: &'a [PageFile<'a>],
}

/// One arm: the run as it was recorded, and as it was judged.
#[derive(Debug, Clone, Copy)]
pub struct ArmPage<'a> {
    pub run: &'a RecordedRun,
    pub input: &'a ArmInput,
    /// Of the input's points, in their order, with the report's percentiles.
    pub summaries: &'a [PointSummary],
}

/// A figure to be shown as it was drawn.
#[derive(Debug, Clone, Copy)]
pub struct PageFigure<'a> {
    /// Anchor within the page: letters, digits and `-`; unique.
    pub id: &'a str,
    pub title: &'a str,
    pub drawing: &'a Drawing,
}

/// A file worth knowing of.
#[derive(Debug, Clone, Copy)]
pub struct PageFile<'a> {
    pub path: &'a str,
    pub what: &'a str,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    #[error(
        "the comparison has {compared} arms and {given} runs were given: a page needs the run of every arm, in order"
    )]
    Arms { compared: usize, given: usize },
    #[error(
        "{arm} was judged at {rate} req/s (attempt {attempt}) with {judged} requests, and its run holds {recorded}: \
         judge the run as it is recorded now"
    )]
    Stale { arm: String, rate: String, attempt: u32, judged: usize, recorded: usize },
    #[error("the font of the figures can't be embedded in the page: {0}")]
    Font(#[from] DrawError),
    #[error("the page's data can't be written: {0}")]
    Data(#[from] serde_json::Error),
    #[error("the page can't be laid out: {0}")]
    Layout(#[from] askama::Error),
}
