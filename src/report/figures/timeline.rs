//! One point over time: what arrived, what was in flight, what engines and GPUs said.

use super::gauges::{GaugeSeries, Gauges};
use crate::analyse::{Row as Request, Samples};
use crate::draw::{
    Axis, Figure, Legend, LegendPlace, Line, MarkerShape, Panel, Point, Rgb, Scatter, Spot, Stroke, palette,
};
use crate::record::{RecordedPoint, RecordedRun};
use crate::report::inputs;
use crate::words;
use chrono::DateTime;

/// Bars of arrivals across the point, where a second each would be more.
const BINS: f64 = 120.0;
/// More spots than this are a cloud that costs and tells nothing.
const SPOTS: usize = 1500;
/// Across the requests in flight, each with a lowest and a highest level.
const COLUMNS: usize = 1500;

/// Arrivals, requests in flight, TTFT of each request, and the gauges that were recorded. `None` if nothing was sent,
/// or for imported files, whose points have no time zero.
pub fn timeline(run: &RecordedRun, point: &RecordedPoint) -> Option<Figure> {
    let facts = point.facts.as_ref()?;
    let samples = &point.samples;
    let end = recorded(samples).map(|r| r.end).fold(0.0, f64::max);
    if end <= 0.0 || samples.sent() == 0 {
        return None;
    }
    let gauges = Gauges::read(run, facts);
    let mut rows: Vec<Strip> = vec![arrivals(samples, end), in_flight(samples, end), ttfts(samples)];
    let percent = |axis: Axis| axis.fixed(0.0, 100.0).in_unit(" %");
    let gauge = |name: &str, series: &[GaugeSeries], hue| Strip {
        axis: Axis::linear(name).including(0.0),
        marks: lines(series, hue),
        scatter: None,
    };
    // Few requests are whole requests: no ticks at halves.
    let count = |row: Strip| Strip { axis: row.axis.including(5.0), ..row };
    rows.extend([count(gauge("Running", &gauges.running, 0)), count(gauge("Waiting", &gauges.waiting, 0))]);
    let kv = gauge("KV cache", &gauges.kv_usage, 0);
    rows.push(Strip { axis: percent(kv.axis), ..kv });
    rows.push(gauge("Power (W)", &gauges.power, 2));
    rows.retain(|row| !row.marks.is_empty() || row.scatter.is_some());
    let last = rows.len() - 1;
    let panels = rows.into_iter().enumerate().map(|(i, row)| panel(row, end, i == last)).collect();
    let size = inputs::size(run).map_or_else(String::new, |size| format!(" {size}"));
    let sessions = inputs::loop_words([samples.as_ref()]);
    let title = format!("{}{size} at {}{sessions}", run.mode, words::offered(point.key.rate));
    let legend = Legend { place: LegendPlace::Above, ..Legend::default() };
    let began = DateTime::parse_from_rfc3339(&facts.started_at);
    let mut told: Vec<String> =
        began.iter().map(|at| format!("Began {}", at.format("%Y-%m-%d %H:%M:%S %:z"))).collect();
    told.extend(inputs::dataset(run));
    told.extend(inputs::load_words(run));
    let caption = format!("{}. Gauges as engines and GPUs told them.", told.join(", "));
    let figure = Figure::new(panels).in_columns(1).sized(720.0, 240.0).titled(title).captioned(caption);
    Some(figure.with_legend(legend))
}

/// One quantity over the time that all share.
struct Strip {
    axis: Axis,
    marks: Vec<Line>,
    scatter: Option<Scatter>,
}

fn panel(row: Strip, end: f64, last: bool) -> Panel {
    let x = if last { Axis::linear("Seconds since the point began") } else { Axis::linear("").bare() };
    let mut panel = Panel::new(x.fixed(0.0, end), row.axis).weighing(0.32);
    for line in row.marks {
        panel = panel.with(line);
    }
    match row.scatter {
        Some(scatter) => panel.with(scatter),
        None => panel,
    }
}

