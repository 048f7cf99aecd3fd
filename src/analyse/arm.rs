//! One arm of a comparison: its points judged, its crossing, its scale.

use super::attainment::PointAttainment;
use super::confidence::{Bound, RateSeries};
use super::crossing::{Crossing, crossing};
use super::energy::{self};
use super::fitted::Fitted;
use super::hand_over::HandOver;
use super::input::{ArmInput, ArmKind, Censored, KvWay, PointInput, Question};
use super::interval::Interval;
use super::latencies::median_ttft;
use super::launches::{Reach, launches};
use super::levels::{ClosedLoop, ClosedLoops};
use super::prefix::PrefixCache;
use super::proof::HandOverProof;
use super::reports::{ArmReport, ByLimit, MaxConcurrency, MaxRate, PointReport, RateReport, ScaleCurves, ScaleReport};
use super::samples::Samples;
use super::scale::{ScaleCurve, ScaledLimits};
use super::series::{Attempt, by_rate, pooled_scale, pooled95};
use super::session_slo::SessionReport;
use super::summary::realised_rate;
use super::validity::{self, Validity};
use crate::plan::slo::Target;
use crate::units::RequestRate;
use std::rc::Rc;

/// An arm with its points judged by the question.
pub(super) struct Judged<'a> {
    input: &'a ArmInput,
    gpus: Option<u32>,
    /// By rate, the infinite one last; then the attempts.
    rates: Vec<Rate<'a>>,
    /// (rate, attainment in percent), finite rates only.
    curve: Vec<(f64, f64)>,
    validity: Vec<Validity>,
}

struct Rate<'a> {
    rate: RequestRate,
    points: Vec<&'a PointInput>,
    /// Of the points, in their order.
    attempts: Vec<Rc<Attempt>>,
    attainment: PointAttainment,
}

impl<'a> Judged<'a> {
    pub(super) fn new(input: &'a ArmInput, gpus: Option<u32>, question: &Question) -> Self {
        let rates: Vec<Rate> = by_rate(&input.points).into_iter().filter_map(|g| Rate::new(g, question)).collect();
        let finite = rates.iter().filter(|r| !r.rate.is_infinite());
        let curve = finite.map(|r| (r.rate.per_second(), r.attainment.both.percent())).collect();
        let validity = input.points.iter().map(|p| validity::judge(p, input.kind, question)).collect();
        Judged { input, gpus, rates, curve, validity }
    }

