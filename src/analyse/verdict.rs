//! The comparison in one sentence that can be quoted, and that claims no more than the data does.
//!
//! A difference is claimed only when the interval of the ratio excludes 1. Otherwise the sentence says how many requests
//! might settle it; if a crossing lies outside the rates tested, on which side, and what is known all the same.

use super::arm::ArmReport;
use super::claim::ClaimKind;
use super::input::{Censored, Question};
use super::interval::Interval;
use super::ratio::{Ratio, RatioReport};
use crate::words::{self, number};

/// Above this many requests a point, more requests are no advice.
const PATIENCE: f64 = 100_000.0;

pub(super) fn sentence(arms: &[ArmReport], ratios: &[RatioReport], question: &Question) -> String {
    if let Some(nothing) = no_verdict(arms) {
        return nothing;
    }
    let goal = format!("{} attainment ({})", question.target.percent(), question.slo);
    let body = match ratios {
        [] => alone(&arms[0], &goal),
        [one] => pair(arms, one, Some(&goal)),
        many => {
            many.iter().map(|one| pair(arms, one, None)).collect::<Vec<_>>().join("; ") + &format!(", all at {goal}")
        }
    };
    let points: usize = arms.iter().map(|arm| arm.points.len()).sum();
    match arms.iter().map(|arm| arm.invalid_points().count()).sum::<usize>() {
        0 => body,
        invalid => format!("Indication only, {invalid} of {points} points are invalid: {body}"),
    }
}

/// What a ratio claims, in a sentence; empty without a claim.
pub(super) fn claim(arms: &[ArmReport], report: &RatioReport) -> String {
    let Some(better) = report.claim.better else { return String::new() };
    let (winner, loser) = (&arms[better], &arms[report.a + report.b - better]);
    match report.claim.kind {
        ClaimKind::None => String::new(),
        ClaimKind::Crossing => {
            let ci95 = if better == report.b { report.max_rate.ci95 } else { report.max_rate.ci95.reciprocal() };
            format!("{} carries more requests than {}{}", winner.name, loser.name, ci(ci95))
        }
        ClaimKind::AttainmentAtCommonRates => {
            let claimed = report.at_common_rates.iter().filter(|r| r.claimed);
            let (rates, points): (Vec<String>, Vec<String>) =
                claimed.map(|r| (words::rate(r.rate), format!("{:.0}", r.difference.abs()))).unzip();
            format!(
                "at {} req/s {} meets {} points more of the requests than {}",
                words::listed(&rates),
                winner.name,
                words::listed(&points),
                loser.name
            )
        }
    }
}

/// Why nothing can be said at all.
fn no_verdict(arms: &[ArmReport]) -> Option<String> {
    let all = |test: fn(&ArmReport) -> bool| arms.iter().all(test);
    if all(|arm| arm.points.is_empty()) {
        return Some("No verdict: no point was measured".to_string());
    }
    if all(|arm| served(arm) == 0) {
        return Some(match arms {
            [one] => format!("No verdict: {}", unserved(one)),
            _ => format!("No verdict: no arm served any request ({} offered)", arms.iter().map(offered).sum::<usize>()),
        });
    }
    if let Some(empty) = arms.iter().find(|arm| served(arm) == 0) {
        return Some(format!("No verdict: {}", unserved(empty)));
    }
    let worthless = arms.iter().find(|arm| arm.invalid_points().count() == arm.points.len())?;
    let why = worthless.invalid_points().find_map(|p| p.why.first()).map_or("", String::as_str);
    Some(format!("No verdict: every point of {} is invalid ({why})", worthless.name))
}

fn served(arm: &ArmReport) -> usize {
    arm.points.iter().map(|p| p.served).sum()
}

fn offered(arm: &ArmReport) -> usize {
    arm.points.iter().map(|p| p.offered).sum()
}

fn unserved(arm: &ArmReport) -> String {
    match offered(arm) {
        0 => format!("no point of {} was measured", arm.name),
        n => format!("{} served none of the {n} requests offered", arm.name),
    }
}

fn alone(arm: &ArmReport, goal: &str) -> String {
    match arm.max_rate.value {
        Some(_) => format!("{} {} at {goal}", arm.name, stands(arm, goal)),
        None => format!("{} {}", arm.name, stands(arm, goal)),
    }
}

/// What became of an arm: its crossing, or the side it lies on.
fn stands(arm: &ArmReport, goal: &str) -> String {
    match (arm.max_rate.value, arm.max_rate.censored, arm.tested()) {
        (Some(value), ..) => format!("carries {} req/s{}", number(value), ci(arm.max_rate.ci95)),
        (None, Some(Censored::AboveTested), Some((_, highest))) => {
            format!("still keeps {goal} at the highest rate tested, {} req/s", number(highest))
        }
        (None, Some(Censored::BelowTested), Some((lowest, _))) => {
            format!("misses {goal} already at the lowest rate tested, {} req/s", number(lowest))
        }
        _ => "was measured at no finite rate".to_string(),
    }
}

