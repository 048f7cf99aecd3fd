//! The trade between users and owners: tokens a second that one user gets, against tokens a second that a GPU gives.

use super::style::{self, RateUnit, dressed};
use crate::analyse::summary::PointSummary;
use crate::draw::{Axis, Figure, Legend, Line, Panel, Point, Scatter, Spot, Stroke};
use crate::report::Study;
use crate::words;

/// Each load of a sweep as a place, repeats together; the line follows the rate. `None` if no TPOT is known.
pub fn pareto(study: &Study) -> Option<Figure> {
    let unit = RateUnit::of(&study.comparison);
    let label = if unit.is_per_gpu() { "Output tokens/s per GPU" } else { "Output tokens/s" };
    let mut panel = Panel::new(Axis::linear("Tokens/s per user (1 / median TPOT)"), Axis::linear(label).including(0.0));
    let mut places = 0;
    for (i, (arm, look)) in dressed(study).enumerate() {
        let found = style::repeats_together(study.points(i).filter_map(|p| {
            let (x, y) = trade(p.summary)?;
            Some((p.report.rate, Point { x, y: unit.of_arm(arm, y), hollow: p.report.valid == Some(false) }))
        }));
        places += found.len();
        let spots = found.iter().map(|(rate, point)| Spot { point: *point, text: Some(words::level(*rate)) });
        let spots = Scatter { spots: spots.collect(), shape: look.shape, color: look.color, label: None };
        let line = Line::new(found.iter().map(|(_, point)| *point), Stroke::solid(look.color));
        panel = panel.with(line.marked(look.shape).labelled(&arm.name)).with(spots);
    }
    let legend = Legend { extra: style::invalid_entry(study).into_iter().collect(), ..Legend::default() };
    let numbers = if unit.is_closed() { "requests in flight" } else { "offered req/s" };
    let caption = format!("{} Numbers at the points: {numbers}.", style::setting(study));
    let figure = Figure::new(vec![panel]).sized(520.0, 260.0).captioned(caption).with_legend(legend);
    (places > 0).then(|| figure.titled(format!("Throughput against interactivity - {}", style::title(study))))
}

/// (tokens/s of one user, tokens/s of the deployment).
fn trade(summary: &PointSummary) -> Option<(f64, f64)> {
    let tpot = summary.latencies.tpot.as_ref()?.median;
    Some((1.0 / tpot, summary.output_throughput?)).filter(|_| tpot > 0.0)
}