    /// Loads, ascending, with their attainment in percent; all at once is none to compare at.
    pub(super) fn loads(&self) -> impl Iterator<Item = (RequestRate, f64)> + '_ {
        let loads = self.rates.iter().filter(|r| !r.rate.is_infinite() || r.rate.in_flight().is_some());
        loads.map(|r| (r.rate, r.attainment.both.percent()))
    }

    pub(super) fn has_rate(&self, rate: RequestRate) -> bool {
        self.rates.iter().any(|r| r.rate == rate)
    }

    /// Requests in flight of closed loops, ascending, with their attainment in percent.
    fn levels(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.loads().filter_map(|(rate, attained)| Some((rate.in_flight()?, attained)))
    }

    pub(super) fn series(&self, wanted: impl Fn(RequestRate) -> bool) -> Vec<RateSeries> {
        let wanted = self.rates.iter().filter(|r| wanted(r.rate));
        wanted.map(|r| RateSeries { rate: r.rate.per_second(), attempts: r.attempts.clone() }).collect()
    }

    /// Its closed loops.
    pub(super) fn closed_loops(&self) -> ClosedLoops<'a> {
        let closed = self.rates.iter().filter(|r| r.rate.in_flight().is_some());
        let level = |r: &Rate<'a>| ClosedLoop {
            load: r.rate,
            series: RateSeries { rate: r.rate.per_second(), attempts: r.attempts.clone() },
            points: r.points.clone(),
        };
        ClosedLoops { all: closed.map(level).collect(), gpus: self.gpus }
    }

    /// What its points that ended early say.
    pub(super) fn bounds(&self) -> Vec<Bound> {
        let finite = self.input.stopped.iter().filter(|p| !p.rate.is_infinite());
        finite.map(|p| Bound { rate: p.rate.per_second(), stop: p.stop }).collect()
    }

    /// The finite rates of each launch by itself.
    pub(super) fn series_by_launch(&self, reach: Reach) -> Vec<Vec<RateSeries>> {
        let cluster = |p: &'a PointInput| reach.cluster(p.host.as_deref(), p.launch);
        let finite = || self.rates.iter().filter(|r| !r.rate.is_infinite());
        let mut clusters: Vec<_> = finite().flat_map(|r| &r.points).map(|p| cluster(p)).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let of = |wanted| {
            let rates = finite().map(|r| {
                let own = r.points.iter().zip(&r.attempts).filter(|(p, _)| cluster(p) == wanted);
                RateSeries { rate: r.rate.per_second(), attempts: own.map(|(_, a)| Rc::clone(a)).collect() }
            });
            rates.filter(|r| !r.attempts.is_empty()).collect()
        };
        clusters.into_iter().map(of).collect()
    }

    pub(super) fn launches(&self, reach: Reach) -> u32 {
        reach.clusters(self.input)
    }

    /// The scale at the target at one rate.
    pub(super) fn scale_at(&self, rate: RequestRate, question: &Question) -> Option<f64> {
        self.scale_curves(rate, question)?.both.at_target(question.target)
    }

    /// The attempt behind a point; made for the occasion if the point sent nothing and belongs to no rate.
    fn attempt_of(&self, point: &PointInput, question: &Question) -> Rc<Attempt> {
        let mut known = self.rates.iter().flat_map(|r| r.points.iter().zip(&r.attempts));
        let found = known.find(|(p, _)| std::ptr::eq(**p, point)).map(|(_, attempt)| Rc::clone(attempt));
        found.unwrap_or_else(|| Rc::new(Attempt::new(point.attempt, &point.samples, &question.slo, question.target)))
    }

    /// `between_launches`: by finite rate, the standard error that launches add to a share.
    pub(super) fn report(
        &self,
        question: &Question,
        scale_rate: Option<RequestRate>,
        fitted: Fitted,
        scale: Interval,
        between_launches: &[f64],
    ) -> ArmReport {
        let target = question.target;
        let found = crossing(&self.curve, target.percent().get());
        let crossing_rate = found.as_ref().and_then(Crossing::first).map(RequestRate::per_second);
        let scale_curves = scale_rate.and_then(|rate| self.scale_curves(rate, question));
        let name = match &self.input.size {
            Some(size) if !self.input.label.contains(size.as_str()) => format!("{} {size}", self.input.label),
            _ => self.input.label.clone(),
        };
        ArmReport {
            label: self.input.label.clone(),
            dir: self.input.dir.clone(),
            gpus: self.gpus,
            topology: self.input.topology.clone(),
            settings: self.input.settings(),
            launches: launches(self.input),
            points: self.point_reports(question),
            energy: crossing_rate.and_then(|rate| energy::at_crossing(self.input, rate)),
            cost_per_million_tokens: crossing_rate.and_then(|rate| {
                energy::cost_per_million_tokens(
                    self.input,
                    rate,
                    self.gpus.filter(|n| *n > 0)?,
                    question.gpu_hour_price?,
                )
            }),
            max_concurrency: MaxConcurrency::of(self.levels(), target.percent().get()),
            stopped: self.input.stopped.clone(),
            prefix_cache: PrefixCache::of_arm(self.input),
            max_rate: max_rate(found.as_ref(), self.gpus, fitted.ci95),
            fitted,
            scale: scale_report(scale_rate, scale_curves.as_ref(), target, scale),
            name,
            rates: self.rate_reports(target, between_launches),
            crossing: found,
            scale_curves,
        }
    }

    fn rate_reports(&self, target: Target, between_launches: &[f64]) -> Vec<RateReport> {
        let between = between_launches.iter().copied().chain(std::iter::repeat(0.0));
        self.rates.iter().zip(between).map(|(rate, between)| rate.report(target, between)).collect()
    }

    fn scale_curves(&self, rate: RequestRate, question: &Question) -> Option<ScaleCurves> {
        let points = &self.rates.iter().find(|r| r.rate == rate)?.points;
        let of = |limits| ScaleCurve::new(points.iter().map(|p| p.samples.as_ref()), &question.slo, limits);
        Some(ScaleCurves { both: of(ScaledLimits::Both), ttft: of(ScaledLimits::Ttft), tpot: of(ScaledLimits::Tpot) })
    }

    /// In the order of rates and attempts; points that offered nothing have no attainment and are left out.
    fn point_reports(&self, question: &Question) -> Vec<PointReport> {
        let mut reports: Vec<PointReport> = self
            .input
            .points
            .iter()
            .zip(&self.validity)
            .filter_map(|(point, validity)| {
                let mut report = point_report(point, validity, question, &self.attempt_of(point, question))?;
                report.prefix_cache = PrefixCache::of(point, self.input.kind);
                report.hand_over_proof = HandOverProof::of(point, self.input.kind);
                let decode = self.input.instances.map(|(_, decode)| decode);
                Some(report.with_hand_over(HandOver::of(point, decode, &self.input.kv_way())))
            })
            .collect();
        reports.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.attempt.cmp(&b.attempt)));
        reports
    }
}

