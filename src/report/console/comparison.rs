//! Arms side by side, what may be concluded, and what to mind.

use super::{MISSING, Style, TableRow, Tint, energy, sweep, table, why};
use crate::analyse::{ArmReport, Censored, CommonRate, Interval, Ratio, RatioReport};
use crate::report::Study;
use crate::words;

/// Every arm's sweep, the arms side by side, the verdict and the warnings.
pub fn comparison(study: &Study, style: Style) -> String {
    let mut text = String::new();
    for arm in 0..study.arms.len() {
        text.push_str(&sweep(study, arm, style));
        text.push('\n');
    }
    let why = why(study, style);
    if !why.is_empty() {
        text.push_str(&format!("{why}\n"));
    }
    text.push_str(&side_by_side(study, style));
    text.push_str(&format!("\n{}\n", style.paint(&study.comparison.verdict, Tint::Bold)));
    text.push_str(&energy(study, style));
    for warning in &study.comparison.warnings {
        text.push_str(&format!("{} {warning}\n", style.paint("warning:", Tint::Doubtful)));
    }
    text
}

fn side_by_side(study: &Study, style: Style) -> String {
    let arms = &study.comparison.arms;
    let title = style.paint("Highest rate and tightest SLO that meet the target", Tint::Bold);
    let scale = match arms.iter().find_map(|arm| arm.scale.at_rate) {
        Some(rate) => format!("SLO scale at {}", words::offered(rate)),
        None => "SLO scale".to_string(),
    };
    let header = ["arm", "GPUs", "req/s", "95 % CI", "per GPU", &scale, "95 % CI"];
    let rows = arms.iter().map(|arm| TableRow::from(arm_row(arm))).collect();
    let mut text = format!("{title}\n{}", table(header, rows, style));
    if let Some(first) = arms.first().filter(|_| !study.comparison.ratios.is_empty()) {
        let over = format!("over {}", first.name);
        let header = [&over, "req/s", "95 % CI", "per GPU", "95 % CI", "tighter SLO", "95 % CI"];
        let rows = study.comparison.ratios.iter().map(|r| TableRow::from(ratio_row(r, arms))).collect();
        text.push('\n');
        text.push_str(&table(header, rows, style));
    }
    text.push_str(&closed_loops(study, style));
    text
}

/// What arms do with as many in flight; nothing where no closed loop is common.
fn closed_loops(study: &Study, style: Style) -> String {
    let ratios = study.comparison.ratios.iter();
    let all = ratios.flat_map(|ratio| ratio.at_common_rates.iter().map(move |level| (ratio, level)));
    let row = |(ratio, level): (&RatioReport, &CommonRate)| {
        let goodput = level.goodput?;
        Some(TableRow::from(vec![
            study.comparison.arms[ratio.b].name.clone(),
            words::level(level.rate),
            goodput.value.map_or_else(|| MISSING.to_string(), |value| format!("{value:.2}x")),
            interval(goodput.ci95),
            format!("{:+.1}", level.difference),
            points(level.ci95),
        ]))
    };
    let rows: Vec<TableRow> = all.filter_map(row).collect();
    let Some(first) = study.comparison.arms.first().filter(|_| !rows.is_empty()) else { return String::new() };
    let over = format!("over {}", first.name);
    let header = [&over, "in flight", "answers/s within the limits", "95 % CI", "points more that met", "95 % CI"];
    format!("\n{}", table(header, rows, style))
}

/// `-3.1 to +4.0`
fn points(ci: Interval) -> String {
    match (ci.lo, ci.hi) {
        (Some(lo), Some(hi)) => format!("{lo:+.1} to {hi:+.1}"),
        _ => "-".to_string(),
    }
}

fn arm_row(arm: &ArmReport) -> Vec<String> {
    let outside = |censored: Option<Censored>| {
        let (lowest, highest) = arm.tested()?;
        Some(match censored? {
            Censored::AboveTested => format!("above {}", words::number(highest)),
            Censored::BelowTested => format!("below {}", words::number(lowest)),
        })
    };
    let number = |value: Option<f64>| value.map(words::number);
    let unmet = arm.scale.censored.map(|_| "never met".to_string());
    vec![
        arm.name.clone(),
        arm.gpus.map_or_else(|| MISSING.to_string(), |n| n.to_string()),
        number(arm.max_rate.value).or_else(|| outside(arm.max_rate.censored)).unwrap_or_else(|| MISSING.to_string()),
        interval(arm.max_rate.ci95),
        number(arm.max_rate.per_gpu).unwrap_or_else(|| MISSING.to_string()),
        number(arm.scale.value).or(unmet).unwrap_or_else(|| MISSING.to_string()),
        interval(arm.scale.ci95),
    ]
}

fn ratio_row(report: &RatioReport, arms: &[ArmReport]) -> Vec<String> {
    let mut row = vec![arms.get(report.b).map_or_else(String::new, |arm| arm.name.clone())];
    for ratio in [report.max_rate, report.max_rate_per_gpu, report.scale] {
        row.extend([times(ratio), interval(ratio.ci95)]);
    }
    row
}

fn times(ratio: Ratio) -> String {
    match (ratio.value, ratio.censored) {
        (Some(value), _) => format!("{value:.2}x"),
        (None, Some(Censored::AboveTested)) => "more".to_string(),
        (None, Some(Censored::BelowTested)) => "less".to_string(),
        (None, None) => MISSING.to_string(),
    }
}

/// `3.1-3.7`, `from 3.1`, `up to 3.7`; nothing where the data puts no bound on either side.
fn interval(ci: Interval) -> String {
    match (ci.lo, ci.hi) {
        (Some(lo), Some(hi)) => format!("{}-{}", words::number(lo), words::number(hi)),
        (Some(lo), None) => format!("from {}", words::number(lo)),
        (None, Some(hi)) => format!("up to {}", words::number(hi)),
        (None, None) => "-".to_string(),
    }
}
