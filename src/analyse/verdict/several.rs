//! Three arms and more against the first: who is better, who is worse, who can't be told apart. Their numbers stand in
//! the table.

use super::case::Case;
use super::pair::Duel;
use super::words::{self, MOST_WORDS, count, name, odd_crossings, reach};
use crate::analyse::claim::ClaimKind;
use crate::analyse::ratio::RatioReport;
use crate::analyse::reports::ArmReport;
use crate::units::RequestRate;
use crate::words::{level, listed};

/// Arms of which nothing can be said are counted where there are more.
const NAMED: usize = 3;

/// How an arm compares with the first.
struct Placed<'a> {
    arm: &'a ArmReport,
    detail: String,
}

/// The most detailed form that leaves room within the words; what may follow.
pub(super) fn sentences(case: &Case<'_>, ratios: &[RatioReport], caution: &str) -> (String, Vec<String>) {
    let (mut better, mut worse, mut unclear) = (Vec::new(), Vec::new(), Vec::new());
    for report in ratios {
        let arm = &case.arms[report.b];
        match placed(case, report) {
            Some((true, detail)) => better.push(Placed { arm, detail }),
            Some((false, detail)) => worse.push(Placed { arm, detail }),
            None => unclear.push(Placed { arm, detail: String::new() }),
        }
    }
    let first = name(&case.arms[0]);
    let frame = |inner: &str| format!("At {}, {}, {inner}", case.goal(), reach(case.covers));
    let forms: [fn(&Placed<'_>) -> String; 2] = [|p| format!("{}{}", name(p.arm), p.detail), |p| name(p.arm)];
    let groups = [("better", &better), ("worse", &worse), ("not told apart", &unclear)];
    let relation = |word: &str, arms: usize| match (word, arms) {
        ("not told apart", _) => format!("can't be told apart from {first}"),
        (word, 1) => format!("is {word} than {first}"),
        (word, _) => format!("are {word} than {first}"),
    };
    let told = |form: fn(&Placed<'_>) -> String| {
        let all = groups.iter().filter(|(_, arms)| !arms.is_empty());
        let parts = all.map(|(word, arms)| {
            let who = match *word == "not told apart" && arms.len() > NAMED {
                true => format!("{} others", arms.len()),
                false => listed(&arms.iter().map(form).collect::<Vec<_>>()),
            };
            format!("{who} {}", relation(word, arms.len()))
        });
        frame(&parts.collect::<Vec<_>>().join("; "))
    };
    let fits = |text: &String| count(text) + count(caution) <= MOST_WORDS;
    let counts = || {
        let all = groups.iter().filter(|(_, arms)| !arms.is_empty());
        let counted = all.map(|(word, arms)| format!("{} {}", arms.len(), relation(word, arms.len())));
        frame(&counted.collect::<Vec<_>>().join(", "))
    };
    let text = forms.into_iter().map(told).find(fits).unwrap_or_else(counts);
    let odd = case.arms.iter().filter_map(odd_crossings);
    (text, standing_of_first(case).into_iter().chain(odd).collect())
}

/// Whether an arm is better than the first, and by what; `None` where nothing may be claimed.
fn placed(case: &Case<'_>, report: &RatioReport) -> Option<(bool, String)> {
    let duel = Duel::new(case.arms, report);
    let b_wins = std::ptr::eq(duel.winner, &case.arms[report.b]);
    if duel.claimed {
        // Read from the other arm's side, worse means less than once as much.
        let told = match (duel.ratio.value, b_wins) {
            (Some(value), true) => words::times(value, duel.ratio.ci95),
            (Some(value), false) => words::times(value.recip(), duel.ratio.ci95.reciprocal()),
            (None, true) => duel.factor(),
            (None, false) => return Some((false, String::new())),
        };
        return Some((b_wins, format!(" ({})", told.replace(" (", ", ").replace(')', ""))));
    }
    let better = report.claim.better?;
    if report.claim.kind == ClaimKind::GoodputAtCommonLevels {
        return Some((better == report.b, format!(" ({})", super::closed::factor(report))));
    }
    let claimed = report.at_common_rates.iter().filter(|r| r.claimed);
    let (closed, open): (Vec<RequestRate>, Vec<RequestRate>) =
        claimed.map(|r| r.rate).partition(|rate| rate.in_flight().is_some());
    let levels = |of: &[RequestRate]| words::few(&of.iter().map(|rate| level(*rate)).collect::<Vec<_>>());
    let told = match open.is_empty() {
        true => format!("with {} in flight", levels(&closed)),
        false => format!("at {} req/s", levels(&open)),
    };
    Some((better == report.b, format!(" ({told})")))
}

fn standing_of_first(case: &Case<'_>) -> Option<String> {
    case.arms.first().map(|arm| words::standing(arm, "the target"))
}
