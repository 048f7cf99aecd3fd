//! Where the time goes at every point, which limit binds, and whether other numbers of instances would suit better: what the
//! breakdown draws, as a table and in sentences.

use crate::analyse::attribution::{Attribution, Binding, Shift, TimeSpent};
use crate::analyse::balance::{Balance, MOST, Suggestion};
use crate::analyse::hand_over::HandOver;
use crate::analyse::{ArmInput, ArmReport, PointInput};
use crate::plan::slo::Slo;
use crate::units::RequestRate;
use crate::words;

/// The stages of TTFT from the bottom up; the last is what nobody told.
pub(super) const STAGES: [&str; 8] = [
    "waiting for a slot",
    "client and network",
    "proxy",
    "prefill queue",
    "prefill",
    "KV transfer",
    "decode queue and first step",
    "engine, not told apart",
];

/// The same, for the heads of narrow columns.
pub(super) const SHORT: [&str; 8] =
    ["slot", "client", "proxy", "prefill queue", "prefill", "KV", "decode queue", "engine"];

/// What holds for every hint.
pub(super) const CAVEAT: &str = "A hint, not a measurement: it takes instances of the same size that share the load evenly, \
    and knows nothing of queues, of the hand-over, or of other lengths; measure it before you believe it.";

/// A stage that never takes a larger share of TTFT than this is not worth a column.
const NEGLIGIBLE: f64 = 0.002;

/// Means over the served requests of one point, milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BreakdownRow {
    /// Position of the arm.
    pub(super) arm: usize,
    pub(super) name: String,
    pub(super) rate: String,
    pub(super) attempt: u32,
    pub(super) binds: &'static str,
    /// As [`STAGES`]; they add up to TTFT. `None`: nothing told of it.
    pub(super) stages: [Option<f64>; 8],
    /// `None` if nothing was served.
    pub(super) ttft: Option<f64>,
    pub(super) decode: Option<f64>,
}

/// A row for each point that was judged, in the order of arms and reports.
pub(super) fn rows<'a>(arms: impl IntoIterator<Item = (&'a ArmReport, &'a ArmInput)>, slo: &Slo) -> Vec<BreakdownRow> {
    let mut all = Vec::new();
    for (arm, (report, input)) in arms.into_iter().enumerate() {
        for point in &report.points {
            let twin = input.points.iter().find(|p| p.rate == point.rate && p.attempt == point.attempt);
            let Some(Attribution { time, binding, .. }) = twin.map(|p| Attribution::of(p, slo)) else { continue };
            all.push(BreakdownRow {
                arm,
                name: report.name.clone(),
                rate: words::rate(point.rate),
                attempt: point.attempt,
                binds: binds(binding),
                stages: stages(&time).map(|secs| Some(secs * 1e3).filter(|ms| *ms > 0.0)),
                ttft: time.ttft.map(|secs| secs * 1e3),
                decode: time.decode.map(|secs| secs * 1e3),
            });
        }
    }
    all
}

/// Stages that take time anywhere, as positions in [`STAGES`].
pub(super) fn worth_a_column(rows: &[BreakdownRow]) -> Vec<usize> {
    let highest = rows.iter().filter_map(|row| row.ttft).fold(0.0, f64::max);
    (0..STAGES.len())
        .filter(|&i| rows.iter().any(|row| row.stages[i].is_some_and(|ms| ms > NEGLIGIBLE * highest)))
        .collect()
}

fn binds(binding: Binding) -> &'static str {
    match binding {
        Binding::Ttft => "TTFT",
        Binding::Tpot => "TPOT",
        Binding::Mixed => "TTFT and TPOT",
        Binding::E2el => "E2EL",
        Binding::NotServed => "not served",
        Binding::Nothing => "nothing missed",
    }
}

/// What each prefill/decode arm's utilisation suggests; empty without such arms, or without what it takes to tell.
pub(super) fn hints<'a>(arms: impl IntoIterator<Item = (&'a ArmReport, &'a ArmInput)>, slo: &Slo) -> Vec<String> {
    arms.into_iter().filter_map(|(report, input)| hint(report, input, slo)).collect()
}

/// The hand-over of each arm that has one, at the point where posting it cost most.
pub(super) fn hand_overs<'a>(arms: impl IntoIterator<Item = &'a ArmReport>) -> Vec<String> {
    arms.into_iter().filter_map(hand_over).collect()
}

fn hand_over(report: &ArmReport) -> Option<String> {
    let cost = |kv: &HandOver| kv.post_ms.unwrap_or(0.0);
    let audited = report.points.iter().filter_map(|p| Some((p.rate, p.kv.as_ref()?)));
    let (rate, kv) = audited.max_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)))?;
    Some(format!("{} at {}: {kv}", report.name, words::offered(rate)))
}

fn hint(report: &ArmReport, input: &ArmInput, slo: &Slo) -> Option<String> {
    let valid = |p: &PointInput| !report.invalid_points().any(|r| r.rate == p.rate && r.attempt == p.attempt);
    match Balance::of(input, slo, valid) {
        Some(balance) => Some(balanced(&report.name, &balance, slo)),
        None => queues(report, input, slo),
    }
}

/// With both sides below this load another ratio has nothing to give.
const HALF: f64 = 0.5;