/// b against a, read from the better one's side.
struct Duel<'a> {
    winner: &'a ArmReport,
    loser: &'a ArmReport,
    /// Winner over loser.
    ratio: Ratio,
    unit: &'static str,
}

impl<'a> Duel<'a> {
    fn new(arms: &'a [ArmReport], report: &RatioReport) -> Self {
        let (a, b) = (&arms[report.a], &arms[report.b]);
        // Per GPU wherever every arm has GPUs: an arm with more of them must not win by it.
        let gpus = [a, b].iter().all(|arm| arm.gpus.is_some_and(|n| n > 0));
        let (ratio, unit) =
            if gpus { (report.max_rate_per_gpu, "requests per GPU") } else { (report.max_rate, "requests") };
        let b_wins = match (ratio.value, ratio.censored) {
            (Some(value), _) => value >= 1.0,
            (None, Some(Censored::BelowTested)) => false,
            (None, _) => true,
        };
        if b_wins {
            return Duel { winner: b, loser: a, ratio, unit };
        }
        let swap = |c| match c {
            Censored::AboveTested => Censored::BelowTested,
            Censored::BelowTested => Censored::AboveTested,
        };
        let inverse = Ratio {
            value: ratio.value.map(f64::recip),
            ci95: ratio.ci95.reciprocal(),
            censored: ratio.censored.map(swap),
        };
        Duel { winner: a, loser: b, ratio: inverse, unit }
    }
}

/// `goal` is left out where it is said once for several pairs.
fn pair(arms: &[ArmReport], report: &RatioReport, goal: Option<&str>) -> String {
    let duel = Duel::new(arms, report);
    let target = goal.unwrap_or("the target");
    let outcome = match (&duel.winner.max_rate, &duel.loser.max_rate) {
        (w, l) if w.value.is_some() && l.value.is_some() => {
            numbers(&duel, &goal.map_or_else(String::new, |goal| format!(" at {goal}")))
        }
        (w, l) if w.censored.is_some() && w.censored == l.censored => draw(arms, &duel, report, target),
        _ => one_sided(&duel, target),
    };
    outcome + &slower_first_token(&duel)
}

/// Both crossings are numbers.
fn numbers(duel: &Duel, goal: &str) -> String {
    let Duel { winner, loser, ratio, unit } = duel;
    let value = ratio.value.unwrap_or(1.0);
    let times = times(value, ratio.ci95);
    if ratio.claims() {
        return format!("{} carries {times} the {unit} of {}{goal}", winner.name, loser.name);
    }
    let (from, advice) = effort(duel, value);
    format!(
        "no difference can be claimed between {} and {}{goal}: {times} the {unit} from {from} ({advice})",
        winner.name, loser.name
    )
}

/// One crossing lies outside the rates tested: the better arm's above, or the worse arm's below.
fn one_sided(duel: &Duel, target: &str) -> String {
    let Duel { winner, loser, ratio, unit } = duel;
    let claim = match ratio.ci95.lo {
        Some(lo) if lo > 1.0 => format!(": at least {}x the {unit} (95 % confidence)", floored(lo)),
        _ => ": how many times as much can't be claimed from these points".to_string(),
    };
    // The arm outside names the target, the other only its own rate.
    let brief = if winner.max_rate.value.is_none() { "the target" } else { target };
    format!("{} {}, while {} {}{claim}", winner.name, stands(winner, target), loser.name, stands(loser, brief))
}

/// Both crossings lie outside, on the same side.
fn draw(arms: &[ArmReport], duel: &Duel, report: &RatioReport, target: &str) -> String {
    let Duel { winner, loser, .. } = duel;
    let (low_w, high_w) = winner.tested().unwrap_or_default();
    let (low_l, high_l) = loser.tested().unwrap_or_default();
    let (fact, advice) = match winner.max_rate.censored {
        Some(Censored::AboveTested) => (
            format!("still keep {target} at {} req/s", number(high_w.min(high_l))),
            "no difference in rate can be claimed until higher rates are tested",
        ),
        _ => (
            format!("miss {target} at {} req/s", number(low_w.max(low_l))),
            "no difference in rate can be claimed until lower rates are tested or the SLO is loosened",
        ),
    };
    let (a, b) = (&arms[report.a], &arms[report.b]);
    let tighter = match report.scale.value.zip(a.scale.at_rate) {
        Some((value, at)) if report.scale.claims() => {
            let ci95 = report.scale.ci95;
            let (who, ratio, ci95) =
                if value >= 1.0 { (b, value, ci95) } else { (a, value.recip(), ci95.reciprocal()) };
            format!("; at {} req/s {} keeps limits {} as tight", number(at.per_second()), who.name, times(ratio, ci95))
        }
        _ => String::new(),
    };
    format!("both {} and {} {fact}: {advice}{tighter}", loser.name, winner.name)
}

