//! How a verdict puts numbers, and how it keeps its length.

use super::case::Case;
use crate::analyse::claim::CommonRate;
use crate::analyse::input::Censored;
use crate::analyse::interval::Interval;
use crate::analyse::launches::Covers;
use crate::analyse::reports::{ArmReport, MaxConcurrency, RateReport};
use crate::words::{level, listed, number};

/// Words of a verdict at most: what a person can quote.
pub(super) const MOST_WORDS: usize = 70;

pub(super) fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Sentences in order of importance: the first stands, each other one only if there is room for it.
pub(super) fn fitting(first: String, others: impl IntoIterator<Item = String>) -> String {
    let mut text = first;
    for other in others {
        if count(&text) + count(&other) <= MOST_WORDS {
            text = format!("{text}. {other}");
        }
    }
    text
}

/// An arm's name; one of many words is cut, for a verdict must not grow with it.
pub(super) fn name(arm: &ArmReport) -> String {
    const MOST: usize = 4;
    if count(&arm.name) <= MOST {
        return arm.name.clone();
    }
    let kept: Vec<&str> = arm.name.split_whitespace().take(MOST).collect();
    kept.join(" ") + "…"
}

pub(super) fn reach(covers: Covers) -> &'static str {
    match covers {
        Covers::TheseLaunches => "within these launches",
        Covers::LaunchesOnThisHost => "over launches on this host",
        Covers::TheseHosts => "over these hosts",
    }
}

/// What became of an arm: its crossing, or the side on which it lies.
pub(super) fn standing(arm: &ArmReport, target: &str) -> String {
    let who = name(arm);
    match (arm.max_rate.value, arm.max_rate.censored, arm.tested()) {
        (Some(value), ..) if rises(arm) => {
            format!(
                "{who} misses {target} at its lowest rate and meets it from {} req/s on: that is not a capacity",
                number(value)
            )
        }
        (Some(value), ..) => format!("{who} carries {} req/s{}", number(value), ci(arm.max_rate.ci95)),
        (None, Some(Censored::AboveTested), Some((_, highest))) => {
            format!("{who} still meets {target} at {} req/s, the highest rate tested", number(highest))
        }
        (None, Some(Censored::BelowTested), Some((lowest, _))) => {
            format!("{who} misses {target} at {} req/s, the lowest rate tested", number(lowest))
        }
        _ => match arm.max_concurrency {
            Some(found) => format!("{who} {}", in_flight(found, target)),
            None => format!("{who} was measured at no finite rate"),
        },
    }
}

/// The same of a closed loop.
fn in_flight(found: MaxConcurrency, target: &str) -> String {
    match (found.value, found.missed) {
        (Some(kept), Some(missed)) => {
            format!("meets {target} with {kept} in flight and misses it with {missed} (closed loop)")
        }
        (Some(kept), None) => format!("still meets {target} with {kept} in flight, the most tested (closed loop)"),
        (None, Some(missed)) => format!("misses {target} with {missed} in flight, the fewest tested (closed loop)"),
        (None, None) => "was measured at no load".to_string(),
    }
}

/// Whether the curve crosses the target upwards first: then its first crossing is not a capacity. A curve that falls
/// from rate to rate crosses downwards.
pub(super) fn rises(arm: &ArmReport) -> bool {
    let Some(crossing) = arm.max_rate.value else { return false };
    let percent = |r: &RateReport| r.attainment.both.percent();
    let below = arm.rates.iter().rfind(|r| r.rate.per_second() <= crossing).map(percent);
    let above = arm.rates.iter().find(|r| r.rate.per_second() > crossing && !r.rate.is_infinite()).map(percent);
    below.zip(above).is_some_and(|(below, above)| below < above)
}

/// What must be told beside a crossing that is not the only one, or not a capacity.
pub(super) fn odd_crossings(arm: &ArmReport) -> Option<String> {
    let who = name(arm);
    if rises(arm) {
        return Some(format!("{who} misses the target at its lowest rate: its crossing is not a capacity"));
    }
    let [first, .., last] = arm.max_rate.all.as_slice() else { return None };
    let times = arm.max_rate.all.len();
    Some(format!(
        "{who} crosses the target {times} times, from {} to {} req/s: the first is quoted",
        number(*first),
        number(*last)
    ))
}

/// `24 and 28`; of many, only the ends.
pub(super) fn few(rates: &[String]) -> String {
    match rates {
        [first, _, .., last] if rates.len() > 3 => format!("{} rates from {first} to {last}", rates.len()),
        _ => listed(rates),
    }
}

/// ` (95 % CI 3.1-3.7)`; an open end says so; nothing without any end.
pub(super) fn ci(interval: Interval) -> String {
    match (interval.lo, interval.hi) {
        (Some(lo), Some(hi)) => format!(" (95 % CI {}-{})", number(lo), number(hi)),
        (Some(lo), None) => format!(" (95 % CI from {})", number(lo)),
        (None, Some(hi)) => format!(" (95 % CI up to {})", number(hi)),
        (None, None) => String::new(),
    }
}

/// `1.8x (95 % CI 1.6-2.1)`, with as many decimals (two at most) as keep the three apart from each other and from 1.
pub(super) fn times(value: f64, interval: Interval) -> String {
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
pub(super) fn floored(x: f64) -> String {
    let tenths = (x * 10.0).floor() / 10.0;
    if tenths > 1.0 { format!("{tenths}") } else { format!("{}", (x * 100.0).floor() / 100.0) }
}

/// Two significant digits, upwards: 412 -> 420.
pub(super) fn rounded_up(n: f64) -> u64 {
    let step = 10f64.powf((n.max(10.0).log10().floor() - 1.0).max(0.0));
    ((n / step).ceil() * step) as u64
}

/// `at 24 and 28 req/s nixl meets 61 and 81 points more of the same requests than simple`.
pub(super) fn at_common_rates(
    claimed: &[&CommonRate],
    winner: &ArmReport,
    loser: &ArmReport,
    case: &Case<'_>,
) -> String {
    let levels = few(&claimed.iter().map(|r| level(r.rate)).collect::<Vec<_>>());
    let loads = match claimed.iter().all(|r| r.rate.in_flight().is_some()) {
        true => format!("with {levels} in flight"),
        false => format!("at {levels} req/s"),
    };
    let points: Vec<f64> = claimed.iter().map(|r| r.difference.abs()).collect();
    let told = match points.as_slice() {
        [_, _, _, _, ..] => {
            let (low, high) = points.iter().fold((f64::INFINITY, 0f64), |(l, h), p| (l.min(*p), h.max(*p)));
            format!("{low:.0} to {high:.0}")
        }
        few => listed(&few.iter().map(|p| format!("{p:.0}")).collect::<Vec<_>>()),
    };
    let same = if case.paired { "the same" } else { "its" };
    let counted = case.per.counted();
    format!("{loads} {} meets {told} points more of {same} {counted} than {}", name(winner), name(loser))
}

pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
