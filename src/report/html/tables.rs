//! The tables of results: key numbers, latencies, validity.

use super::input::{ArmPage, PageInput};
use super::words::{self, UNKNOWN, millis};
use crate::analyse::percentiles::Distribution;
use crate::analyse::prefix::RoleHits;
use crate::analyse::{ArmInput, ArmReport, Comparison, Interval, PointInput, PointReport, Ratio, RatioReport};
use crate::plan::slo::Slo;
use crate::report::{self, JudgedPoint, why};
use crate::units::RequestRate;
use crate::words::{decimal, distinct, number, offered, rate};

/// A number and, in small, how sure it is.
pub(super) struct TableCell {
    pub value: String,
    pub note: String,
}

pub(super) struct KeyNumbers {
    pub columns: Vec<TableColumn>,
    pub rows: Vec<KeyRow>,
}

pub(super) struct TableColumn {
    pub name: String,
    /// Position of the arm for its colour; `None` for ratios.
    pub arm: Option<usize>,
}

pub(super) struct KeyRow {
    pub name: String,
    pub cells: Vec<TableCell>,
}

/// One column an arm, then the ratio of each to the first.
pub(super) fn key_numbers(comparison: &Comparison) -> KeyNumbers {
    let arms = &comparison.arms;
    let base = arms.first().map_or("", |arm| arm.name.as_str());
    let columns = arms.iter().enumerate().map(|(i, arm)| TableColumn { name: arm.name.clone(), arm: Some(i) });
    let ratios =
        comparison.ratios.iter().map(|r| TableColumn { name: format!("{} against {base}", arms[r.b].name), arm: None });
    let at = arms.iter().find_map(|arm| arm.scale.at_rate).map(offered);
    let scale_name = at.map_or("Tightest SLO scale".to_string(), |at| format!("Tightest SLO scale at {at}"));
    let row = |name: String, of: &dyn Fn(&ArmReport) -> TableCell, ratio: &dyn Fn(usize) -> TableCell| KeyRow {
        name,
        cells: arms.iter().map(of).chain((0..comparison.ratios.len()).map(ratio)).collect(),
    };
    let blank = |_: usize| TableCell { value: String::new(), note: String::new() };
    let closed = arms.iter().any(|arm| arm.max_concurrency.is_some());
    let most = || row("Most in flight at the target (closed loop)".to_string(), &max_concurrency, &blank);
    let rows = vec![
        row("Highest rate at the target (req/s)".to_string(), &max_rate, &|i| ratio(&comparison.ratios[i].max_rate)),
        row("The same per GPU".to_string(), &per_gpu, &|i| ratio(&comparison.ratios[i].max_rate_per_gpu)),
        row(scale_name, &scale, &|i| ratio(&comparison.ratios[i].scale)),
        row("GPUs".to_string(), &gpus, &blank),
        row(format!("Points ({} each)", comparison.judged.counted()), &points, &blank),
    ];
    let cached = arms.iter().any(|arm| arm.prefix_cache.is_some_and(|found| found.is_worth_telling()));
    let hits = || row("Prefix cache hits (% of the prompt tokens)".to_string(), &prefix_hits, &blank);
    let levels = goodput_rows(comparison);
    let rows = closed.then(most).into_iter().chain(levels).chain(rows).chain(cached.then(hits)).collect();
    KeyNumbers { columns: columns.chain(ratios).collect(), rows }
}

/// A row for each level of a closed loop at which arms have a ratio: who answers more within the limits.
fn goodput_rows(comparison: &Comparison) -> Vec<KeyRow> {
    let common = comparison.ratios.iter().flat_map(|ratio| &ratio.at_common_rates);
    let levels = common.filter(|level| level.goodput.is_some()).map(|level| level.rate);
    let blank = || TableCell { value: String::new(), note: String::new() };
    let row = |rate: RequestRate| {
        let of = |ratio: &RatioReport| {
            let found = ratio.at_common_rates.iter().find(|level| level.rate == rate)?.goodput?;
            let value = found.value.map_or_else(|| UNKNOWN.to_string(), |value| format!("{value:.2}x"));
            let claimed = if found.claimed { "" } else { "not claimed" };
            let ci95 = confidence(found.ci95, |x| decimal(x, 2));
            Some(TableCell { value, note: joined([ci95, claimed.to_string()]) })
        };
        let ratios = comparison.ratios.iter().map(|ratio| of(ratio).unwrap_or_else(blank));
        KeyRow {
            name: format!("Answers a second within the limits, {}", offered(rate)),
            cells: comparison.arms.iter().map(|_| blank()).chain(ratios).collect(),
        }
    };
    distinct(levels).into_iter().map(row).collect()
}

