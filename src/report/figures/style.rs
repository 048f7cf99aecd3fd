//! What all figures of a study share: an arm's colour and marker, the unit of rates, titles and captions.

use crate::analyse::{ArmInput, ArmReport, Comparison};
use crate::draw::{Axis, Dash, Direction, Key, LegendEntry, MarkerShape, Point, Rgb, Rule, Stroke, marker, palette};
use crate::report::hues::hues;
use crate::report::{Study, inputs};
use crate::units::RequestRate;
use crate::words;

/// How an arm is told from the others, in every figure alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ArmLook {
    pub(super) color: Rgb,
    pub(super) shape: MarkerShape,
}

/// Of the arms' lines where nothing else needs dashes: arms that do the same must not hide each other.
pub(super) const DASHES: [Dash; 3] = [Dash::Solid, Dash::Dashed, Dash::Dotted];

/// Arms beyond which several curves of each would hide the others.
const FEW_ARMS: usize = 4;

/// Whether a figure shows one curve an arm and no band.
pub(super) fn is_crowded(study: &Study) -> bool {
    study.comparison.arms.len() > FEW_ARMS
}

/// Of every arm, in their order.
pub(super) fn looks(arms: &[ArmInput]) -> Vec<ArmLook> {
    hues(arms).into_iter().map(|hue| ArmLook { color: palette(hue), shape: marker(hue) }).collect()
}

/// Arms as they are reported, each with its look.
pub(super) fn dressed(study: &Study) -> impl Iterator<Item = (&ArmReport, ArmLook)> {
    study.comparison.arms.iter().zip(looks(&study.arms))
}

/// The axis of loads. Rates per GPU where every arm's GPUs are known, else of the whole deployment; where all points are
/// closed loops, how many requests are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateUnit {
    per_gpu: bool,
    closed: bool,
}

impl RateUnit {
    pub(super) fn of(comparison: &Comparison) -> RateUnit {
        RateUnit {
            per_gpu: comparison.arms.iter().all(|arm| arm.gpus.is_some_and(|n| n > 0)),
            closed: comparison.is_closed(),
        }
    }

    pub(super) fn is_closed(self) -> bool {
        self.closed
    }

    /// Where a load lies on this axis; `None` for one that has no place on it.
    pub(super) fn place(self, arm: &ArmReport, rate: RequestRate) -> Option<f64> {
        match (self.closed, rate.in_flight()) {
            (true, n) => n.map(f64::from),
            (false, None) if !rate.is_infinite() => Some(self.of_arm(arm, rate.per_second())),
            (false, _) => None,
        }
    }

    pub(super) fn is_per_gpu(self) -> bool {
        self.per_gpu
    }

    /// A quantity per second of `arm`, in this unit.
    pub(super) fn of_arm(self, arm: &ArmReport, per_second: f64) -> f64 {
        match arm.gpus {
            Some(n) if self.per_gpu && n > 0 => per_second / f64::from(n),
            _ => per_second,
        }
    }

    pub(super) fn axis(self) -> Axis {
        let label = match (self.closed, self.per_gpu) {
            (true, _) => IN_FLIGHT,
            (false, true) => "Per-GPU rate (req/s)",
            (false, false) => "Request rate (req/s)",
        };
        Axis::linear(label).including(0.0)
    }
}

/// Points of one load as their mean, so that repeats don't make a line go to and fro. They come in the order of their loads.
pub(super) fn repeats_together(points: impl IntoIterator<Item = (RequestRate, Point)>) -> Vec<(RequestRate, Point)> {
    let mut together: Vec<(RequestRate, Vec<Point>)> = Vec::new();
    for (rate, point) in points {
        match together.last_mut().filter(|(last, _)| *last == rate) {
            Some((_, repeats)) => repeats.push(point),
            None => together.push((rate, vec![point])),
        }
    }
    let mean = |points: &[Point], of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let one = |(rate, points): (RequestRate, Vec<Point>)| {
        let hollow = points.iter().any(|point| point.hollow);
        (rate, Point { x: mean(&points, |p| p.x), y: mean(&points, |p| p.y), hollow })
    };
    together.into_iter().map(one).collect()
}

/// The axis of a closed loop.
pub(super) const IN_FLIGHT: &str = "Requests in flight (closed loop)";

