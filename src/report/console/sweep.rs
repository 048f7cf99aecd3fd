//! The points of one arm, one line each.

use super::{MISSING, Style, TableRow, Tint, or_missing, table};
use crate::analyse::percentiles::Distribution;
use crate::analyse::{ArmReport, Interval, StoppedPoint};
use crate::outcome::PointStatus;
use crate::report::{JudgedPoint, Study, inputs};
use crate::words;

/// A table of an arm's points, and below it why points are doubtful. Empty for an arm that isn't there.
pub fn sweep(study: &Study, arm: usize, style: Style) -> String {
    let Some(report) = study.comparison.arms.get(arm) else { return String::new() };
    let title = style.paint(&report.name, Tint::Bold);
    let closed = report.points.iter().any(|p| p.rate.in_flight().is_some());
    let samples = study.arms.get(arm).into_iter().flat_map(|arm| &arm.points).map(|point| point.samples.as_ref());
    let kind = if closed { ", closed loop" } else { inputs::loop_words(samples) };
    let goal = format!("{}, target {}{kind}", study.question.slo, study.question.target.percent());
    let mut text = format!("{title}: attainment of {goal}\n");
    let several = report.points.iter().any(|p| p.attempt > 1);
    let mut header = vec![
        if closed { "load" } else { "req/s" },
        "offered",
        "served",
        "attained %",
        "95 % CI",
        "TTFT %",
        "TPOT %",
        "SLO scale",
    ];
    header.extend(["TTFT ms p50/p90/p99", "TPOT ms p50/p90/p99", "valid"]);
    let rows = study.points(arm).map(|p| row(p, several, study)).collect();
    text.push_str(&table(header, rows, style));
    text.push_str(&doubts(report, style));
    text.push_str(&ended_early(report));
    text
}

/// Points without an attainment: all that is known is that they lie below the target.
fn ended_early(report: &ArmReport) -> String {
    let one = |p: &StoppedPoint| {
        let least = (100.0 * p.stop.missed_at_least()).floor();
        let (rate, after) = (words::rate(p.rate), p.stop.after_secs);
        format!(
            "  {rate} req/s was ended after {after:.0} s, below the target: {least} % or more of its requests miss\n"
        )
    };
    report.stopped.iter().map(one).collect()
}

fn row(JudgedPoint { report: p, summary, .. }: JudgedPoint<'_>, several: bool, study: &Study) -> TableRow {
    let rate = words::rate(p.rate);
    let met = p.attainment.both.is_some_and(|percent| percent >= study.question.target.percent().get());
    let percent = |x: Option<f64>| x.map_or("unknown".to_string(), |x| format!("{x:.1}"));
    let (valid, tint) = match (p.valid, p.status) {
        (_, PointStatus::Failed) => ("failed", Some(Tint::Bad)),
        (Some(false), _) => ("no", Some(Tint::Bad)),
        (_, PointStatus::Degraded) => ("degraded", Some(Tint::Doubtful)),
        (Some(true), _) => ("yes", met.then_some(Tint::Good)),
        (None, _) => ("?", met.then_some(Tint::Good)),
    };
    let cells = vec![
        if several { format!("{rate} ({})", p.attempt) } else { rate },
        p.offered.to_string(),
        p.served.to_string(),
        percent(p.attainment.both),
        percent_interval(p.ci95.both),
        percent(p.attainment.ttft),
        percent(p.attainment.tpot),
        or_missing(p.slo_scale, 2),
        triple(summary.latencies.ttft.as_ref(), 0),
        triple(summary.latencies.tpot.as_ref(), 1),
        valid.to_string(),
    ];
    TableRow { cells, tint }
}

fn percent_interval(ci: Interval) -> String {
    let end = |x: Option<f64>| x.map_or_else(|| "..".to_string(), |x| format!("{x:.1}"));
    format!("{}-{}", end(ci.lo), end(ci.hi))
}

fn triple(found: Option<&Distribution>, decimals: usize) -> String {
    let Some(found) = found else { return MISSING.to_string() };
    let values: Vec<String> = found.percentiles.iter().map(|(_, v)| format!("{:.decimals$}", v * 1e3)).collect();
    values.join("/")
}

fn doubts(report: &ArmReport, style: Style) -> String {
    let mut text = String::new();
    for p in &report.points {
        let (word, tint) = match (p.valid, p.status) {
            (Some(false), _) => ("is invalid", Tint::Bad),
            (_, PointStatus::Degraded) => ("is degraded", Tint::Doubtful),
            _ => continue,
        };
        let at = words::offered(p.rate);
        text.push_str(&format!("  {at} {}: {}\n", style.paint(word, tint), p.why.join("; ")));
    }
    text
}
