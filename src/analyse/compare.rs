//! Arms against the first arm: what `topobench compare --json` prints.
//!
//! The serialised form is a contract (`version` 1); what reports draw and print beyond it is kept out of the JSON.

use super::arm::{ArmReport, Evidence, Judged};
use super::confidence::{ROUNDS, Resampling};
use super::ratio::RatioReport;
use super::samples::Samples;
use super::series::by_rate;
use super::{verdict, warnings};
use crate::outcome::{PointFacts, PointKey};
use crate::plan::slo::{Slo, Target};
use crate::units::{E2el, RequestRate, Tpot, Ttft};
use serde::Serialize;
use std::sync::Arc;

/// One measured point: a rate, an attempt at it, its requests, and what is known beside them.
#[derive(Debug, Clone)]
pub struct PointInput {
    pub rate: RequestRate,
    /// Repeats of a rate differ in it, from 1.
    pub attempt: u32,
    /// `None` for imported files: then validity can't be judged.
    pub facts: Option<PointFacts>,
    /// Seconds from the first due to the last outcome, where somebody measured them.
    pub duration_secs: Option<f64>,
    /// Shared with the run it was read from.
    pub samples: Arc<Samples>,
}

/// Which way an arm's requests went, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArmKind {
    Simple,
    PrefillDecode,
    #[default]
    Unknown,
}

/// What must agree between arms before their numbers may be compared. `None`: not recorded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity {
    pub model: Option<String>,
    /// Program and version as the engine states it, e.g. `vllm 0.32.1`.
    pub engine: Option<String>,
    pub dataset: Option<String>,
    /// The hash of what each point was sent.
    pub traces: Vec<(PointKey, String)>,
}

/// One deployment's run.
#[derive(Debug, Clone)]
pub struct ArmInput {
    /// `simple`, `nixl`, or the topology's name.
    pub label: String,
    /// The short form of its size, for sentences: `TP2`, `1P1D`.
    pub size: Option<String>,
    pub dir: String,
    pub kind: ArmKind,
    /// Prefill and decode instances, where there are such.
    pub instances: Option<(u32, u32)>,
    /// All GPUs of the deployment; 0: it has none.
    pub gpus: Option<u32>,
    pub topology: serde_json::Value,
    pub identity: Identity,
    pub points: Vec<PointInput>,
}

impl ArmInput {
    /// The hash of what a point was sent, where it was recorded.
    pub fn trace(&self, key: PointKey) -> Option<&str> {
        self.identity.traces.iter().find(|(of, _)| *of == key).map(|(_, hash)| hash.as_str())
    }
}

/// What is asked of the arms.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub slo: Slo,
    pub target: Target,
    /// Rate of the scale panel; `None`: the highest common rate at which the first arm meets the target, else the lowest.
    pub scale_rate: Option<RequestRate>,
    /// Overrides the arms' GPUs in their order; shorter lists leave the rest alone.
    pub gpus: Vec<u32>,
}

/// The SLO in milliseconds, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SloMillis {
    pub ttft_ms: f64,
    pub tpot_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2el_ms: Option<f64>,
}

impl From<Slo> for SloMillis {
    fn from(slo: Slo) -> Self {
        // 57.5 ms must not print as 57.50000000000001.
        let tidy = |ms: f64| (ms * 1e9).round() / 1e9;
        SloMillis {
            ttft_ms: tidy(slo.ttft.as_millis()),
            tpot_ms: tidy(slo.tpot.as_millis()),
            e2el_ms: slo.e2el.map(|limit| tidy(limit.as_millis())),
        }
    }
}

impl From<SloMillis> for Slo {
    fn from(slo: SloMillis) -> Self {
        Slo {
            ttft: Ttft::from_millis(slo.ttft_ms),
            tpot: Tpot::from_millis(slo.tpot_ms),
            e2el: slo.e2el_ms.map(E2el::from_millis),
        }
    }
}

/// Why a value is missing: it lies outside of what was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Censored {
    AboveTested,
    BelowTested,
}

/// Arms, ratios of each to the first, and one sentence.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub slo: SloMillis,
    pub target_percent: f64,
    /// Whether the arms answered the same trace.
    pub paired: bool,
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
        let ratios: Vec<RatioReport> = (1..arms.len()).map(|b| RatioReport::new(0, b, &reports, &evidence)).collect();
        let warnings = warnings::of(arms, &reports, &warnings::Context { question, scale_rate, paired: how.paired });
        let verdict = verdict::sentence(&reports, &ratios, question);
        Comparison {
            version: 1,
            slo: question.slo.into(),
            target_percent: question.target.percent().get(),
            paired: how.paired,
            warnings,
            arms: reports,
            ratios,
            verdict,
        }
    }
}

/// Whether every arm shares points with the first, and answered the same trace at all of those.
fn paired(arms: &[ArmInput]) -> bool {
    let Some((first, others)) = arms.split_first() else { return false };
    !others.is_empty() && others.iter().all(|arm| same_trace(first, arm) == Some(true))
}

/// Whether the points that both have were sent the same; `None` if there are none. Hashes tell, and due times where one
/// has no hash.
pub(super) fn same_trace(a: &ArmInput, b: &ArmInput) -> Option<bool> {
    let key = |p: &PointInput| PointKey { rate: p.rate, attempt: p.attempt };
    let twin = |p: &PointInput| b.points.iter().find(|q| key(q) == key(p));
    let mut common = a.points.iter().filter_map(|p| Some((p, twin(p)?))).peekable();
    common.peek()?;
    Some(common.all(|(p, q)| match (a.trace(key(p)), b.trace(key(q))) {
        (Some(x), Some(y)) => x == y,
        _ => close(&p.samples.due, &q.samples.due),
    }))
}

/// Equal to a microsecond: schedules are computed, not measured.
fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-6)
}

/// Whether every rate of an arm replays the gaps of its lowest, only faster: then the points' errors go together.
fn shares_gaps(arm: &ArmInput) -> bool {
    let groups = by_rate(&arm.points);
    let scaled = |rate: f64, dues: &[f64]| -> Vec<f64> { dues.iter().map(|due| due * rate).collect() };
    let mut unit = groups.iter().filter(|(rate, _)| rate.is_finite()).map(|(r, p)| scaled(*r, &p[0].samples.due));
    let Some(first) = unit.next().filter(|dues| dues.len() > 1) else { return false };
    let same = |other: Vec<f64>| {
        first.len() == other.len() && first.iter().zip(&other).all(|(x, y)| (x - y).abs() < 1e-4 * x.abs().max(1.0))
    };
    let mut others = unit.map(same).peekable();
    others.peek().is_some() && others.all(|same| same)
}

fn default_scale_rate(arms: &[Judged], target: Target) -> Option<RequestRate> {
    let (first, others) = arms.split_first()?;
    let common: Vec<(f64, f64)> =
        first.curve().iter().copied().filter(|(rate, _)| others.iter().all(|arm| arm.has_rate(*rate))).collect();
    let met = common.iter().rfind(|(_, attained)| *attained >= target.percent().get());
    met.or(common.first()).and_then(|(rate, _)| RequestRate::new(*rate))
}
