//! Attainment over load as far as it is known: finished points as a report judges them, the one under way by the requests
//! that have ended.

use super::run::{RunWatch, SoFar};
use crate::analyse::{
    ArmInput, ArmReport, Censored, Comparison, Interval, PointInput, PointReport, Question, StoppedPoint,
};
use crate::outcome::PointKey;
use crate::record::RecordedRun;
use crate::report::{html, inputs};
use crate::session::events::point_words;
use crate::units::RequestRate;
use crate::words;
use serde::Serialize;

/// The curves, as the page draws them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CurvesView {
    target: f64,
    slo: String,
    /// What has to meet it: `Requests`, or `Sessions`.
    judged: &'static str,
    /// Of the horizontal axis.
    unit: &'static str,
    /// The highest place on the axis where a grid will measure.
    highest: Option<f64>,
    /// What may be said of the finished points.
    verdict: Option<String>,
    arms: Vec<ArmCurve>,
}

#[derive(Debug, Clone, Serialize)]
struct ArmCurve {
    name: String,
    /// Of the figures' colours and markers.
    hue: usize,
    /// What it carries, in words.
    carries: Option<String>,
    points: Vec<CurvePoint>,
    /// By which rates are divided on the axis.
    #[serde(skip)]
    over: f64,
}

#[derive(Debug, Clone, Serialize)]
struct CurvePoint {
    /// Place on the axis; `None` for a load without one, such as everything at once.
    x: Option<f64>,
    load: String,
    percent: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    requests: usize,
    kind: PointKind,
    /// What else there is to say of it.
    note: String,
}

/// How much a point's place can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PointKind {
    Measured,
    Invalid,
    /// Measured to choose rates by.
    Pilot,
    /// Ended early; at most so high.
    Stopped,
    UnderWay,
}

impl CurvesView {
    /// `race`: its own sentence says more than a comparison of some of its candidates.
    pub(super) fn new(runs: &[RecordedRun], question: &Question, race: bool) -> CurvesView {
        let labels = inputs::labels(runs);
        let arms: Vec<ArmInput> = runs.iter().zip(labels).map(|(run, label)| inputs::arm(run, Some(label))).collect();
        let hues = html::kit::hues(&arms);
        // Before every arm has a point there is nothing to compare.
        let measured = !race && arms.iter().all(|arm| !arm.points.is_empty());
        let comparison = Comparison::new(&arms, question);
        let sizes = words::distinct(arms.iter().map(|arm| arm.gpus));
        let per_gpu = sizes.len() > 1 && sizes.iter().all(Option::is_some);
        // Before a point there is the plan.
        let mut planned = runs.iter().filter_map(|run| Some(run.manifest.as_ref()?.sweep.load.is_closed())).peekable();
        let is_planned_closed = planned.peek().is_some() && planned.all(|closed| closed);
        let has_points = arms.iter().any(|arm| !arm.points.is_empty());
        let closed = if has_points { comparison.is_closed() } else { is_planned_closed };
        let curve = |((input, report), hue): ((&ArmInput, &ArmReport), usize)| {
            let over = if per_gpu && !closed { f64::from(input.gpus.unwrap_or(1)) } else { 1.0 };
            let mut points = measured_points(report, over);
            points.extend(input.pilots.iter().filter_map(|point| pilot(point, input, question, over)));
            points.extend(input.stopped.iter().map(|point| stopped(point, over)));
            ArmCurve { name: report.name.clone(), hue, carries: carries(report, closed), points, over }
        };
        let planned = runs.iter().zip(&arms).filter_map(|(run, input)| {
            let over = if per_gpu && !closed { f64::from(input.gpus.unwrap_or(1)) } else { 1.0 };
            let rates = &run.manifest.as_ref()?.sweep.load.rates;
            rates.iter().filter_map(|rate| place(*rate, over)).reduce(f64::max)
        });
        CurvesView {
            highest: planned.reduce(f64::max),
            target: question.target.percent().get(),
            slo: question.slo.to_string(),
            judged: if comparison.judged.is_request() { "Requests" } else { "Sessions" },
            unit: match (closed, per_gpu) {
                (true, _) => "requests in flight",
                (false, true) => "req/s per GPU",
                (false, false) => "req/s",
            },
            verdict: measured.then_some(comparison.verdict),
            arms: arms.iter().zip(&comparison.arms).zip(hues).map(curve).collect(),
        }
    }

    /// With the points that are under way, in the place of earlier ones. The runs are those of `new`, in their order.
    pub(super) fn under_way<'a>(&mut self, runs: impl IntoIterator<Item = &'a RunWatch>, question: &Question) {
        for (arm, watch) in self.arms.iter_mut().zip(runs) {
            arm.points.retain(|point| point.kind != PointKind::UnderWay);
            arm.points.extend(watch.so_far().and_then(|so_far| under_way(&so_far, question, arm.over)));
        }
    }
}

