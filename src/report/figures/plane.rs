//! Which arm sustains the higher rate, for every pair of limits: the winner depends on what is asked.

use super::style::{self, RateUnit, looks};
use crate::analyse::crossing::{Crossing, crossing};
use crate::analyse::percentiles::quantile;
use crate::analyse::{ArmInput, ArmReport, PointAttainment, PointInput, Row};
use crate::draw::{Axis, Cell, Cells, ColorKey, Figure, Panel, Ramp};
use crate::plan::slo::Slo;
use crate::record::RecordedRun;
use crate::report::Study;
use crate::units::{Tpot, Ttft};
use crate::words;

/// Limits on either side, beside the SLO's own.
const LIMITS: usize = 6;
/// Ratios beyond it take the end's colour.
const OCTAVES: f64 = 2.0;

/// A map for each arm against the first. `None` for one arm alone, or where nothing was served.
pub fn plane(study: &Study) -> Option<Figure> {
    let unit = RateUnit::of(&study.comparison);
    let slo = study.question.slo;
    let ttfts = limits(&study.runs, |r| r.ttft.map(|t| t.as_millis()), slo.ttft.as_millis())?;
    let tpots = limits(&study.runs, |r| r.tpot.map(|t| t.as_millis()), slo.tpot.as_millis())?;
    let others = study.comparison.arms.get(1..).filter(|others| !others.is_empty())?;
    let panels: Vec<Panel> = (1..=others.len()).map(|b| panel(study, b, &ttfts, &tpots)).collect();
    let per = match (unit.is_closed(), unit.is_per_gpu()) {
        (true, _) => "number in flight",
        (false, true) => "rate per GPU",
        (false, false) => "rate",
    };
    let first = &study.comparison.arms[0].name;
    let over = if style::is_crowded(study) { format!(" with that of {first}") } else { String::new() };
    let caption = format!(
        "{} Each cell compares the highest {per} that meets the target under its limits{over}. > and <: one arm's lies \
         outside what was tested, the bound is given. both: both meet the target at every load tested; none: neither \
         does at any. Without intervals: read single cells with care.",
        style::setting(study)
    );
    let (columns, width) = if panels.len() == 1 { (1, 520.0) } else { (2, 860.0) };
    let figure = Figure::new(panels).in_columns(columns).sized(width, 230.0).captioned(caption);
    Some(figure.titled(format!("SLO plane - {}", style::title(study))))
}

/// Limits that spread over what was measured, and the SLO's own, ascending, in ms.
fn limits(runs: &[RecordedRun], pick: fn(&Row) -> Option<f64>, own: f64) -> Option<Vec<f64>> {
    let rows = runs.iter().flat_map(|run| &run.points).flat_map(|p| p.samples.rows());
    let mut values: Vec<f64> = rows.filter_map(|row| pick(&row)).filter(|v| *v > 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = (quantile(&values, 0.35)?, quantile(&values, 0.995)? * 1.2);
    let step = (high / low).powf(1.0 / (LIMITS - 1) as f64);
    let mut all: Vec<f64> = (0..LIMITS).map(|i| two_digits(low * step.powi(i as i32))).collect();
    all.push(own);
    all.sort_unstable_by(f64::total_cmp);
    // Limits that differ by less than a twentieth are one, and the SLO's own is the one to keep.
    all.dedup_by(|next, kept| {
        let same = *next < *kept * 1.05;
        if same && *next == own {
            *kept = own;
        }
        same
    });
    Some(all)
}

fn two_digits(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor() - 1.0);
    let rounded = (x / unit).round() * unit;
    // 0.1 steps leave dust behind the second digit.
    (rounded * 1e6).round() / 1e6
}

