//! Two arms: what may be claimed of them, and what is known where nothing may.

use super::case::Case;
use super::flips;
use super::words::{
    at_common_rates, capitalised, few, floored, name, odd_crossings, reach, rises, rounded_up, standing, times,
};
use crate::analyse::claim::{ClaimKind, CommonRate};
use crate::analyse::input::Censored;
use crate::analyse::power::Advice;
use crate::analyse::ratio::{Ratio, RatioReport};
use crate::analyse::reports::ArmReport;
use crate::words::{self, number};

/// Above this many requests a point, more requests are no advice.
const PATIENCE: f64 = 100_000.0;
/// And beyond this many times as many launches.
const MOST_LAUNCHES: f64 = 10.0;
/// A factor above this is no number to quote.
const MOST_FACTOR: f64 = 10.0;
/// b against a, read from the better one's side.
pub(super) struct Duel<'a> {
    pub(super) winner: &'a ArmReport,
    pub(super) loser: &'a ArmReport,
    /// Winner over loser.
    pub(super) ratio: Ratio,
    unit: &'static str,
    /// Whether it is per GPU.
    gpus: bool,
    /// Whether a crossing may be claimed.
    pub(super) claimed: bool,
}

impl<'a> Duel<'a> {
    pub(super) fn new(arms: &'a [ArmReport], report: &RatioReport) -> Self {
        let (a, b) = (&arms[report.a], &arms[report.b]);
        // Per GPU wherever every arm has GPUs: an arm with more of them must not win by it.
        let gpus = [a, b].iter().all(|arm| arm.gpus.is_some_and(|n| n > 0));
        let (ratio, unit) =
            if gpus { (report.max_rate_per_gpu, "requests per GPU") } else { (report.max_rate, "requests") };
        let claimed = match gpus && a.gpus != b.gpus {
            true => ratio.claims(),
            false => report.claim.kind == ClaimKind::Crossing,
        };
        let b_wins = match (ratio.ci95.lo, ratio.ci95.hi, ratio.value, ratio.censored) {
            (Some(lo), ..) if claimed && lo > 1.0 => true,
            (_, Some(hi), ..) if claimed && hi < 1.0 => false,
            (_, _, Some(value), _) => value >= 1.0,
            (.., Some(Censored::BelowTested)) => false,
            _ => true,
        };
        let (winner, loser) = if b_wins { (b, a) } else { (a, b) };
        Duel { winner, loser, ratio: if b_wins { ratio } else { inverse(ratio) }, unit, gpus, claimed }
    }

    /// `1.8x (95 % CI 1.6-2.1)`, `at least 1.6x`.
    pub(super) fn factor(&self) -> String {
        match (self.ratio.value, self.ratio.ci95.lo) {
            (Some(value), _) => times(value, self.ratio.ci95),
            (None, Some(lo)) => format!("at least {}x (95 % confidence)", floored(lo)),
            (None, None) => "more".to_string(),
        }
    }
}

fn inverse(ratio: Ratio) -> Ratio {
    let swap = |c| match c {
        Censored::AboveTested => Censored::BelowTested,
        Censored::BelowTested => Censored::AboveTested,
    };
    Ratio { value: ratio.value.map(f64::recip), ci95: ratio.ci95.reciprocal(), censored: ratio.censored.map(swap) }
}

/// What a ratio claims, in a sentence; empty without a claim.
pub(in crate::analyse) fn claim(case: &Case<'_>, report: &RatioReport) -> String {
    let arms = case.arms;
    let Some(better) = report.claim.better else { return String::new() };
    let (winner, loser) = (&arms[better], &arms[report.a + report.b - better]);
    match report.claim.kind {
        ClaimKind::None => String::new(),
        ClaimKind::GoodputAtCommonLevels => super::closed::claim(arms, report),
        ClaimKind::Crossing => {
            let ratio = if better == report.b { report.max_rate } else { inverse(report.max_rate) };
            let duel = Duel { winner, loser, ratio, unit: "requests", gpus: false, claimed: true };
            format!("{} carries {} the requests of {}", name(winner), duel.factor(), name(loser))
        }
        ClaimKind::AttainmentAtCommonRates => {
            let claimed: Vec<&CommonRate> = report.at_common_rates.iter().filter(|r| r.claimed).collect();
            at_common_rates(&claimed, winner, loser, case)
        }
    }
}

