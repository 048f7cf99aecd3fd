//! Arms against the first arm: what `topobench compare --json` prints.
//!
//! The serialised form is a contract (`version` 1); what reports draw and print beyond it is kept out of the JSON.

use super::arm::{ArmReport, Evidence, Judged};
use super::confidence::{ROUNDS, Resampling};
use super::input::{ArmInput, Question, SloMillis};
use super::launches::Covers;
use super::pairing::{paired, shares_gaps};
use super::ratio::RatioReport;
use super::{verdict, warnings};
use crate::plan::slo::Target;
use crate::units::RequestRate;
use serde::Serialize;

/// Arms, ratios of each to the first, and one sentence.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub slo: SloMillis,
    pub target_percent: f64,
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
        let how = Resampling { rounds: ROUNDS, paired: paired(arms), shared_gaps: arms.iter().all(shares_gaps) };
        let judged: Vec<Judged> = arms.iter().enumerate().map(|(i, arm)| Judged::new(arm, gpus(i), question)).collect();
        let scale_rate = question.scale_rate.or_else(|| default_scale_rate(&judged, question.target));
        let evidence = Evidence::gather(&judged, question, scale_rate, how);
        let reports: Vec<ArmReport> =
            judged.iter().enumerate().map(|(i, arm)| arm.report(question, scale_rate, &evidence.of(i))).collect();
        let mut ratios: Vec<RatioReport> =
            (1..arms.len()).map(|b| RatioReport::new(0, b, &reports, &evidence)).collect();
        for ratio in &mut ratios {
            ratio.claim.text = verdict::claim(&reports, ratio, how.paired);
        }
        let warnings = warnings::of(arms, &reports, &warnings::Context { question, scale_rate, paired: how.paired });
        let covers = Covers::of(arms);
        let verdict = verdict::sentence(&verdict::Case {
            inputs: arms,
            arms: &reports,
            ratios: &ratios,
            question,
            paired: how.paired,
            covers,
        });
        Comparison {
            version: 1,
            slo: question.slo.into(),
            target_percent: question.target.percent().get(),
            paired: how.paired,
            covers,
            warnings,
            arms: reports,
            ratios,
            verdict,
        }
    }
}

fn default_scale_rate(arms: &[Judged], target: Target) -> Option<RequestRate> {
    let (first, others) = arms.split_first()?;
    let common: Vec<(f64, f64)> =
        first.curve().iter().copied().filter(|(rate, _)| others.iter().all(|arm| arm.has_rate(*rate))).collect();
    let met = common.iter().rfind(|(_, attained)| *attained >= target.percent().get());
    met.or(common.first()).and_then(|(rate, _)| RequestRate::new(*rate))
}