fn confidence(interval: Interval, show: impl Fn(f64) -> String) -> String {
    let ends = words::interval(interval, show);
    if ends.is_empty() { ends } else { format!("95 %: {ends}") }
}

fn joined(notes: [String; 2]) -> String {
    notes.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join("; ")
}

fn max_rate(arm: &ArmReport) -> TableCell {
    let rate = &arm.max_rate;
    let value = rate.value.map_or_else(|| words::censored(rate.censored), number);
    let crossings = match rate.all.len() {
        0 | 1 => String::new(),
        _ => format!("crosses at {}", rate.all.iter().map(|r| number(*r)).collect::<Vec<_>>().join(", ")),
    };
    TableCell { value, note: joined([confidence(rate.ci95, number), crossings]) }
}

fn max_concurrency(arm: &ArmReport) -> TableCell {
    let found = arm.max_concurrency;
    let value =
        found.map_or_else(|| UNKNOWN.to_string(), |m| m.value.map_or("none tested".to_string(), |n| n.to_string()));
    let note = match found.map(|m| (m.value, m.missed)) {
        Some((_, Some(missed))) => format!("missed with {missed}"),
        Some((Some(_), None)) => "the most tested".to_string(),
        _ => String::new(),
    };
    TableCell { value, note }
}

fn per_gpu(arm: &ArmReport) -> TableCell {
    let gpus = arm.gpus.filter(|n| *n > 0).map(f64::from);
    let rate = &arm.max_rate;
    let note = gpus.map(|gpus| confidence(rate.ci95, |x| number(x / gpus))).unwrap_or_default();
    match (gpus, rate.per_gpu) {
        (None, _) => TableCell { value: UNKNOWN.to_string(), note },
        (Some(_), Some(value)) => TableCell { value: number(value), note },
        (Some(_), None) => TableCell { value: words::censored(rate.censored), note },
    }
}

fn scale(arm: &ArmReport) -> TableCell {
    let scale = &arm.scale;
    match (scale.value, scale.censored) {
        (Some(value), _) => TableCell { value: decimal(value, 3), note: confidence(scale.ci95, |x| decimal(x, 3)) },
        (None, Some(_)) => TableCell { value: "none: too many not served".to_string(), note: String::new() },
        (None, None) => TableCell { value: UNKNOWN.to_string(), note: String::new() },
    }
}

fn ratio(ratio: &Ratio) -> TableCell {
    let value = match (ratio.value, ratio.censored) {
        (Some(value), _) => format!("{}×", decimal(value, 2)),
        (None, None) if !ratio.claims() => UNKNOWN.to_string(),
        (None, _) => bound(ratio.ci95),
    };
    let unclaimed = ratio.value.is_some() && !ratio.claims();
    let claim = if unclaimed { "no difference can be claimed".to_string() } else { String::new() };
    TableCell { value, note: joined([confidence(ratio.ci95, number), claim]) }
}

/// What is known of a ratio that is no number; a bound is never rounded to its better side.
fn bound(ci95: Interval) -> String {
    match (ci95.lo, ci95.hi) {
        (Some(lo), _) if lo > 1.0 => format!("at least {}×", decimal((lo * 100.0).floor() / 100.0, 2)),
        (_, Some(hi)) if hi < 1.0 => format!("at most {}×", decimal((hi * 100.0).ceil() / 100.0, 2)),
        _ => "outside what was tested".to_string(),
    }
}

/// By role; where prompts are computed comes first.
fn prefix_hits(arm: &ArmReport) -> TableCell {
    let Some(found) = &arm.prefix_cache else {
        return TableCell { value: UNKNOWN.to_string(), note: String::new() };
    };
    let shown = |(role, hits): (&str, &RoleHits)| format!("{role} {}", decimal(hits.hit_percent, 1));
    let each: Vec<String> = found.roles().map(shown).collect();
    let could = found.repeated_percent.map(|percent| format!("{} % were repeated", decimal(percent, 1)));
    TableCell { value: each.join(", "), note: could.unwrap_or_default() }
}