fn place(rate: RequestRate, over: f64) -> Option<f64> {
    match rate.in_flight() {
        Some(n) => Some(f64::from(n)),
        None => (!rate.is_infinite()).then(|| rate.per_second() / over),
    }
}

/// Repeats of a rate together, as the figures draw them.
fn measured_points(report: &ArmReport, over: f64) -> Vec<CurvePoint> {
    let point = |rate: &crate::analyse::RateReport| {
        let own: Vec<&PointReport> = report.points.iter().filter(|p| p.rate == rate.rate).collect();
        let invalid = own.iter().find(|p| p.valid == Some(false));
        let repeats = if own.len() > 1 { format!("{} attempts together", own.len()) } else { String::new() };
        CurvePoint {
            x: place(rate.rate, over),
            load: words::offered(rate.rate),
            percent: Some(rate.attainment.both.percent()),
            low: rate.ci95.lo,
            high: rate.ci95.hi,
            requests: own.iter().map(|p| p.offered).sum(),
            kind: if invalid.is_some() { PointKind::Invalid } else { PointKind::Measured },
            note: invalid.and_then(|p| p.why.first().cloned()).unwrap_or(repeats),
        }
    };
    report.rates.iter().map(point).collect()
}

/// A single point by itself.
fn single(
    point: &PointInput,
    kind: PointKind,
    input: Option<&ArmInput>,
    question: &Question,
    over: f64,
) -> Option<CurvePoint> {
    let report = PointReport::new(point, input.map(|arm| arm.kind).unwrap_or_default(), question)?;
    let Interval { lo, hi } = report.ci95.both;
    Some(CurvePoint {
        x: place(point.rate, over),
        load: point_words(PointKey { rate: point.rate, attempt: point.attempt }),
        percent: report.attainment.both,
        low: lo,
        high: hi,
        requests: report.offered,
        kind,
        note: String::new(),
    })
}

fn pilot(point: &PointInput, input: &ArmInput, question: &Question, over: f64) -> Option<CurvePoint> {
    let shown = single(point, PointKind::Pilot, Some(input), question, over)?;
    Some(CurvePoint {
        load: words::offered(point.rate),
        low: None,
        high: None,
        note: "a pilot, to choose rates by: not judged".to_string(),
        ..shown
    })
}

fn under_way(so_far: &SoFar, question: &Question, over: f64) -> Option<CurvePoint> {
    let shown = single(&so_far.input, PointKind::UnderWay, None, question, over)?;
    // How many sessions there will be is not told by the number of their requests.
    let per = so_far.input.samples.judged_per();
    let of = so_far.offered.filter(|_| per.is_request()).map(|n| format!(" of {n}")).unwrap_or_default();
    let judged = per.words();
    Some(CurvePoint { note: format!("under way: the {}{of} {judged} that have ended", shown.requests), ..shown })
}

fn stopped(point: &StoppedPoint, over: f64) -> CurvePoint {
    CurvePoint {
        x: place(point.rate, over),
        load: words::offered(point.rate),
        percent: Some(100.0 * (1.0 - point.stop.missed_at_least())),
        low: None,
        high: None,
        requests: point.stop.planned as usize,
        kind: PointKind::Stopped,
        note: "ended early, far below the target: at most so much".to_string(),
    }
}

/// `6.68 req/s (95 % interval 5.9 to 7.4)`; `None` where nothing was judged.
fn carries(arm: &ArmReport, closed: bool) -> Option<String> {
    if closed {
        let found = arm.max_concurrency?;
        return Some(match (found.value, found.censored) {
            (Some(n), Some(Censored::AboveTested)) => format!("{n} in flight or more"),
            (Some(n), _) => format!("{n} in flight"),
            (None, _) => "fewer in flight than were tested".to_string(),
        });
    }
    let Interval { lo, hi } = arm.max_rate.ci95;
    let tested = |pick: fn(f64, f64) -> f64| {
        arm.rates.iter().filter(|r| !r.rate.is_infinite()).map(|r| r.rate.per_second()).reduce(pick)
    };
    match (arm.max_rate.value, arm.max_rate.censored) {
        (Some(rate), _) => {
            let interval = match (lo, hi) {
                (Some(lo), Some(hi)) => format!(" (95 % interval {} to {})", words::number(lo), words::number(hi)),
                (Some(lo), None) => format!(" (at least {})", words::number(lo)),
                (None, Some(hi)) => format!(" (at most {})", words::number(hi)),
                (None, None) => String::new(),
            };
            Some(format!("{} req/s{interval}", words::number(rate)))
        }
        (None, Some(Censored::AboveTested)) => Some(format!("{} req/s or more", words::number(tested(f64::max)?))),
        (None, Some(Censored::BelowTested)) => Some(format!("less than {} req/s", words::number(tested(f64::min)?))),
        (None, None) => None,
    }
}