/// The first sentence, and what may follow.
pub(super) fn sentences(case: &Case<'_>, report: &RatioReport) -> (String, Vec<String>) {
    let duel = Duel::new(case.arms, report);
    let (goal, reach) = (case.goal(), reach(case.covers));
    let mut more: Vec<String> = [duel.winner, duel.loser].iter().filter_map(|arm| odd_crossings(arm)).collect();
    let first = if duel.claimed {
        // Without a factor, what the arms did at the same rates says more than where they stand.
        more.extend(points_apart(case, report, &duel).filter(|_| duel.ratio.value.is_none()));
        more.extend(beside(&duel));
        format!(
            "{} carries {} the {} of {} at {goal}, {reach}",
            name(duel.winner),
            duel.factor(),
            duel.unit,
            name(duel.loser)
        )
    } else if report.claim.kind == ClaimKind::AttainmentAtCommonRates {
        let claimed = claim(case, report);
        more.extend(beside(&duel));
        more.push("How many times as much is not known".to_string());
        format!("{} ({}), {reach}", capitalised(&claimed), case.question.slo)
    } else {
        let (first, others) = unclaimed(&duel, case, report);
        more.extend(others);
        first
    };
    if let Some(better) = duel.claimed.then(|| position(case, duel.winner)).or(report.claim.better) {
        let other = report.a + report.b - better;
        let loser = (&case.inputs[other], &*name(&case.arms[other]));
        more.extend(flips::sentences(&case.inputs[better], loser, case.question));
    }
    more.extend(lower_median_ttft(&duel));
    (first, more)
}

/// The differences at common rates that may be claimed for the winner.
fn points_apart(case: &Case<'_>, report: &RatioReport, duel: &Duel<'_>) -> Option<String> {
    let b_wins = std::ptr::eq(duel.winner, &case.arms[report.b]);
    let wins = |r: &&CommonRate| r.claimed && (r.difference > 0.0) == b_wins;
    let claimed: Vec<&CommonRate> = report.at_common_rates.iter().filter(wins).collect();
    (!claimed.is_empty()).then(|| capitalised(&at_common_rates(&claimed, duel.winner, duel.loser, case)))
}

fn position(case: &Case<'_>, arm: &ArmReport) -> usize {
    case.arms.iter().position(|a| std::ptr::eq(a, arm)).unwrap_or_default()
}

/// Where both arms stand, beside a claim that doesn't tell it.
fn beside(duel: &Duel<'_>) -> Option<String> {
    let numbers = |arm: &ArmReport| arm.max_rate.value.is_some();
    (duel.ratio.value.is_none() || !duel.claimed).then(|| match (numbers(duel.winner), numbers(duel.loser)) {
        (true, true) => format!("{}, {}", standing(duel.winner, "the target"), standing(duel.loser, "the target")),
        _ => format!("{}; {}", standing(duel.winner, "the target"), standing(duel.loser, "the target")),
    })
}

/// Nothing may be claimed: what is known all the same, and what it would take.
fn unclaimed(duel: &Duel<'_>, case: &Case<'_>, report: &RatioReport) -> (String, Vec<String>) {
    let (goal, reach) = (case.goal(), reach(case.covers));
    if let Some(mixed) = mixed(case, report) {
        return (format!("{mixed} ({}), {reach}", case.question.slo), beside(duel).into_iter().collect());
    }
    let (winner, loser) = (duel.winner, duel.loser);
    if winner.max_rate.censored.is_some() && winner.max_rate.censored == loser.max_rate.censored {
        return level(duel, &goal, reach, case, report);
    }
    let Some(value) = duel.ratio.value else {
        let first = format!(
            "{}, while {}: how many times as much can't be claimed, {reach}",
            standing(winner, &goal),
            standing(loser, "the target")
        );
        return (first, vec![outside(duel)]);
    };
    let n = winner.points.iter().chain(&loser.points).map(|p| p.offered).min().unwrap_or(0);
    let first = format!(
        "No difference can be claimed between {} and {} at {goal}: {} the {} from {n} {} a point, {reach}",
        name(winner),
        name(loser),
        times(value, duel.ratio.ci95),
        duel.unit,
        case.per.counted()
    );
    (first, vec![effort(report, duel.gpus, (n, case.per.counted()))])
}