/// "; up to 4 req/s simple has the lower median TTFT": what the winner pays, where it pays.
fn slower_first_token(duel: &Duel) -> String {
    let pairs: Vec<(f64, f64, f64)> = duel
        .winner
        .rates
        .iter()
        .filter_map(|w| {
            let l = duel.loser.rates.iter().find(|l| l.rate == w.rate)?;
            Some((w.rate.per_second(), w.median_ttft?, l.median_ttft?))
        })
        .collect();
    // Medians within 5 % of each other are not worth a clause.
    let ahead = pairs.iter().take_while(|(_, w, l)| *l < 0.95 * *w).count();
    let Some((rate, w, l)) = ahead.checked_sub(1).and_then(|i| pairs.get(i)) else { return String::new() };
    let times = format!("{:.0} against {:.0} ms", l * 1e3, w * 1e3);
    if ahead == pairs.len() && ahead > 1 {
        return format!(
            "; at every common rate {} has the lower median TTFT ({times} at {})",
            duel.loser.name,
            number(*rate)
        );
    }
    let upto = if ahead == 1 { "at" } else { "up to" };
    format!("; {upto} {} req/s {} has the lower median TTFT ({times})", number(*rate), duel.loser.name)
}

/// "100 requests a point" and "about 400 would do".
fn effort(duel: &Duel, value: f64) -> (String, String) {
    let points = duel.winner.points.iter().chain(&duel.loser.points);
    let n = points.map(|p| p.offered).min().unwrap_or(0);
    // The end of the interval on 1's side approaches the value as 1/sqrt(n).
    let distance = value.ln();
    let wanted = duel.ratio.ci95.lo.map(|lo| 1.1 * n as f64 * ((value / lo).ln() / distance).powi(2));
    let advice = match wanted {
        Some(wanted) if wanted <= PATIENCE => format!("about {} would do if it is real", rounded_up(wanted)),
        Some(_) => "no practical number would tell the arms apart".to_string(),
        None => "more of them, or more rates around the crossing, would narrow it".to_string(),
    };
    (format!("{n} requests a point"), advice)
}

/// Two significant digits, upwards: 412 -> 420.
fn rounded_up(n: f64) -> u64 {
    let step = 10f64.powf((n.max(10.0).log10().floor() - 1.0).max(0.0));
    ((n / step).ceil() * step) as u64
}

/// " (95 % CI 3.1-3.7)"; an open end says so; nothing without any end.
fn ci(interval: Interval) -> String {
    match (interval.lo, interval.hi) {
        (Some(lo), Some(hi)) => format!(" (95 % CI {}-{})", number(lo), number(hi)),
        (Some(lo), None) => format!(" (95 % CI from {})", number(lo)),
        (None, Some(hi)) => format!(" (95 % CI up to {})", number(hi)),
        (None, None) => String::new(),
    }
}

/// "1.8x (95 % CI 1.6-2.1)", with as many decimals (two at most) as keep the three apart from each other and from 1.
fn times(value: f64, interval: Interval) -> String {
    let blurred = |decimals: usize| {
        let printed = |x: f64| format!("{x:.decimals$}");
        let mut shown: Vec<String> =
            [interval.lo, interval.hi, Some(value), Some(1.0)].into_iter().flatten().map(printed).collect();
        let all = shown.len();
        shown.sort();
        shown.dedup();
        shown.len() < all
    };
    let decimals = if blurred(1) { 2 } else { 1 };
    match (interval.lo, interval.hi) {
        (Some(lo), Some(hi)) => format!("{value:.decimals$}x (95 % CI {lo:.decimals$}-{hi:.decimals$})"),
        (Some(lo), None) => format!("{value:.decimals$}x (95 % CI from {lo:.decimals$})"),
        (None, Some(hi)) => format!("{value:.decimals$}x (95 % CI up to {hi:.decimals$})"),
        (None, None) => format!("{value:.decimals$}x (no bound on either side)"),
    }
}

/// A lower bound never rounds up: 1.199 is "1.19".
fn floored(x: f64) -> String {
    let tenths = (x * 10.0).floor() / 10.0;
    if tenths > 1.0 { format!("{tenths}") } else { format!("{}", (x * 100.0).floor() / 100.0) }
}