/// Log where the values span more than a decade: a saturated point must not flatten all others.
pub(super) fn latency_axis(label: &str, millis: impl Iterator<Item = f64>) -> Axis {
    let (low, high) = millis.fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
    if low > 0.0 && high > 12.0 * low { Axis::log(label) } else { Axis::linear(label).including(0.0) }
}

pub(super) fn attainment_axis() -> Axis {
    Axis::linear("SLO attainment").fixed(0.0, 102.0).ticks_at([0.0, 20.0, 40.0, 60.0, 80.0, 100.0]).in_unit(" %")
}

pub(super) fn target_rule(study: &Study) -> Rule {
    let percent = study.question.target.percent();
    Rule {
        at: percent.get(),
        direction: Direction::X,
        stroke: Stroke { color: Rgb::GREY, width: 1.0, dash: Dash::Dashed },
        text: Some(format!("{percent} target")),
        label: None,
    }
}

/// A limit of the SLO across a panel of latencies.
pub(super) fn limit_rule(at: f64, direction: Direction, text: String) -> Rule {
    let stroke = Stroke { color: Rgb::GREY, width: 1.0, dash: Dash::Dashed };
    Rule { at, direction, stroke, text: Some(text), label: None }
}

/// What stands for invalid points, if the study has any.
pub(super) fn invalid_entry(study: &Study) -> Option<LegendEntry> {
    let arms = study.comparison.arms.iter().zip(looks(&study.arms));
    let (_, look) = arms.into_iter().find(|(arm, _)| arm.invalid_points().next().is_some())?;
    let key = Key::Marker { shape: look.shape, color: look.color, hollow: true };
    Some(LegendEntry { key, label: "invalid point".into() })
}

/// `Qwen3-8B on 2 × H100: simple TP2 against nixl 1P1D`; a closed loop is called one.
pub(super) fn title(study: &Study) -> String {
    let models = words::distinct(study.arms.iter().filter_map(|arm| arm.identity.model.clone()));
    let hardware = words::distinct(study.runs.iter().filter_map(inputs::hardware));
    let place = match (models.as_slice(), hardware.as_slice()) {
        ([], _) => String::new(),
        (models, [one]) => format!("{} on {one}: ", words::listed(models)),
        (models, _) => format!("{}: ", words::listed(models)),
    };
    let samples = study.arms.iter().flat_map(|arm| &arm.points).map(|point| point.samples.as_ref());
    let loop_ = if study.comparison.is_closed() { ", closed loop" } else { inputs::loop_words(samples) };
    format!("{place}{}{loop_}", subject(study))
}

/// `simple TP2 against nixl 1P1D`.
pub(in crate::report) fn subject(study: &Study) -> String {
    let names: Vec<&str> = study.comparison.arms.iter().map(|arm| arm.name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_string(),
        many if is_crowded(study) => format!("{} deployments", many.len()),
        [one, others @ ..] => format!("{one} against {}", words::listed(others)),
    }
}

/// What was measured, in sentences: engines, dataset, load, limits.
pub(super) fn setting(study: &Study) -> String {
    let arms = || study.arms.iter().zip(&study.runs);
    let engines = words::distinct(arms().filter_map(|(arm, _)| arm.identity.engine.clone()));
    let datasets = words::distinct(arms().filter_map(|(arm, _)| arm.identity.dataset.clone()));
    let engines: Vec<String> = engines.iter().map(|e| e.replace("vllm ", "vLLM ")).collect();
    let mut parts = vec![words::listed(&engines), words::listed(&datasets)];
    parts.extend(words::distinct(arms().flat_map(|(_, run)| inputs::load_words(run))));
    if arms().all(|(_, run)| inputs::load_words(run).is_empty()) {
        parts.extend(offered(study));
    }
    parts.retain(|part| !part.is_empty());
    let limits = format!("Limits: {}; target {}.", study.question.slo, study.question.target.percent());
    match parts.as_slice() {
        [] => limits,
        parts => format!("Setting: {}. {limits}", parts.join(", ")),
    }
}

/// How many requests a point has, where only the points themselves tell.
fn offered(study: &Study) -> Option<String> {
    let all = || study.comparison.arms.iter().flat_map(|arm| arm.points.iter().map(|p| p.offered));
    match (all().min()?, all().max()?) {
        (low, high) if low == high => Some(format!("{low} requests a point")),
        (low, high) => Some(format!("{low} to {high} requests a point")),
    }
}