impl<'a> Rate<'a> {
    fn new((rate, points): (RequestRate, Vec<&'a PointInput>), question: &Question) -> Option<Self> {
        let each = points.iter().filter_map(|p| PointAttainment::of(&p.samples, &question.slo));
        let attainment = each.reduce(PointAttainment::pooled)?;
        let attempt = |p: &&PointInput| Rc::new(Attempt::new(p.attempt, &p.samples, &question.slo, question.target));
        Some(Rate { rate, attempts: points.iter().map(attempt).collect(), points, attainment })
    }

    fn report(&self, target: Target, between_launches: f64) -> RateReport {
        let samples: Vec<&Samples> = self.points.iter().map(|p| p.samples.as_ref()).collect();
        RateReport {
            rate: self.rate,
            attainment: self.attainment,
            ci95: pooled95(&self.attempts, between_launches),
            slo_scale: Some(pooled_scale(&self.attempts, target)).filter(|s| s.is_finite()),
            median_ttft: median_ttft(&samples),
        }
    }
}

impl PointReport {
    /// One point by itself; `None` if it offered nothing.
    pub fn new(point: &PointInput, kind: ArmKind, question: &Question) -> Option<PointReport> {
        let attempt = Attempt::new(point.attempt, &point.samples, &question.slo, question.target);
        let mut report = point_report(point, &validity::judge(point, kind, question), question, &attempt)?;
        report.prefix_cache = PrefixCache::of(point, kind);
        report.hand_over_proof = HandOverProof::of(point, kind);
        Some(report.with_hand_over(HandOver::of(point, None, &KvWay::default())))
    }

    fn with_hand_over(mut self, kv: Option<HandOver>) -> PointReport {
        self.notes.extend(kv.as_ref().and_then(|kv| kv.change).map(|change| change.to_string()));
        self.kv = kv;
        self
    }
}

fn point_report(
    point: &PointInput,
    validity: &Validity,
    question: &Question,
    attempt: &Attempt,
) -> Option<PointReport> {
    let a = PointAttainment::of(&point.samples, &question.slo)?;
    let energy = energy::of_point(point);
    let known = point.samples.unknown_tpots() == 0;
    let clustered = |limits| Attempt::by(&point.samples, &question.slo, question.target, limits).clustered95();
    Some(PointReport {
        rate: point.rate,
        concurrency: point.rate.in_flight(),
        energy_j_per_request: energy.map(|e| e.per_request),
        energy_j_per_token: energy.and_then(|e| e.per_token),
        attempt: point.attempt,
        launch: point.launch,
        realised_rate: realised_rate(&point.samples),
        offered: point.samples.len(),
        attainment: ByLimit {
            both: known.then(|| a.both.percent()),
            ttft: Some(a.ttft.percent()),
            tpot: known.then(|| a.tpot.percent()),
            e2el: a.e2el.map(|x| Some(x.percent())),
        },
        ci95: ByLimit {
            both: if known { attempt.clustered95() } else { NOTHING },
            ttft: clustered(ScaledLimits::Ttft),
            tpot: if known { clustered(ScaledLimits::Tpot) } else { NOTHING },
            e2el: a.e2el.map(|_| clustered(ScaledLimits::E2el)),
        },
        wilson95: ByLimit {
            both: if known { a.both.wilson95() } else { NOTHING },
            ttft: a.ttft.wilson95(),
            tpot: if known { a.tpot.wilson95() } else { NOTHING },
            e2el: a.e2el.map(|x| x.wilson95()),
        },
        slo_scale: Some(attempt.needed_scale).filter(|s| s.is_finite()),
        status: validity.status,
        valid: validity.valid,
        why: validity.why.clone(),
        late_sends: validity.late,
        kv: None,
        hand_over_proof: None,
        sessions: SessionReport::of(&point.samples, &question.slo),
        prefix_cache: None,
        notes: validity.notes.clone(),
        effective_requests: attempt.effective_size(),
        served: point.samples.served(),
    })
}

const NOTHING: Interval = Interval { lo: None, hi: None };

fn max_rate(found: Option<&Crossing>, gpus: Option<u32>, fitted: Interval) -> MaxRate {
    let value = found.and_then(Crossing::first).map(RequestRate::per_second);
    let gpus = gpus.filter(|n| *n > 0).map(f64::from);
    MaxRate {
        value,
        per_gpu: value.zip(gpus).map(|(rate, gpus)| rate / gpus),
        ci95: fitted.holding(value),
        censored: match found {
            Some(Crossing::AboveTested) => Some(Censored::AboveTested),
            Some(Crossing::BelowTested) => Some(Censored::BelowTested),
            _ => None,
        },
        all: found.map_or(&[][..], Crossing::all).iter().map(|r| r.per_second()).collect(),
    }
}

fn scale_report(
    at_rate: Option<RequestRate>,
    curves: Option<&ScaleCurves>,
    target: Target,
    ci95: Interval,
) -> ScaleReport {
    let value = curves.and_then(|c| c.both.at_target(target));
    let censored = (curves.is_some() && value.is_none()).then_some(Censored::AboveTested);
    ScaleReport { at_rate, value, ci95, censored }
}