/// Each arm wins somewhere.
fn mixed(case: &Case<'_>, report: &RatioReport) -> Option<String> {
    let claimed = |wins: fn(f64) -> bool| -> Vec<&CommonRate> {
        report.at_common_rates.iter().filter(|r| r.claimed && wins(r.difference)).collect()
    };
    let (for_b, for_a) = (claimed(|d| d > 0.0), claimed(|d| d < 0.0));
    let (a, b) = (&case.arms[report.a], &case.arms[report.b]);
    let rates = |of: &[&CommonRate]| few(&of.iter().map(|r| words::rate(r.rate)).collect::<Vec<_>>());
    (!for_a.is_empty() && !for_b.is_empty()).then(|| {
        format!(
            "The better arm depends on the rate: {} meets more of the {} at {} req/s, {} at {}",
            name(a),
            case.per.counted(),
            rates(&for_a),
            name(b),
            rates(&for_b)
        )
    })
}

/// Which rates it would take to see a crossing.
fn outside(duel: &Duel<'_>) -> String {
    let above = [duel.winner, duel.loser].iter().any(|arm| arm.max_rate.censored == Some(Censored::AboveTested));
    if above { "Higher rates would tell" } else { "Lower rates, or a looser SLO, would tell" }.to_string()
}

/// Both crossings lie outside, on the same side.
fn level(duel: &Duel<'_>, goal: &str, reach: &str, case: &Case<'_>, report: &RatioReport) -> (String, Vec<String>) {
    let Duel { winner, loser, .. } = duel;
    let (low_w, high_w) = winner.tested().unwrap_or_default();
    let (low_l, high_l) = loser.tested().unwrap_or_default();
    let (a, b) = (&case.arms[report.a], &case.arms[report.b]);
    let above = winner.max_rate.censored == Some(Censored::AboveTested);
    let fact = match above {
        true => format!("still meet {goal} at {} req/s", number(high_w.min(high_l))),
        false => format!("miss {goal} at {} req/s", number(low_w.max(low_l))),
    };
    let first = format!("Both {} and {} {fact}: no difference in rate can be claimed, {reach}", name(a), name(b));
    let tighter = report.scale.value.zip(a.scale.at_rate).filter(|_| report.scale.claims()).map(|(value, at)| {
        let (who, ratio) = if value >= 1.0 { (b, report.scale) } else { (a, inverse(report.scale)) };
        let ratio = times(ratio.value.unwrap_or(1.0), ratio.ci95);
        format!("At {} {} keeps limits {ratio} as tight", words::offered(at), name(who))
    });
    (first, tighter.into_iter().chain([outside(duel)]).collect())
}

/// What it would take to tell the arms apart, for four chances in five.
fn effort(report: &RatioReport, gpus: bool, (n, counted): (usize, &str)) -> String {
    let ratio = if gpus { &report.max_rate_per_gpu } else { &report.max_rate };
    match report.advice(ratio) {
        None => format!("More {counted} a point would bound it"),
        Some(Advice::Level(from)) if from < MOST_FACTOR => {
            format!("Differences from about {from:.2}x on would have shown in four runs of five")
        }
        Some(Advice::Level(_)) => "Only a very large difference would have shown".to_string(),
        Some(Advice::Requests(times)) if times * n as f64 <= PATIENCE => {
            let wanted = rounded_up(times * n as f64);
            format!("If it is real, about {wanted} {counted} a point would show it in four runs of five")
        }
        Some(Advice::Launches(times)) if times <= MOST_LAUNCHES => {
            format!(
                "If it is real, about {:.0} times as many launches would show it in four runs of five",
                times.ceil()
            )
        }
        Some(_) => format!("No practical number of {counted} would tell them apart"),
    }
}

/// What the winner pays, where it pays.
fn lower_median_ttft(duel: &Duel<'_>) -> Option<String> {
    if rises(duel.winner) {
        return None;
    }
    let pairs: Vec<(f64, f64, f64)> = duel
        .winner
        .rates
        .iter()
        .filter_map(|w| {
            let l = duel.loser.rates.iter().find(|l| l.rate == w.rate)?;
            Some((w.rate.per_second(), w.median_ttft?, l.median_ttft?))
        })
        .collect();
    // Medians within 5 % of each other are not worth a sentence.
    let ahead = pairs.iter().take_while(|(_, w, l)| *l < 0.95 * *w).count();
    let (rate, w, l) = pairs.get(ahead.checked_sub(1)?)?;
    let (who, ms) = (name(duel.loser), format!("{:.0} against {:.0} ms", l * 1e3, w * 1e3));
    let at = number(*rate);
    Some(match ahead {
        _ if ahead == pairs.len() && ahead > 1 => {
            format!("{who} has the lower median TTFT at every rate ({ms} at {at})")
        }
        1 => format!("At {at} req/s {who} has the lower median TTFT ({ms})"),
        _ => format!("Up to {at} req/s {who} has the lower median TTFT ({ms})"),
    })
}
