//! Where the time goes at every point, which limit binds, and which side keeps requests waiting: what the
//! breakdown draws, as a table and in sentences.

use crate::analyse::attribution::{Attribution, Binding, Shift, TimeSpent};
use crate::analyse::hand_over::{BoundBy, HandOver};
use crate::analyse::prefix::PrefixCache;
use crate::analyse::proof::HandOverProof;
use crate::analyse::{ArmInput, ArmReport, PointInput, PointReport};
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
pub(super) const CAVEAT: &str = "A hint, not a measurement: it is where the queues point; measure it before you believe it, \
    or ask `topobench predict`.";

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
        Binding::Unknown => "TPOT not known",
        Binding::Nothing => "nothing missed",
    }
}

/// Where the queues of each prefill/decode arm point; empty without such arms, or without what it takes to tell.
pub(super) fn hints<'a>(arms: impl IntoIterator<Item = (&'a ArmReport, &'a ArmInput)>, slo: &Slo) -> Vec<String> {
    arms.into_iter().filter_map(|(report, input)| hint(report, input, slo)).collect()
}

/// The hand-over of each arm that has one, at the point where posting it cost most.
pub(super) fn hand_overs<'a>(arms: impl IntoIterator<Item = &'a ArmReport>) -> Vec<String> {
    arms.into_iter().filter_map(hand_over).collect()
}

/// The prefix caches of each arm over all of its points, where prompts shared anything, and what would find more.
pub(super) fn prefix_caches<'a>(arms: impl IntoIterator<Item = (&'a ArmReport, &'a ArmInput)>) -> Vec<String> {
    let told = |(report, input): (&ArmReport, &ArmInput)| {
        let found = report.prefix_cache.filter(PrefixCache::is_worth_telling)?;
        let advice = found.advice(input.computing_instances().unwrap_or(1), input.is_prefix_aware());
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        Some(format!("{}: {found}{advice}", report.name))
    };
    arms.into_iter().filter_map(told).collect()
}

fn hand_over(report: &ArmReport) -> Option<String> {
    let cost = |kv: &HandOver| kv.post_ms.unwrap_or(0.0);
    let audited = report.points.iter().filter_map(|p| Some((p.rate, p.kv.as_ref()?)));
    let (rate, kv) = audited.max_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)))?;
    let proved = report.points.iter().all(|p| p.hand_over_proof == Some(HandOverProof::Proved));
    let proved = if proved { "; the counters of every point prove that nothing was recomputed" } else { "" };
    Some(format!("{} at {}: {kv}{proved}", report.name, words::offered(rate)))
}

/// The direction in which the queues point, at the highest rate at which they do. Which ratio would balance the sides is not
/// told: the engines' sums count prompts in one step several times, and TPOT grows with what the hand-over costs too.
fn hint(report: &ArmReport, input: &ArmInput, slo: &Slo) -> Option<String> {
    let of = |p: &PointInput| report.points.iter().find(|r| r.rate == p.rate && r.attempt == p.attempt);
    // Posting stalls a decode batch, however many instances share the requests.
    let bound = |r: &PointReport| r.kv.as_ref().and_then(|kv| kv.bound_by) == Some(BoundBy::Descriptors);
    let stalled = report.points.iter().any(bound);
    let toward = |p: &PointInput| {
        let shift = Attribution::of(p, slo).shift.filter(|_| of(p).is_some_and(|r| r.valid != Some(false)))?;
        (shift == Shift::MorePrefill || !stalled).then_some((p.rate, shift))
    };
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
    use crate::outcome::TimeSum;
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
    fn a_queue_that_takes_a_good_part_of_ttft_gives_a_direction() {
        let mut study = study(9.0);
        let short = hints(arms(&study), &study.question.slo);
        assert_eq!(short, [""; 0], "its requests wait for less than that");
        for point in &mut study.arms[1].points {
            let engines = point.facts.as_mut().and_then(|f| f.engines.as_mut()).expect("counters");
            engines.prefill_queue = engines.prefill_queue.map(|sum| TimeSum { secs: 0.1 * sum.count, ..sum });
        }
        let hints = hints(arms(&study), &study.question.slo);
        let [hint] = &hints[..] else { panic!("one hint: {hints:?}") };
        assert!(hint.starts_with("nixl 1P1D at ") && hint.ends_with("more prefill would help"), "{hint}");
    }

    #[test]
    fn where_posting_stalls_decode_more_of_it_is_no_advice() {
        let mut study = study(9.0);
        for point in &mut study.arms[1].points {
            let engines = point.facts.as_mut().and_then(|f| f.engines.as_mut()).expect("counters");
            // Decode queues, and TPOT is missed.
            (engines.prefill_queue, engines.decode_queue) = (engines.decode_queue, engines.prefill_queue);
        }
        let slo = Slo {
            tpot: crate::units::Tpot::from_secs(1e-4),
            ttft: crate::units::Ttft::from_secs(60.0),
            ..study.question.slo
        };
        let decode =
            |study: &Study| hints(arms(study), &slo).iter().any(|hint| hint.ends_with("more decode would help"));
        assert!(decode(&study));
        for point in &mut study.comparison.arms[1].points {
            let kv = point.kv.as_mut().expect("counted");
            kv.bound_by = Some(BoundBy::Descriptors);
        }
        assert!(!decode(&study));
    }
}
