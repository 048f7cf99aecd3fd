//! What is drawn of a study, figure by figure, and the files it becomes.
//!
//! A builder returns `None` where there is nothing to draw: an empty frame would look like a result.

mod breakdown;
mod cdf;
mod gauges;
mod pair;
mod pareto;
mod percentiles;
mod plane;
mod style;
mod throughput;
mod timeline;
mod write;

pub use breakdown::breakdown;
pub use cdf::cdf;
pub use pair::pair;
pub use pareto::pareto;
pub use percentiles::percentiles;
pub use plane::plane;
pub(super) use style::subject;
pub use throughput::throughput;
pub use timeline::timeline;
pub use write::{Drawn, FigureError, Written, draw, write};

use super::Study;
use crate::draw::Figure;

/// A figure with the name of its files.
#[derive(Debug, Clone)]
pub struct Named {
    pub name: String,
    pub figure: Figure,
}

type Builder = fn(&Study) -> Option<Figure>;

/// The figures that answer the question, by the names of their files.
pub const COMPARISON: &str = "vllm_comparison_plots";
const RUN: &str = "vllm_benchmark_plots";

/// Everything that can be drawn of arms against each other, the pair first.
pub fn of_comparison(study: &Study) -> Vec<Named> {
    let builders: [(&str, Builder); 7] = [
        (COMPARISON, pair),
        ("latency_percentiles", percentiles),
        ("latency_distributions", cdf),
        ("time_breakdown", breakdown),
        ("slo_plane", plane),
        ("throughput_pareto", pareto),
        ("throughput", throughput),
    ];
    named(builders, study)
}

/// Everything that can be drawn of one run, the pair first; a timeline for each point.
pub fn of_run(study: &Study) -> Vec<Named> {
    let builders: [(&str, Builder); 6] = [
        (RUN, pair),
        ("latency_percentiles", percentiles),
        ("latency_distributions", cdf),
        ("time_breakdown", breakdown),
        ("throughput_pareto", pareto),
        ("throughput", throughput),
    ];
    let mut all = named(builders, study);
    for run in &study.runs {
        for point in &run.points {
            let load = match point.key.rate.in_flight() {
                Some(n) => format!("concurrency{n}"),
                None => format!("{}qps", point.key.rate),
            };
            let name = format!("timeline_{load}_{}", point.key.attempt);
            all.extend(timeline(run, point).map(|figure| Named { name, figure }));
        }
    }
    all
}

fn named<const N: usize>(builders: [(&str, Builder); N], study: &Study) -> Vec<Named> {
    let draw = |(name, build): (&str, Builder)| build(study).map(|figure| Named { name: name.to_string(), figure });
    builders.into_iter().filter_map(draw).collect()
}

#[cfg(test)]
mod tests;
