//! Throughput and latencies of many runs over their loads.

use super::rows::AggregateRow;
use super::series::{LoadAxis, LoadSeries, series};
use crate::draw::{self, Figure, Legend, Line, Panel, Point, Stroke, marker, palette};

/// Lines of a figure at most: more can't be told apart.
const MOST_LINES: usize = 12;

/// Requests and output tokens a second. `None` where no row has a place.
pub fn throughput(rows: &[AggregateRow]) -> Option<Figure> {
    let panels = [
        panel(rows, "Served requests/s", &[("", |row| row.request_throughput)]),
        panel(rows, "Output tokens/s", &[("", |row| row.output_throughput)]),
    ];
    figure(rows, "Throughput", panels)
}

/// TTFT, TPOT and whole requests: means, and 99th percentiles dashed.
pub fn latency(rows: &[AggregateRow]) -> Option<Figure> {
    let panels = [
        panel(rows, "TTFT (ms)", &[(" mean", |row| row.mean_ttft_ms), (" p99", |row| row.p99_ttft_ms)]),
        panel(rows, "TPOT (ms)", &[(" mean", |row| row.mean_tpot_ms), (" p99", |row| row.p99_tpot_ms)]),
        panel(rows, "Whole request (ms)", &[(" mean", |row| row.mean_e2el_ms), (" p99", |row| row.p99_e2el_ms)]),
    ];
    figure(rows, "Latency", panels)
}

type PickColumn = fn(&AggregateRow) -> Option<f64>;

fn figure<const N: usize>(rows: &[AggregateRow], what: &str, panels: [Option<Panel>; N]) -> Option<Figure> {
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    if panels.is_empty() {
        return None;
    }
    let axis = LoadAxis::of(rows);
    let left_out = drawn(rows).len().saturating_sub(MOST_LINES);
    let mut caption = "Each point is a row of aggregate_results.csv; repeats of a load are averaged.".to_string();
    if left_out > 0 {
        caption.push_str(&format!(" The first {MOST_LINES} of {} lines.", left_out + MOST_LINES));
    }
    let elsewhere = rows.iter().filter(|row| axis.place(row).is_none()).count();
    if elsewhere > 0 {
        let others = match axis {
            LoadAxis::InFlight => "request rates",
            LoadAxis::Rate => "closed loops, or without a rate",
        };
        caption.push_str(&format!(" {elsewhere} of {} rows are of {others} and not drawn here.", rows.len()));
    }
    let title = format!("{what} over load{}", axis.kind());
    let legend = Legend { columns: Some(2), ..Legend::default() };
    let columns = panels.len().min(2);
    Some(
        Figure::new(panels)
            .in_columns(columns)
            .sized(760.0, 200.0)
            .titled(title)
            .captioned(caption)
            .with_legend(legend),
    )
}

/// Lines with a point.
fn drawn(rows: &[AggregateRow]) -> Vec<LoadSeries<'_>> {
    let axis = LoadAxis::of(rows);
    series(rows).into_iter().filter(|one| one.rows.iter().any(|row| axis.place(row).is_some())).collect()
}

fn panel(rows: &[AggregateRow], label: &str, lines: &[(&str, PickColumn)]) -> Option<Panel> {
    let axis = LoadAxis::of(rows);
    let mut panel =
        Panel::new(draw::Axis::linear(axis.label()).including(0.0), draw::Axis::linear(label).including(0.0));
    let mut placed = 0;
    for (i, one) in drawn(rows).iter().take(MOST_LINES).enumerate() {
        let strokes = [Stroke::solid(palette(i)), Stroke::dashed(palette(i))];
        for ((suffix, pick), stroke) in lines.iter().zip(strokes) {
            let points = points(one, axis, *pick);
            placed += points.len();
            panel = panel.with(Line::new(points, stroke).marked(marker(i)).labelled(format!("{}{suffix}", one.name)));
        }
    }
    (placed > 0).then_some(panel)
}

/// Repeats of a load are one point, their mean.
fn points(series: &LoadSeries<'_>, axis: LoadAxis, pick: PickColumn) -> Vec<Point> {
    let mut found: Vec<(f64, Vec<f64>, bool)> = Vec::new();
    for row in &series.rows {
        let Some((x, y)) = axis.place(row).zip(pick(row)) else { continue };
        let invalid = row.valid == Some(false);
        match found.last_mut().filter(|(same, ..)| *same == x) {
            Some((_, values, hollow)) => {
                values.push(y);
                *hollow |= invalid;
            }
            None => found.push((x, vec![y], invalid)),
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    found.into_iter().map(|(x, values, hollow)| Point { x, y: mean(&values), hollow }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(deployment: &str, level: u32, attempt: u32, requests: f64) -> AggregateRow {
        AggregateRow {
            deployment: deployment.to_string(),
            input_len: Some(256.0),
            output_len: Some(128.0),
            concurrency: Some(level),
            request_rate: Some(f64::INFINITY),
            attempt,
            request_throughput: Some(requests),
            mean_ttft_ms: Some(40.0),
            ..AggregateRow::default()
        }
    }

    #[test]
    fn repeats_are_averaged_and_closed_loops_are_called_so() {
        let rows = [row("simple TP2", 4, 1, 2.0), row("simple TP2", 1, 1, 1.0), row("simple TP2", 4, 2, 4.0)];
        let figure = throughput(&rows).expect("drawn");
        assert!(figure.title.contains("closed loop") && figure.panels[0].x.label.contains("closed loop"));
        let places = points(&series(&rows)[0], LoadAxis::InFlight, |row| row.request_throughput);
        assert_eq!(places.iter().map(|p| (p.x, p.y)).collect::<Vec<_>>(), [(1.0, 1.0), (4.0, 3.0)]);
        let svg = latency(&rows).expect("TTFT is there").draw().expect("draws").svg().expect("an SVG");
        assert!(svg.contains("TTFT (ms)") && !svg.contains("TPOT (ms)"), "a panel without points is left out");
        assert!(throughput(&[]).is_none());
    }

    #[test]
    fn a_table_of_rates_and_of_closed_loops_is_drawn_over_what_most_of_it_is_and_says_so() {
        let at_rate = AggregateRow { concurrency: None, request_rate: Some(2.0), ..row("other TP1", 1, 1, 1.5) };
        let rows = [row("simple TP2", 1, 1, 1.0), row("simple TP2", 4, 1, 2.0), at_rate];
        let figure = throughput(&rows).expect("drawn");
        assert!(figure.title.contains("closed loop"), "{}", figure.title);
        let svg = figure.draw().expect("draws").svg().expect("an SVG");
        assert!(!svg.contains("other TP1"), "a line without a point has no place in the legend");
        let limited = AggregateRow { request_rate: Some(2.0), ..row("simple TP2", 8, 1, 1.0) };
        assert_eq!((LoadAxis::Rate.place(&limited), LoadAxis::InFlight.place(&limited)), (Some(2.0), None));
    }
}