fn gpus(arm: &ArmReport) -> TableCell {
    TableCell { value: arm.gpus.map_or(UNKNOWN.to_string(), |n| n.to_string()), note: String::new() }
}

fn points(arm: &ArmReport) -> TableCell {
    let offered = arm.points.iter().map(|p| p.offered);
    let range = match (offered.clone().min(), offered.max()) {
        (Some(least), Some(most)) if least == most => format!(" ({least})"),
        (Some(least), Some(most)) => format!(" ({least} to {most})"),
        _ => String::new(),
    };
    let invalid = arm.invalid_points().count();
    let note = if invalid > 0 { format!("{invalid} invalid") } else { String::new() };
    TableCell { value: format!("{}{range}", arm.points.len()), note }
}

/// Where the time of one point goes, as it is written.
pub(super) struct WhyRow {
    pub arm: usize,
    pub name: String,
    pub rate: String,
    pub attempt: u32,
    pub binds: &'static str,
    pub ttft: String,
    pub stages: Vec<String>,
    pub decode: String,
}

/// Arms as they were judged and as they were put to the judge.
pub(super) fn arms<'a>(input: &PageInput<'a>) -> impl Iterator<Item = (&'a ArmReport, &'a ArmInput)> {
    input.comparison.arms.iter().zip(input.arms.iter().map(|arm| arm.input))
}

/// The stages worth a column, and a row a point; no rows where nothing was served.
pub(super) fn why(input: &PageInput<'_>, slo: &Slo) -> (Vec<&'static str>, Vec<WhyRow>) {
    let rows = why::rows(arms(input), slo);
    let kept = why::worth_a_column(&rows);
    let told = |ms: Option<f64>| ms.map_or(UNKNOWN.to_string(), |ms| millis(ms / 1e3));
    let row = |row: why::BreakdownRow| WhyRow {
        arm: row.arm,
        ttft: told(row.ttft),
        stages: kept.iter().map(|&i| told(row.stages[i])).collect(),
        decode: told(row.decode),
        name: row.name,
        rate: row.rate,
        attempt: row.attempt,
        binds: row.binds,
    };
    let rows = if rows.iter().all(|row| row.ttft.is_none()) { Vec::new() } else { rows };
    (kept.iter().map(|&i| why::STAGES[i]).collect(), rows.into_iter().map(row).collect())
}

/// Attainment and latencies of one point.
pub(super) struct MeasuredRow {
    pub arm: usize,
    pub name: String,
    pub rate: String,
    pub attempt: u32,
    pub offered: usize,
    pub served: usize,
    /// All limits together, then each alone, percent.
    pub both: TableCell,
    pub ttft_met: String,
    pub tpot_met: String,
    /// Sessions of which every turn kept them, and those whose last one did.
    pub all_turns: TableCell,
    pub last_turn: String,
    pub slo_scale: String,
    pub ttft: [String; 3],
    pub tpot: [String; 3],
    pub throughput: String,
    /// For a request; in small, for an output token.
    pub joules: TableCell,
    /// Of speculative decoding.
    pub drafts: TableCell,
}

/// What speaks for and against one point.
pub(super) struct ValidityRow {
    pub arm: usize,
    pub name: String,
    pub rate: String,
    pub attempt: u32,
    pub status: &'static str,
    /// `yes`, `no`, or `no evidence`.
    pub valid: &'static str,
    pub remarks: Vec<String>,
    pub lag: String,
    pub cached: String,
    pub achieved: String,
    pub failures: String,
}

/// Every point with its arm's position.
fn each<'a>(input: &PageInput<'a>) -> impl Iterator<Item = (usize, &'a ArmReport, JudgedPoint<'a>)> {
    let arms = input.comparison.arms.iter().zip(input.arms).enumerate();
    arms.flat_map(|(i, (arm, page))| {
        report::points(&arm.points, page.input, page.summaries).map(move |point| (i, arm, point))
    })
}

