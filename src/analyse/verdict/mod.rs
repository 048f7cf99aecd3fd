//! The comparison in one or two sentences that can be quoted, and that claim no more than the data does.
//!
//! First what may be claimed: winner, factor, interval, goal, and what the interval covers. Then, as far as the words
//! reach, what doubts it, where the order turns over, what is not known, and what it would take.

mod case;
mod closed;
mod flips;
mod pair;
mod several;
#[cfg(test)]
mod tests;
mod words;

use super::reports::ArmReport;
use words::{fitting, odd_crossings, reach, standing};

pub(super) use case::Case;
pub(super) use pair::claim;

/// At most 70 words, for any number of arms; without the last full stop.
pub(super) fn sentence(case: &Case<'_>) -> String {
    if let Some(nothing) = no_verdict(case) {
        return nothing;
    }
    let points: usize = case.arms.iter().map(|arm| arm.points.len()).sum();
    let caution = match case.arms.iter().map(|arm| arm.invalid_points().count()).sum::<usize>() {
        0 => String::new(),
        invalid => format!("Indication only, {invalid} of {points} points are invalid: "),
    };
    let (first, others) = match (case.ratios, case.arms) {
        ([], arms) => alone(&arms[0], case),
        ([one], _) if case.is_closed() => closed::sentences(case, one),
        ([one], _) => pair::sentences(case, one),
        (many, _) => several::sentences(case, many, &caution),
    };
    fitting(caution + &first, others)
}

/// One arm by itself.
fn alone(arm: &ArmReport, case: &Case<'_>) -> (String, Vec<String>) {
    let goal = case.goal();
    let first = match arm.max_rate.value {
        Some(_) if !words::rises(arm) => format!("{} at {goal}, {}", standing(arm, &goal), reach(case.covers)),
        _ => standing(arm, &goal),
    };
    // A rising curve is told in the first sentence.
    let odd = odd_crossings(arm).filter(|_| !words::rises(arm));
    (first, odd.into_iter().collect())
}

/// Why nothing can be said at all.
fn no_verdict(case: &Case<'_>) -> Option<String> {
    let (arms, counted) = (case.arms, case.per.counted());
    let all = |test: fn(&ArmReport) -> bool| arms.iter().all(test);
    if all(|arm| arm.points.is_empty()) {
        return Some("No verdict: no point was measured".to_string());
    }
    if all(|arm| served(arm) == 0) {
        return Some(match arms {
            [one] => format!("No verdict: {}", unserved(one, counted)),
            _ => format!(
                "No verdict: no arm served any of the {} {counted} offered",
                arms.iter().map(offered).sum::<usize>()
            ),
        });
    }
    if let Some(empty) = arms.iter().find(|arm| served(arm) == 0) {
        return Some(format!("No verdict: {}", unserved(empty, counted)));
    }
    let worthless = arms.iter().find(|arm| arm.invalid_points().count() == arm.points.len())?;
    let why = worthless.invalid_points().find_map(|p| p.why.first()).map_or("", String::as_str);
    let why: Vec<&str> = why.split_whitespace().take(40).collect();
    Some(format!("No verdict: every point of {} is invalid ({})", words::name(worthless), why.join(" ")))
}

fn served(arm: &ArmReport) -> usize {
    arm.points.iter().map(|p| p.served).sum()
}

fn offered(arm: &ArmReport) -> usize {
    arm.points.iter().map(|p| p.offered).sum()
}

fn unserved(arm: &ArmReport, counted: &str) -> String {
    match offered(arm) {
        0 => format!("no point of {} was measured", words::name(arm)),
        n => format!("{} served none of the {n} {counted} offered", words::name(arm)),
    }
}
