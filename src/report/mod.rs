//! What people look at: runs put to a question, as figures, tables, CSV and words.
//!
//! Everything starts from a [`Study`]; every function here is one of it and gives the same bytes for the same runs.
//! Deliberately absent: printing (the command line does it), judging (`analyse` does it), and measuring.

pub mod aggregate;
pub mod console;
pub mod csv;
pub mod decision;
pub mod figures;
pub mod gpus;
pub mod html;
mod hues;
pub mod inputs;
pub mod kept;
pub mod page;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod race;
#[cfg(test)]
mod samples;
mod why;

use crate::analyse::summary::PointSummary;
use crate::analyse::{ArmInput, Comparison, PointInput, PointReport, Question};
use crate::record::RecordedRun;

/// Percentiles that tables and figures show.
pub const PERCENTILES: [f64; 3] = [50.0, 90.0, 99.0];

/// Runs as they were recorded, as they were put to the judge, and what the judge said. The lists have the same order.
#[derive(Debug, Clone)]
pub struct Study {
    pub runs: Vec<RecordedRun>,
    pub arms: Vec<ArmInput>,
    /// Of every point of `arms`, in their order. Every table and half of the figures want them, and each sorts all gaps
    /// between tokens.
    pub summaries: Vec<Vec<PointSummary>>,
    pub question: Question,
    pub comparison: Comparison,
}

/// One point of one arm: what was measured, its summary, what the judge said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JudgedPoint<'a> {
    pub(crate) report: &'a PointReport,
    pub(crate) input: &'a PointInput,
    pub(crate) summary: &'a PointSummary,
}

/// An arm's points in the order of their reports.
pub(crate) fn points<'a>(
    reports: &'a [PointReport],
    input: &'a ArmInput,
    summaries: &'a [PointSummary],
) -> impl Iterator<Item = JudgedPoint<'a>> {
    reports.iter().filter_map(move |report| {
        let same = |p: &PointInput| p.rate == report.rate && p.attempt == report.attempt;
        let at = input.points.iter().position(same)?;
        Some(JudgedPoint { report, input: &input.points[at], summary: summaries.get(at)? })
    })
}

impl Study {
    /// One run alone, or arms against the first of them.
    pub fn new(runs: Vec<RecordedRun>, question: Question) -> Study {
        let labels = inputs::labels(&runs);
        let arms: Vec<ArmInput> = runs.iter().zip(labels).map(|(run, label)| inputs::arm(run, Some(label))).collect();
        let comparison = Comparison::new(&arms, &question);
        let summaries = arms.iter().map(|arm| arm.points.iter().map(|p| summary_of(p, &PERCENTILES)).collect());
        Study { summaries: summaries.collect(), runs, arms, question, comparison }
    }

    /// Points of the arm at this position; none if there is no such arm.
    pub(crate) fn points(&self, arm: usize) -> impl Iterator<Item = JudgedPoint<'_>> {
        let found = self.comparison.arms.get(arm).zip(self.arms.get(arm)).zip(self.summaries.get(arm));
        found.into_iter().flat_map(|((report, input), summaries)| points(&report.points, input, summaries))
    }
}

/// A point in numbers over its duration.
pub fn summary_of(point: &PointInput, percentiles: &[f64]) -> PointSummary {
    PointSummary::of(&point.samples, point.duration_secs, percentiles)
}
