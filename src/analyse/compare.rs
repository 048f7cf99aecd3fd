//! Arms against the first arm: what `topobench compare --json` prints.
//!
//! The serialised form is a contract (`version` 1); what reports draw and print beyond it is kept out of the JSON.

use super::arm::Judged;
use super::confidence::ROUNDS;
use super::evidence::{Evidence, Pairing};
use super::input::{ArmInput, Question, SloMillis};
use super::launches::{Covers, Reach};
use super::pairing::{same_trace, shares_gaps};
use super::ratio::RatioReport;
use super::reports::ArmReport;
use super::{verdict, warnings};
use crate::plan::goodput_unit::GoodputUnit;
use crate::plan::slo::Target;
use crate::units::RequestRate;
use serde::Serialize;

/// Arms, ratios of each to the first, and one sentence.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub slo: SloMillis,
    pub target_percent: f64,
    /// What is judged, of which attainment is a share.
    #[serde(rename = "goodput_per", skip_serializing_if = "GoodputUnit::is_request")]
    pub judged: GoodputUnit,
    /// Whether the arms answered the same trace.
    pub paired: bool,
    /// What the intervals speak of.
    pub covers: Covers,
    pub warnings: Vec<String>,
    pub arms: Vec<ArmReport>,
    pub ratios: Vec<RatioReport>,
    pub verdict: String,
}

impl Comparison {
    /// Compares arms; one arm alone gives its own report and no ratios.
    pub fn new(arms: &[ArmInput], question: &Question) -> Comparison {
        let gpus = |i: usize| question.gpus.get(i).copied().or(arms[i].gpus);
        let reach = Reach::of(arms);
        let pairing = Pairing {
            rounds: ROUNDS,
            shared_gaps: arms.iter().map(shares_gaps).collect(),
            with_first: arms.iter().map(|arm| same_trace(&arms[0], arm) == Some(true)).collect(),
        };
        let paired = arms.len() > 1 && pairing.with_first.iter().all(|same| *same);
        let judged: Vec<Judged> = arms.iter().enumerate().map(|(i, arm)| Judged::new(arm, gpus(i), question)).collect();
        let scale_rate = question.scale_rate.or_else(|| default_scale_rate(&judged, question.target));
        let evidence = Evidence::gather(&judged, question, scale_rate, &pairing, reach);
        let reports: Vec<ArmReport> = judged
            .iter()
            .zip(&evidence.arms)
            .map(|(arm, known)| arm.report(question, scale_rate, known.fitted, known.scale, &known.between_launches))
            .collect();
        let mut ratios: Vec<RatioReport> =
            evidence.pairs.iter().zip(1..).map(|(known, b)| RatioReport::new(0, b, &reports, known)).collect();
        let warnings = warnings::of(arms, &reports, &warnings::Context { question, scale_rate, paired });
        let covers = reach.covers();
        let mut units = arms.iter().flat_map(|arm| &arm.points).map(|p| p.samples.judged_per());
        let per = units.next().unwrap_or_default();
        let case = verdict::Case { inputs: arms, arms: &reports, ratios: &[], question, paired, covers, per };
        for ratio in &mut ratios {
            ratio.claim.text = verdict::claim(&case, ratio);
        }
        let verdict = verdict::sentence(&verdict::Case { ratios: &ratios, ..case });
        Comparison {
            version: 1,
            slo: question.slo.into(),
            target_percent: question.target.percent().get(),
            judged: per,
            paired,
            covers,
            warnings,
            arms: reports,
            ratios,
            verdict,
        }
    }
}

impl Comparison {
    /// Whether every point is a closed loop.
    pub fn is_closed(&self) -> bool {
        let mut rates = self.arms.iter().flat_map(|arm| &arm.points).map(|p| p.rate).peekable();
        rates.peek().is_some() && rates.all(|rate| rate.in_flight().is_some())
    }
}

/// The highest common load at which any arm meets the target, else the lowest: the same whichever arm comes first.
fn default_scale_rate(arms: &[Judged], target: Target) -> Option<RequestRate> {
    let (first, others) = arms.split_first()?;
    let common = || first.loads().map(|(rate, _)| rate).filter(|rate| others.iter().all(|arm| arm.has_rate(*rate)));
    let meets =
        |rate: &RequestRate| arms.iter().any(|arm| arm.loads().any(|(r, a)| r == *rate && a >= target.percent().get()));
    let meeting: Vec<RequestRate> = common().filter(meets).collect();
    meeting.last().copied().or_else(|| common().next())
}
