//! What came out against what was offered.

use super::style::{self, DASHES, RateUnit, dressed};
use crate::analyse::ArmReport;
use crate::analyse::summary::PointSummary;
use crate::draw::{Axis, Figure, Legend, Line, Panel, Point, Rgb, Stroke};
use crate::report::Study;

/// Requests and output tokens a second over the rate. `None` if nothing was served.
pub fn throughput(study: &Study) -> Option<Figure> {
    let unit = RateUnit::of(&study.comparison);
    let per = if unit.is_per_gpu() { " per GPU" } else { "" };
    let axis = |what: &str| Axis::linear(format!("{what}{per}")).including(0.0);
    let mut requests = Panel::new(unit.axis(), axis("Served requests/s")).titled("Requests");
    let mut tokens = Panel::new(unit.axis(), axis("Output tokens/s")).titled("Output tokens");
    let mut highest = 0.0f64;
    for (i, (arm, look)) in dressed(study).enumerate() {
        let served = points(study, i, (arm, unit), |s| s.request_throughput);
        let output = points(study, i, (arm, unit), |s| s.output_throughput);
        highest = served.iter().map(|p| p.x).fold(highest, f64::max);
        let stroke = Stroke { dash: DASHES[i % DASHES.len()], ..Stroke::solid(look.color) };
        let line = |points| Line::new(points, stroke).marked(look.shape).labelled(&arm.name);
        requests = requests.with(line(served));
        tokens = tokens.with(line(output));
    }
    if highest <= 0.0 {
        return None;
    }
    // A closed loop offers what is answered.
    if !unit.is_closed() {
        let even = Stroke { width: 1.0, ..Stroke::dashed(Rgb::GREY) };
        requests = requests.with(Line::new([(0.0, 0.0), (highest, highest)], even).labelled("as fast as offered"));
    }
    let legend = Legend { extra: style::invalid_entry(study).into_iter().collect(), ..Legend::default() };
    let short = match unit.is_closed() {
        true => "towards its end fewer requests are in flight, which keeps short points low.",
        false => {
            "the last answers keep short points below the line, and a draw of arrivals may be faster than its rate."
        }
    };
    let caption = format!(
        "{} Over the whole point, from the first request due to the last answer: {short}",
        style::setting(study)
    );
    let title = format!("Throughput - {}", style::title(study));
    Some(Figure::new(vec![requests, tokens]).sized(720.0, 190.0).titled(title).captioned(caption).with_legend(legend))
}

fn points(
    study: &Study,
    index: usize,
    (arm, unit): (&ArmReport, RateUnit),
    pick: fn(&PointSummary) -> Option<f64>,
) -> Vec<Point> {
    let served = study.points(index).filter(|p| p.report.served > 0);
    let each = served.filter_map(|p| {
        let (x, value) = (unit.place(arm, p.report.rate)?, pick(p.summary)?);
        Some((p.report.rate, Point { x, y: unit.of_arm(arm, value), hollow: p.report.valid == Some(false) }))
    });
    style::repeats_together(each).into_iter().map(|(_, point)| point).collect()
}
