//! Where the order of two arms turns over when a limit of the SLO is moved: what the SLO plane shows, in a sentence.

use crate::analyse::attainment::PointAttainment;
use crate::analyse::crossing;
use crate::analyse::input::{ArmInput, Question};
use crate::analyse::series::by_rate;
use crate::plan::slo::Slo;
use crate::units::{Tpot, Ttft};

/// Limits that are tried, as shares of the SLO's own; from the nearest outwards.
const TIGHTER: [f64; 7] = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2];
const LOOSER: [f64; 5] = [1.25, 1.6, 2.0, 3.0, 5.0];
/// Rates closer than this are level.
const LEVEL: f64 = 1.1;
/// Beyond this many requests the sentence isn't worth the time it takes.
const MOST_REQUESTS: usize = 200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Ttft,
    Tpot,
}

/// `Below 150 ms TTFT simple TP2 leads`: limits from which on the loser carries more, by the values alone.
pub(super) fn sentences(winner: &ArmInput, loser: (&ArmInput, &str), question: &Question) -> Vec<String> {
    let requests: usize = [winner, loser.0].iter().flat_map(|a| &a.points).map(|p| p.samples.len()).sum();
    if requests > MOST_REQUESTS {
        return Vec::new();
    }
    let ways = [(Limit::Ttft, &TIGHTER[..]), (Limit::Tpot, &TIGHTER), (Limit::Ttft, &LOOSER), (Limit::Tpot, &LOOSER)];
    ways.into_iter()
        .filter_map(|(limit, shares)| {
            let turn = turn(winner, loser.0, question, (limit, shares))?;
            let (side, name) = (if shares[0] < 1.0 { "Below" } else { "Above" }, loser.1);
            let metric = if limit == Limit::Ttft { "TTFT" } else { "TPOT" };
            Some(format!("{side} about {} ms {metric} {name} leads", crate::words::number(turn)))
        })
        .collect()
}

/// The limit nearest to the SLO's own from which on the loser leads at every share that tells.
fn turn(winner: &ArmInput, loser: &ArmInput, question: &Question, (limit, shares): (Limit, &[f64])) -> Option<f64> {
    let mut found = None;
    for share in shares {
        let millis = rounded(share * own(&question.slo, limit));
        let slo = moved(question.slo, limit, millis);
        match lead(bounds(winner, &slo, question), bounds(loser, &slo, question)) {
            Some(false) => found = found.or(Some(millis)),
            Some(true) => found = None,
            None => {}
        }
    }
    found
}

fn own(slo: &Slo, limit: Limit) -> f64 {
    if limit == Limit::Ttft { slo.ttft.as_millis() } else { slo.tpot.as_millis() }
}

fn moved(slo: Slo, limit: Limit, millis: f64) -> Slo {
    match limit {
        Limit::Ttft => Slo { ttft: Ttft::from_millis(millis), ..slo },
        Limit::Tpot => Slo { tpot: Tpot::from_millis(millis), ..slo },
    }
}

/// Two significant digits.
fn rounded(x: f64) -> f64 {
    let step = 10f64.powf(x.max(1e-6).log10().floor() - 1.0);
    (x / step).round() * step
}

/// The highest rate that keeps the SLO lies between these, requests per second and GPU where GPUs are known.
fn bounds(arm: &ArmInput, slo: &Slo, question: &Question) -> (f64, f64) {
    let per = arm.gpus.filter(|n| *n > 0).map_or(1.0, f64::from);
    let curve: Vec<(f64, f64)> = by_rate(&arm.points)
        .into_iter()
        .filter(|(rate, _)| !rate.is_infinite())
        .filter_map(|(rate, points)| {
            let each = points.iter().filter_map(|p| PointAttainment::of(&p.samples, slo));
            Some((rate.per_second() / per, each.reduce(PointAttainment::pooled)?.both.percent()))
        })
        .collect();
    crossing::bounds(&curve, question.target.percent().get())
}

/// Whether the first leads (`true`), or the second does (`false`); `None` where they are level or nothing tells.
fn lead(first: (f64, f64), second: (f64, f64)) -> Option<bool> {
    if first.0 > LEVEL * second.1 {
        Some(true)
    } else if second.0 > LEVEL * first.1 {
        Some(false)
    } else {
        None
    }
}