fn panel(study: &Study, b: usize, ttfts: &[f64], tpots: &[f64]) -> Panel {
    let (first, other) = (&study.comparison.arms[0], &study.comparison.arms[b]);
    let looks = looks(&study.arms);
    let ramp =
        Ramp::Diverging { low: -OCTAVES, middle: 0.0, high: OCTAVES, below: looks[0].color, above: looks[b].color };
    let unit = RateUnit::of(&study.comparison);
    let mut cells = Vec::new();
    for (column, ttft) in ttfts.iter().enumerate() {
        for (row, tpot) in tpots.iter().enumerate() {
            let slo = Slo { ttft: Ttft::from_millis(*ttft), tpot: Tpot::from_millis(*tpot), ..study.question.slo };
            let sustained = |at: usize, arm: &ArmReport| sustained(&study.arms[at], arm, &slo, study, unit);
            let (value, text) = duel(sustained(0, first), sustained(b, other));
            cells.push(Cell { column, row, value, text });
        }
    }
    let names = |limits: &[f64], own: f64| -> Vec<String> {
        let name = |l: &f64| if *l == own { format!("{} (SLO)", words::number(*l)) } else { words::number(*l) };
        limits.iter().map(name).collect()
    };
    let own = &study.question.slo;
    let ticks = [(-2.0, "1/4×"), (-1.0, "1/2×"), (0.0, "1×"), (1.0, "2×"), (2.0, "4×")];
    let key = ColorKey {
        label: match style::is_crowded(study) {
            true => other.name.clone(),
            false => format!("{} over {}", other.name, first.name),
        },
        ticks: ticks.map(|(value, text)| (value, text.to_string())).to_vec(),
    };
    Panel::new(
        Axis::categories("TTFT limit (ms)", names(ttfts, own.ttft.as_millis())),
        Axis::categories("TPOT limit (ms)", names(tpots, own.tpot.as_millis())),
    )
    .with(Cells { cells, ramp, key: Some(key) })
}

/// The highest rate that meets the target, as far as the rates tested tell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sustained {
    At(f64),
    /// More than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    Unknown,
}

fn sustained(input: &ArmInput, arm: &ArmReport, slo: &Slo, study: &Study, unit: RateUnit) -> Sustained {
    let curve: Vec<(f64, f64)> = arm
        .rates
        .iter()
        .filter_map(|r| {
            let at = unit.place(arm, r.rate)?;
            let repeats = input.points.iter().filter(|p| p.rate == r.rate);
            let each = repeats.filter_map(|p: &PointInput| PointAttainment::of(&p.samples, slo));
            Some((at, each.reduce(PointAttainment::pooled)?.both.percent()))
        })
        .collect();
    let (Some(lowest), Some(highest)) = (curve.first(), curve.last()) else { return Sustained::Unknown };
    match crossing(&curve, study.question.target.percent().get()) {
        Some(Crossing::AboveTested) => Sustained::Above(highest.0),
        Some(Crossing::BelowTested) => Sustained::Below(lowest.0),
        Some(found) => found.first().map_or(Sustained::Unknown, |rate| Sustained::At(rate.per_second())),
        None => Sustained::Unknown,
    }
}

/// log2 of b's rate over a's, and its words.
fn duel(a: Sustained, b: Sustained) -> (Option<f64>, String) {
    use Sustained::{Above, At, Below, Unknown};
    let said = |ratio: f64, mark: &str| {
        // A bound on the wrong side of 1 names no winner.
        let open = (mark == ">" && ratio < 1.0) || (mark == "<" && ratio > 1.0);
        let told = if ratio < 0.005 { "<0.01".to_string() } else { format!("{mark}{}", words::decimal(ratio, 2)) };
        ((!open).then(|| ratio.log2()), format!("{told}×"))
    };
    match (a, b) {
        (At(a), At(b)) => said(b / a, ""),
        (At(a) | Below(a), Above(b)) | (Below(a), At(b)) => said(b / a, ">"),
        (Above(a), At(b) | Below(b)) | (At(a), Below(b)) => said(b / a, "<"),
        (Above(_), Above(_)) => (None, "both".to_string()),
        (Below(_), Below(_)) => (None, "none".to_string()),
        (Unknown, _) | (_, Unknown) => (None, "?".to_string()),
    }
}
