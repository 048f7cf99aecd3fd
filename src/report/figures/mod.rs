//! What is drawn of a study, figure by figure, and the files it becomes.
//!
//! A builder returns `None` where there is nothing to draw: an empty frame would look like a result.

mod pair;
mod style;
mod write;

pub use pair::pair;
pub use write::{FigureError, render, write_comparison, write_run};

use super::Study;
use crate::draw::Figure;

/// A figure with the name of its files.
#[derive(Debug, Clone)]
pub struct Named {
    pub name: String,
    pub figure: Figure,
}

/// Everything that can be drawn of arms against each other, the pair first.
pub fn of_comparison(study: &Study) -> Vec<Named> {
    let builders: [(&str, fn(&Study) -> Option<Figure>); 1] = [("vllm_comparison_plots", pair)];
    named(builders, study)
}

/// Everything that can be drawn of one run, the pair first; a timeline for each point.
pub fn of_run(study: &Study) -> Vec<Named> {
    let builders: [(&str, fn(&Study) -> Option<Figure>); 1] = [("vllm_benchmark_plots", pair)];
    named(builders, study)
}

fn named<const N: usize>(builders: [(&str, fn(&Study) -> Option<Figure>); N], study: &Study) -> Vec<Named> {
    let draw = |(name, build): (&str, fn(&Study) -> Option<Figure>)| {
        build(study).map(|figure| Named { name: name.to_string(), figure })
    };
    builders.into_iter().filter_map(draw).collect()
}

#[cfg(test)]
mod tests;
