//! Percentiles of every latency over the rate.

use super::style::{self, ArmLook, RateUnit, dressed, latency_axis, limit_rule};
use crate::analyse::latencies::Latencies;
use crate::analyse::percentiles::Distribution;
use crate::analyse::{ArmReport, Samples};
use crate::draw::{Direction, Figure, Legend, Line, Panel, Point, Stroke};
use crate::record::RecordedRun;
use crate::report::{PERCENTILES, Study};
use crate::units::RequestRate;
use crate::words;

/// The percentile that is shown where there are many arms: what most targets are about.
const CROWDED: f64 = 90.0;

/// What one panel shows.
struct LatencyMetric {
    name: &'static str,
    pick: fn(&Latencies) -> Option<&Distribution>,
    /// Milliseconds.
    limit: Option<f64>,
}

/// An arm's latencies at each load, repeats together.
struct ArmLatencies<'a> {
    arm: &'a ArmReport,
    look: ArmLook,
    points: Vec<(f64, bool, Latencies)>,
}

/// TTFT, TPOT, ITL and E2EL at p50, p90 and p99, or at p90 alone where there are many arms. `None` if nothing was served.
pub fn percentiles(study: &Study) -> Option<Figure> {
    let unit = RateUnit::of(&study.comparison);
    let courses: Vec<ArmLatencies> =
        (0..).zip(dressed(study)).map(|(i, dressed)| course(study, i, dressed, unit)).collect();
    let slo = &study.question.slo;
    let metrics = [
        LatencyMetric { name: "TTFT", pick: |l| l.ttft.as_ref(), limit: Some(slo.ttft.as_millis()) },
        LatencyMetric { name: "TPOT", pick: |l| l.tpot.as_ref(), limit: Some(slo.tpot.as_millis()) },
        LatencyMetric { name: gap_name(&courses), pick: |l| l.itl.as_ref(), limit: None },
        LatencyMetric { name: "E2EL", pick: |l| l.e2el.as_ref(), limit: slo.e2el.map(|limit| limit.as_millis()) },
    ];
    let shown: &[f64] = if style::is_crowded(study) { &[CROWDED] } else { &PERCENTILES };
    let panels: Vec<Panel> = metrics.iter().filter_map(|metric| panel(metric, &courses, (unit, shown))).collect();
    let which = match shown {
        [one] => format!(" The p{one} of each arm; summary.csv has the others."),
        _ => String::new(),
    };
    let caption =
        format!("{} Latencies of served requests, counted from when a request was due.{which}", style::setting(study));
    let legend =
        Legend { columns: Some(3), extra: style::invalid_entry(study).into_iter().collect(), ..Legend::default() };
    let columns = if panels.len() == 3 { 3 } else { 2 };
    let figure = Figure::new(panels).in_columns(columns).sized(720.0, 170.0).captioned(caption).with_legend(legend);
    (!figure.panels.is_empty()).then(|| figure.titled(format!("Latency percentiles - {}", style::title(study))))
}

/// The gap between chunks of unknown size is no ITL.
fn gap_name(courses: &[ArmLatencies]) -> &'static str {
    let all = courses.iter().flat_map(|c| &c.points);
    if all.map(|(.., l)| l).filter(|l| l.itl.is_some()).all(|l| l.itl_per_token) { "ITL" } else { "Chunk latency" }
}

fn course<'a>(study: &Study, index: usize, (arm, look): (&'a ArmReport, ArmLook), unit: RateUnit) -> ArmLatencies<'a> {
    let points = arm.rates.iter().map(|r| r.rate).filter_map(|rate| {
        let hollow = arm.invalid_points().any(|p| p.rate == rate);
        Some((unit.place(arm, rate)?, hollow, latencies(study, index, rate)))
    });
    ArmLatencies { arm, look, points: points.collect() }
}

/// Of all requests at a rate, repeats together.
fn latencies(study: &Study, arm: usize, rate: RequestRate) -> Latencies {
    let mut repeats = study.points(arm).filter(|p| p.report.rate == rate);
    match (repeats.next(), repeats.next()) {
        (Some(only), None) => only.summary.latencies.clone(),
        _ => pooled(&study.runs[arm], rate),
    }
}

/// All requests at a rate, repeats together.
fn pooled(run: &RecordedRun, rate: RequestRate) -> Latencies {
    let points = run.points.iter().filter(|p| p.key.rate == rate);
    let repeats: Vec<&Samples> = points.map(|p| p.samples.as_ref()).collect();
    Latencies::pooled(&repeats, &PERCENTILES)
}

fn panel(metric: &LatencyMetric, courses: &[ArmLatencies], (unit, shown): (RateUnit, &[f64])) -> Option<Panel> {
    let value = |l: &Latencies, p: f64| {
        let found = (metric.pick)(l)?.percentiles.iter().find(|(q, _)| *q == p)?;
        Some(found.1 * 1e3)
    };
    let all = || courses.iter().flat_map(|c| &c.points);
    let values: Vec<f64> = all().flat_map(|(.., l)| shown.iter().map(|p| value(l, *p))).flatten().collect();
    if values.is_empty() {
        return None;
    }
    let axis = latency_axis(&format!("{} (ms)", metric.name), values.iter().copied());
    let mut panel = Panel::new(unit.axis(), axis);
    let highest = values.iter().copied().fold(0.0, f64::max);
    // A limit far above everything measured would squeeze the curves.
    if let Some(limit) = metric.limit.filter(|limit| *limit < 2.0 * highest) {
        panel = panel.with(limit_rule(limit, Direction::X, format!("limit {} ms", words::number(limit))));
    }
    for ArmLatencies { arm, look, points } in courses {
        let strokes = [Stroke::solid(look.color), Stroke::dashed(look.color), Stroke::dotted(look.color)];
        for (p, stroke) in shown.iter().copied().zip(strokes) {
            let points =
                points.iter().filter_map(|(x, hollow, l)| Some(Point { x: *x, y: value(l, p)?, hollow: *hollow }));
            panel = panel.with(Line::new(points, stroke).marked(look.shape).labelled(format!("{} p{p}", arm.name)));
        }
    }
    Some(panel)
}
