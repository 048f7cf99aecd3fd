//! Two arms in a closed loop: who answers more within the limits with the same number of requests in flight.

use super::case::Case;
use super::words::{at_common_rates, capitalised, few, name, standing, times};
use crate::analyse::claim::{ClaimKind, CommonRate};
use crate::analyse::interval::Interval;
use crate::analyse::ratio::RatioReport;
use crate::analyse::reports::ArmReport;
use crate::words::{level, listed};

/// Goodput speaks of nothing else.
const REACH: &str = "within these launches";

/// A level and by how much one arm's goodput exceeds the other's there.
#[derive(Clone, Copy)]
struct Factor<'a> {
    at: &'a CommonRate,
    value: f64,
    ci95: Interval,
    claimed: bool,
}

/// Read from the side of arm b, or from that of arm a.
fn factors(report: &RatioReport, of_b: bool) -> Vec<Factor<'_>> {
    let factor = |at| {
        let goodput = CommonRate::goodput(at)?;
        let value = goodput.value?;
        let (value, ci95) = if of_b { (value, goodput.ci95) } else { (value.recip(), goodput.ci95.reciprocal()) };
        Some(Factor { at, value, ci95, claimed: goodput.claimed })
    };
    report.at_common_rates.iter().filter_map(factor).collect()
}

/// `4, 8 and 16 in flight (closed loop)`.
fn with<'a>(levels: impl Iterator<Item = &'a CommonRate>) -> String {
    format!("with {} in flight (closed loop)", few(&levels.map(|l| level(l.rate)).collect::<Vec<_>>()))
}

/// `1.3x (95 % CI 1.2-1.4)`; of several the values alone, of many their range.
fn told(factors: &[Factor<'_>]) -> String {
    let short = |x: f64| format!("{x:.2}");
    match factors {
        [one] => times(one.value, one.ci95),
        few if few.len() < 4 => {
            format!("{} times", listed(&few.iter().map(|f| short(f.value)).collect::<Vec<_>>()))
        }
        many => {
            let (low, high) = many.iter().fold((f64::INFINITY, 0f64), |(l, h), f| (l.min(f.value), h.max(f.value)));
            format!("{} to {} times", short(low), short(high))
        }
    }
}

/// What is claimed of goodput, in a sentence without its end; empty without a claim.
pub(super) fn claim(arms: &[ArmReport], report: &RatioReport) -> String {
    let Some(better) = report.claim.better else { return String::new() };
    let claimed: Vec<Factor<'_>> =
        factors(report, better == report.b).into_iter().filter(|f| f.claimed && f.value > 1.0).collect();
    format!(
        "{} {} answers {} the requests a second{} within the limits that {} does",
        with(claimed.iter().map(|f| f.at)),
        name(&arms[better]),
        told(&claimed),
        per_gpu(arms, report),
        name(&arms[report.a + report.b - better])
    )
}

/// `with 4 and 8 in flight (closed loop) 1.20 and 1.31 times`: of the second arm over the first, for a list of arms.
pub(super) fn factor(report: &RatioReport) -> String {
    let claimed: Vec<Factor<'_>> = factors(report, true).into_iter().filter(|f| f.claimed).collect();
    let levels = few(&claimed.iter().map(|f| level(f.at.rate)).collect::<Vec<_>>());
    format!("{} with {levels} in flight", told(&claimed).replace(" (", ", ").replace(')', ""))
}

fn per_gpu(arms: &[ArmReport], report: &RatioReport) -> &'static str {
    let known = [report.a, report.b].iter().all(|i| arms[*i].gpus.is_some_and(|n| n > 0));
    if known { " per GPU" } else { "" }
}

/// The first sentence, and what may follow.
pub(super) fn sentences(case: &Case<'_>, report: &RatioReport) -> (String, Vec<String>) {
    let standings = [report.a, report.b].map(|i| standing(&case.arms[i], "the target"));
    let standings = format!("{}; {}", standings[0], standings[1]);
    let slo = case.question.slo;
    let better = |text: String| format!("{} ({slo}), {REACH}", capitalised(&text));
    match report.claim.kind {
        ClaimKind::GoodputAtCommonLevels => {
            let met = at_claimed(case, report).map(|text| capitalised(&text));
            (better(claim(case.arms, report)), met.into_iter().chain([standings]).collect())
        }
        ClaimKind::AttainmentAtCommonRates => {
            let met = at_claimed(case, report).unwrap_or_default();
            (better(met), vec![standings, "Which of them answers more a second is not claimed".to_string()])
        }
        ClaimKind::Crossing | ClaimKind::None => {
            (format!("{} ({slo}), {REACH}", unclaimed(case, report)), vec![why_not(report), standings])
        }
    }
}

/// The differences of what was met that may be claimed for the better arm.
fn at_claimed(case: &Case<'_>, report: &RatioReport) -> Option<String> {
    let better = report.claim.better?;
    let claimed: Vec<&CommonRate> = report
        .at_common_rates
        .iter()
        .filter(|level| level.claimed && (level.difference > 0.0) == (better == report.b))
        .collect();
    let (winner, loser) = (&case.arms[better], &case.arms[report.a + report.b - better]);
    (!claimed.is_empty()).then(|| at_common_rates(&claimed, winner, loser, case))
}

fn unclaimed(case: &Case<'_>, report: &RatioReport) -> String {
    let (a, b) = (name(&case.arms[report.a]), name(&case.arms[report.b]));
    let all = factors(report, true);
    let (for_b, for_a): (Vec<Factor<'_>>, Vec<Factor<'_>>) =
        all.iter().filter(|f| f.claimed).partition(|f| f.value > 1.0);
    if !for_a.is_empty() && !for_b.is_empty() {
        let (of_a, of_b) = (with(for_a.iter().map(|f| f.at)), with(for_b.iter().map(|f| f.at)));
        return format!("The better arm depends on the load: {a} answers more within the limits {of_a}, {b} {of_b}");
    }
    if all.is_empty() {
        return format!("No difference can be claimed between {a} and {b} in a closed loop");
    }
    let levels = with(all.iter().map(|f| f.at));
    let told = told(&all);
    let gpus = per_gpu(case.arms, report);
    format!(
        "No difference can be claimed between {a} and {b} {levels}: {b} answers {told} the requests a second{gpus} within the limits"
    )
}

/// What would tell.
fn why_not(report: &RatioReport) -> String {
    let known = factors(report, true);
    let text = if report.at_common_rates.is_empty() {
        "They have no number in flight in common: measure both at the same --concurrency"
    } else if known.is_empty() {
        "At no level did both answer a request within the limits: a looser SLO, or fewer in flight, would tell"
    } else if known.iter().all(|f| f.ci95.lo.is_none()) {
        "There are too few answers for an interval: more prompts a level would bound it"
    } else {
        "More prompts a level would narrow it"
    };
    text.to_string()
}