fn recorded(samples: &Samples) -> impl Iterator<Item = Request> + '_ {
    samples.rows().filter(Request::is_recorded)
}

fn arrivals(samples: &Samples, end: f64) -> Strip {
    let width = (end / BINS).max(1.0);
    let bins = (end / width).ceil().max(1.0) as usize;
    let per_second = |times: &mut dyn Iterator<Item = f64>| -> Vec<(f64, f64)> {
        let mut counts = vec![0.0; bins];
        times.for_each(|t| counts[((t / width) as usize).min(bins - 1)] += 1.0 / width);
        let mut steps: Vec<(f64, f64)> = counts.iter().enumerate().map(|(i, n)| (i as f64 * width, *n)).collect();
        steps.push((end, counts[bins - 1]));
        steps
    };
    let due = per_second(&mut recorded(samples).map(|r| r.due));
    let done = per_second(&mut recorded(samples).filter(Request::served).map(|r| r.end));
    let line = |points, stroke, label| Line::new::<(f64, f64)>(points, stroke).stepped().labelled(label);
    Strip {
        axis: Axis::linear("Requests/s").including(0.0),
        marks: vec![
            line(due, Stroke::thin(palette(7), 1.2), "due"),
            line(done, Stroke::thin(Rgb::BLACK, 1.2), "answered"),
        ],
        scatter: None,
    }
}

fn in_flight(samples: &Samples, end: f64) -> Strip {
    let mut changes: Vec<(f64, f64)> = recorded(samples)
        .filter_map(|r| Some((r.sent?, r.end)))
        .flat_map(|(sent, end)| [(sent, 1.0), (end, -1.0)])
        .collect();
    changes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut level = 0.0;
    let mut steps = vec![(0.0, 0.0)];
    for (at, change) in changes {
        level += change;
        steps.push((at, level));
    }
    let line = Line::new(thinned(steps, end), Stroke::thin(Rgb::BLACK, 1.0)).stepped();
    Strip { axis: Axis::linear("In flight").including(0.0), marks: vec![line], scatter: None }
}

/// More steps than the paper has room for become the lowest and the highest of each column.
fn thinned(steps: Vec<(f64, f64)>, end: f64) -> Vec<(f64, f64)> {
    if steps.len() <= 2 * COLUMNS {
        return steps;
    }
    let column = |at: f64| ((at / end * COLUMNS as f64) as usize).min(COLUMNS - 1);
    let ends = |within: &[(f64, f64)]| {
        let by_level = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (within.iter().min_by(by_level).copied(), within.iter().max_by(by_level).copied());
        let mut both: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
        both.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        both
    };
    steps.chunk_by(|a, b| column(a.0) == column(b.0)).flat_map(ends).collect()
}

fn ttfts(samples: &Samples) -> Strip {
    let served: Vec<(f64, f64)> = samples.rows().filter_map(|r| Some((r.due, r.ttft?.as_millis()))).collect();
    let stride = served.len().div_ceil(SPOTS).max(1);
    let spots = served.iter().step_by(stride).map(|&(x, y)| Spot { point: Point::new(x, y), text: None });
    let scatter = Scatter { spots: spots.collect(), shape: MarkerShape::Circle, color: Rgb::GREY, label: None };
    let scatter = (!served.is_empty()).then_some(scatter);
    Strip { axis: Axis::linear("TTFT (ms)").including(0.0), marks: Vec::new(), scatter }
}

/// In an order that every row shares; red and blue stay the arms'.
fn lines(series: &[GaugeSeries], hue: usize) -> Vec<Line> {
    let line = |(i, s): (usize, &GaugeSeries)| {
        Line::new(s.points.iter().copied(), Stroke::thin(palette(2 + (hue + i) % 6), 1.3)).labelled(&s.name)
    };
    series.iter().enumerate().map(line).collect()
}
