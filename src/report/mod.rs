//! What people look at: runs put to a question, as figures, tables, CSV and words.
//!
//! Everything starts from a [`Study`]; every function here is one of it and gives the same bytes for the same runs.
//! Deliberately absent: printing (the command line does it), judging (`analyse` does it), and measuring.

pub mod console;
pub mod csv;
pub mod figures;
pub mod html;
pub mod inputs;
pub mod page;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(test)]
mod samples;
mod words;

use crate::analyse::{ArmInput, Comparison, Question};
use crate::record::RecordedRun;

/// Runs as they were recorded, as they were put to the judge, and what the judge said. The three lists have the same
/// order.
#[derive(Debug, Clone)]
pub struct Study {
    pub runs: Vec<RecordedRun>,
    pub arms: Vec<ArmInput>,
    pub question: Question,
    pub comparison: Comparison,
}

impl Study {
    /// One run alone, or arms against the first of them.
    pub fn new(runs: Vec<RecordedRun>, question: Question) -> Study {
        let labels = inputs::labels(&runs);
        let arms: Vec<ArmInput> = runs.iter().zip(labels).map(|(run, label)| inputs::arm(run, Some(label))).collect();
        let comparison = Comparison::new(&arms, &question);
        Study { runs, arms, question, comparison }
    }
}