pub(super) fn measured(input: &PageInput<'_>) -> Vec<MeasuredRow> {
    let percent = |x: f64| decimal(x, 1);
    let percent_known = |x: Option<f64>| x.map_or(UNKNOWN.to_string(), percent);
    let three = |d: &Option<Distribution>| {
        let at =
            |i: usize| d.as_ref().and_then(|d| d.percentiles.get(i)).map_or(UNKNOWN.to_string(), |(_, x)| millis(*x));
        [at(0), at(1), at(2)]
    };
    let row =
        |(index, arm, JudgedPoint { report: point, input: judged, summary }): (usize, &ArmReport, JudgedPoint<'_>)| {
            MeasuredRow {
                arm: index,
                name: arm.name.clone(),
                rate: rate(point.rate),
                attempt: point.attempt,
                offered: point.offered,
                served: point.served,
                both: TableCell {
                    value: percent_known(point.attainment.both),
                    note: words::interval(point.ci95.both, percent),
                },
                ttft_met: percent_known(point.attainment.ttft),
                tpot_met: percent_known(point.attainment.tpot),
                all_turns: TableCell {
                    value: percent_known(point.sessions.map(|s| s.all_turns)),
                    note: point.sessions.map_or(String::new(), |s| words::interval(s.all_turns_ci95, percent)),
                },
                last_turn: percent_known(point.sessions.map(|s| s.last_turn)),
                slo_scale: point.slo_scale.map_or(UNKNOWN.to_string(), |x| decimal(x, 2)),
                ttft: three(&summary.latencies.ttft),
                tpot: three(&summary.latencies.tpot),
                throughput: summary.output_throughput.map_or(UNKNOWN.to_string(), |x| decimal(x, 0)),
                joules: joules(point),
                drafts: drafts(judged),
            }
        };
    each(input).map(row).collect()
}

pub(super) fn validity(input: &PageInput<'_>) -> Vec<ValidityRow> {
    let row =
        |(index, arm, JudgedPoint { report: point, input: judged, summary }): (usize, &ArmReport, JudgedPoint<'_>)| {
            let failures = judged.samples.failures().iter().map(|(kind, n)| format!("{n} {kind}"));
            ValidityRow {
                arm: index,
                name: arm.name.clone(),
                rate: rate(point.rate),
                attempt: point.attempt,
                status: point.status.word(),
                valid: match point.valid {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "no evidence",
                },
                remarks: remarks(point),
                lag: summary.lag.map_or(UNKNOWN.to_string(), |lag| millis(lag.p99)),
                cached: cached(judged).map_or(UNKNOWN.to_string(), |share| decimal(100.0 * share, 1)),
                achieved: summary.sent_rate.map_or(UNKNOWN.to_string(), number),
                failures: failures.collect::<Vec<_>>().join(", "),
            }
        };
    each(input).map(row).collect()
}

/// Reasons first; late sends are one of them where they matter.
fn remarks(point: &PointReport) -> Vec<String> {
    let late = point.late_sends.filter(|_| point.valid != Some(false)).map(|late| late.told());
    point.why.iter().chain(&point.notes).cloned().chain(late).collect()
}

/// Share of prompt tokens that came from a prefix cache.
fn cached(point: &PointInput) -> Option<f64> {
    let engines = point.facts.as_ref()?.engines?;
    Some(engines.cached_prompt_tokens? / engines.prompt_tokens.filter(|n| *n > 0.0)?)
}

fn drafts(point: &PointInput) -> TableCell {
    let engines = point.facts.as_ref().and_then(|facts| facts.engines);
    let shown = |value: Option<f64>, decimals| value.map_or(UNKNOWN.to_string(), |x| decimal(x, decimals));
    TableCell {
        value: shown(engines.and_then(|e| e.acceptance_percent()), 1),
        note: shown(engines.and_then(|e| e.acceptance_length()), 2),
    }
}

/// Joules of one point: for a request and, in small, for an output token.
fn joules(point: &PointReport) -> TableCell {
    let shown = |joules: Option<f64>| joules.map_or_else(|| UNKNOWN.to_string(), number);
    TableCell { value: shown(point.energy_j_per_request), note: shown(point.energy_j_per_token) }
}

pub(super) fn has_sessions(comparison: &Comparison) -> bool {
    comparison.arms.iter().flat_map(|arm| &arm.points).any(|point| point.sessions.is_some())
}

pub(super) fn has_drafts(arms: &[ArmPage<'_>]) -> bool {
    let facts = arms.iter().flat_map(|arm| &arm.input.points).filter_map(|p| p.facts.as_ref()?.engines);
    facts.into_iter().any(|engines| engines.acceptance_percent().is_some())
}

pub(super) fn has_failures(arms: &[ArmPage<'_>]) -> bool {
    arms.iter().flat_map(|arm| &arm.input.points).any(|p| !p.samples.failures().is_empty())
}
