//! Distributions of TTFT and TPOT at the rate of the scale panel.

use super::style::{self, ArmLook, DASHES, dressed, limit_rule, target_rule};
use crate::analyse::{ArmReport, Row, Samples};
use crate::draw::{Axis, Direction, Figure, Line, Panel, Stroke};
use crate::record::RecordedRun;
use crate::report::Study;
use crate::units::RequestRate;
use crate::words;

/// Steps of a distribution that are drawn.
const STEPS: usize = 800;

/// One arm's requests at the rate.
struct CdfArm<'a> {
    report: &'a ArmReport,
    look: ArmLook,
    repeats: Vec<&'a Samples>,
    offered: usize,
}

/// Shares of the requests *offered*: where requests failed, a curve ends below 100 %. `None` without a common rate, or
/// if nothing was served at it.
pub fn cdf(study: &Study) -> Option<Figure> {
    let rate = study.comparison.arms.iter().find_map(|arm| arm.scale.at_rate)?;
    let arms: Vec<CdfArm> =
        dressed(study).zip(&study.runs).map(|((report, look), run)| arm(report, look, run, rate)).collect();
    let slo = &study.question.slo;
    let ttft = |r: &Row| r.ttft.map(|t| t.as_millis());
    let tpot = |r: &Row| r.tpot.map(|t| t.as_millis());
    let panels: Vec<Panel> = [
        panel("TTFT", &arms, ttft, slo.ttft.as_millis(), study),
        panel("TPOT", &arms, tpot, slo.tpot.as_millis(), study),
    ]
    .into_iter()
    .flatten()
    .collect();
    let caption = format!(
        "{} At {}. Shares of the {} offered: a failed request never arrives.",
        style::setting(study),
        words::offered(rate),
        study.comparison.judged.counted()
    );
    let figure = Figure::new(panels).sized(720.0, 190.0).captioned(caption);
    (!figure.panels.is_empty()).then(|| figure.titled(format!("Latency distributions - {}", style::title(study))))
}

fn arm<'a>(report: &'a ArmReport, look: ArmLook, run: &'a RecordedRun, rate: RequestRate) -> CdfArm<'a> {
    let repeats = run.points.iter().filter(|p| p.key.rate == rate).map(|p| p.samples.as_ref()).collect();
    let offered = report.points.iter().filter(|p| p.rate == rate).map(|p| p.offered).sum();
    CdfArm { report, look, repeats, offered }
}

fn panel(name: &str, arms: &[CdfArm], pick: fn(&Row) -> Option<f64>, limit: f64, study: &Study) -> Option<Panel> {
    let columns: Vec<(&CdfArm, Vec<f64>)> = arms
        .iter()
        .map(|arm| {
            let mut values: Vec<f64> =
                arm.repeats.iter().flat_map(|s| s.rows()).filter_map(|r| pick(&r)).filter(|v| *v > 0.0).collect();
            values.sort_unstable_by(f64::total_cmp);
            (arm, values)
        })
        .filter(|(_, values)| !values.is_empty())
        .collect();
    let ends = columns.iter().filter_map(|(_, v)| Some((*v.first()?, *v.last()?)));
    let (low, high) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let share = Axis::linear(format!("Share of {}", study.comparison.judged.counted()))
        .fixed(0.0, 102.0)
        .ticks_at([0.0, 25.0, 50.0, 75.0, 100.0]);
    let mut panel = Panel::new(axis(&format!("{name} (ms)"), low, high), share.in_unit(" %")).with(target_rule(study));
    // A limit far off would squeeze the curves.
    if limit < 3.0 * high && limit > low / 3.0 {
        panel = panel.with(limit_rule(limit, Direction::Y, format!("limit {} ms", words::number(limit))));
    }
    for (i, (arm, values)) in columns.iter().enumerate() {
        let stroke = Stroke { dash: DASHES[i % DASHES.len()], ..Stroke::solid(arm.look.color) };
        panel = panel.with(Line::new(steps(values, arm.offered), stroke).stepped().labelled(&arm.report.name));
    }
    Some(panel)
}

/// Log over more than a factor of five, where linear would hide the short latencies.
fn axis(label: &str, low: f64, high: f64) -> Axis {
    if high > 5.0 * low { Axis::log(label) } else { Axis::linear(label) }
}

fn steps(sorted: &[f64], offered: usize) -> Vec<(f64, f64)> {
    let stride = sorted.len().div_ceil(STEPS).max(1);
    let share = |i: usize| 100.0 * (i + 1) as f64 / offered.max(sorted.len()) as f64;
    let mut points = vec![(sorted[0], 0.0)];
    points.extend(
        (0..sorted.len())
            .step_by(stride)
            .map(|i| (i + stride - 1).min(sorted.len() - 1))
            .map(|i| (sorted[i], share(i))),
    );
    points
}