fn balanced(name: &str, balance: &Balance, slo: &Slo) -> String {
    let percent = |share: f64| match share {
        share if share < 0.01 => "less than 1 %".to_string(),
        share => format!("{:.0} %", 100.0 * share),
    };
    let tpot = words::decimal(slo.tpot.as_millis(), 3);
    let seen = format!(
        "{name} at {}: prefill was busy {} of the time, decode ran at {} of the batch that TPOT {tpot} ms allows",
        words::offered(balance.rate),
        percent(balance.prefill_load),
        percent(balance.decode_load)
    );
    let advice = match balance.suggestion() {
        _ if balance.prefill_load.max(balance.decode_load) < HALF => {
            "neither side is short, so that the ratio is not what limits".to_string()
        }
        _ if balance.holds() => "the ratio that was measured loads both sides about alike".to_string(),
        Suggestion::Ratio(p, d) => format!("about {p}P:{d}D would load both sides alike"),
        Suggestion::MorePrefill => format!("more than {MOST} prefill instances for each decode instance would"),
        Suggestion::MoreDecode => format!("more than {MOST} decode instances for each prefill instance would"),
    };
    let alike = if advice.ends_with("would") { " load both sides alike" } else { "" };
    format!("{seen}; {advice}{alike}")
}

/// Where utilisation isn't known: the direction that the queues point in, at the highest rate at which they do.
fn queues(report: &ArmReport, input: &ArmInput, slo: &Slo) -> Option<String> {
    let toward = |p: &PointInput| Attribution::of(p, slo).shift.map(|shift| (p.rate, shift));
    let found = input.points.iter().filter(|p| p.rate != RequestRate::INFINITE).filter_map(toward);
    let (rate, shift) = found.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let side = match shift {
        Shift::MorePrefill => "prefill",
        Shift::MoreDecode => "decode",
    };
    let at = words::offered(rate);
    Some(format!("{} at {at}: its {side} side is what keeps requests waiting; more {side} would help", report.name))
}

/// Parts that add up to TTFT, in the order of [`STAGES`]. The engines' own sums lie within what the proxy saw, so they
/// are never allowed more than that.
pub(super) fn stages(t: &TimeSpent) -> [f64; 8] {
    let known = |part: Option<f64>| part.unwrap_or(0.0).max(0.0);
    let client = known(t.client_lag) + known(t.to_proxy) + known(t.back);
    let proxy = known(t.proxy) + known(t.hand_off);
    let mut parts = [known(t.slot_wait), client, proxy, 0.0, 0.0, 0.0, 0.0, 0.0];
    match t.prefill {
        Some(prefill) => {
            parts[3] = known(t.prefill_queue).min(prefill);
            parts[4] = (prefill - parts[3]).max(0.0);
            let first_byte = known(t.first_byte);
            parts[5] = known(t.kv_transfer).min(first_byte);
            parts[6] = first_byte - parts[5];
        }
        None => {
            let room = (known(t.ttft) - parts.iter().sum::<f64>()).max(0.0);
            parts[3] = known(t.prefill_queue).min(room);
            parts[4] = known(t.prefill_compute).min(room - parts[3]);
        }
    }
    parts[7] = (known(t.ttft) - parts.iter().sum::<f64>()).max(0.0);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Study;
    use crate::report::samples::{Made, question};

    fn study(tpot_ms: f64) -> Study {
        Study::new(vec![Made::simple().run(), Made::nixl().run()], question(125.0, tpot_ms))
    }

    fn arms(study: &Study) -> impl Iterator<Item = (&ArmReport, &ArmInput)> {
        study.comparison.arms.iter().zip(&study.arms)
    }

    #[test]
    fn stages_add_up_to_ttft_at_every_point() {
        let study = study(9.0);
        let rows = rows(arms(&study), &study.question.slo);
        assert_eq!(rows.len(), 12);
        for row in &rows {
            let sum: f64 = row.stages.iter().flatten().sum();
            assert!((sum - row.ttft.expect("served")).abs() < 1e-6, "{row:?}");
        }
        assert!(rows.iter().any(|row| row.binds == "TTFT") && rows.iter().any(|row| row.binds == "nothing missed"));
    }

    #[test]
    fn a_ratio_is_told_of_the_arm_that_has_sides_only() {
        let study = study(9.0);
        let hints = hints(arms(&study), &study.question.slo);
        let [hint] = &hints[..] else { panic!("one hint: {hints:?}") };
        assert!(
            hint.starts_with("nixl 1P1D at 8 req/s: prefill was busy 43 % of the time, decode ran at 79 % of "),
            "{hint}"
        );
        assert!(
            hint.contains("of the batch that TPOT 9 ms allows; ") && hint.ends_with("load both sides alike"),
            "{hint}"
        );
    }

    #[test]
    fn without_utilisation_the_queues_give_the_direction() {
        let mut study = study(9.0);
        for point in &mut study.arms[1].points {
            let engines = point.facts.as_mut().and_then(|f| f.engines.as_mut()).expect("counters");
            engines.prefill_time = None;
        }
        let hints = hints(arms(&study), &study.question.slo);
        assert!(
            hints[0].contains("its prefill side is what keeps requests waiting; more prefill would help"),
            "{hints:?}"
        );
    }
}
