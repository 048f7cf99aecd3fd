//! Candidates with what each is predicted to carry, and which of them are worth an engine's time.

use super::arm::{EngineSettings, Group, PredictedArm};
use super::capacity::{Carried, Half, Halves, Predictor};
use super::doubt;
use crate::plan::candidates::{Candidate, Layout, LayoutKind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Standard errors by which a prediction must lie behind another to be dropped.
const BEHIND: f64 = 1.645;
/// Candidates that are raced at most: more are not read, and not launched either.
const MOST: usize = 12;
/// How many times as much the best must carry by its halves for another to be left at what its own say.
const FAR: f64 = 2.0;
/// Without a prediction: a request a second and GPU, give or take this standard error of the logarithm.
const UNKNOWN: f64 = 1.2;

/// A candidate as its engines would be started.
#[derive(Debug, Clone)]
pub struct Entrant {
    pub candidate: Candidate,
    /// Of the engines that see a request first, and of those that decode.
    pub settings: [EngineSettings; 2],
    /// Whether prefill instances push the KV.
    pub pushed: bool,
}

impl Entrant {
    fn groups(&self) -> [Group; 2] {
        let [entry, decode] = self.settings;
        let group = |replicas, ranks, settings| Group { replicas, ranks, settings };
        match self.candidate.layout {
            Layout::Simple { replicas, each } => [group(replicas, each, entry), group(0, each, decode)],
            Layout::PrefillDecode { prefill, of_prefill, decode: n, of_decode } => {
                [group(prefill, of_prefill, entry), group(n, of_decode, decode)]
            }
        }
    }

    fn halves(&self) -> [Half; 2] {
        let [prefill, decode] = self.groups();
        let half = |prefills, group: Group| Half {
            prefills,
            ranks: group.ranks,
            settings: self.settings,
            pushed: self.pushed,
        };
        [half(true, prefill), half(false, decode)]
    }

    /// As the model of the engines takes it.
    pub fn arm(&self) -> PredictedArm {
        let [prefill, decode] = self.groups();
        match self.candidate.layout.kind() {
            LayoutKind::Simple => PredictedArm::Simple(prefill),
            LayoutKind::Nixl => PredictedArm::PrefillDecode { prefill, decode, pushed: self.pushed },
        }
    }
}

/// What becomes of a candidate before any engine is started.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    Raced,
    /// Weights or requests don't fit, or heads don't divide.
    DoesNotFit,
    /// Even few requests a second miss the target.
    NeverMeets,
    /// Behind this other one of its kind by more than predictions are off.
    Behind(usize),
    /// Not behind, but others are likelier to be the best.
    Crowded,
}

/// Predictions of many candidates and what follows from them, in their order.
#[derive(Debug, Clone)]
pub struct Field {
    pub carried: Vec<Option<Carried>>,
    pub fates: Vec<Fate>,
}

impl Field {
    /// `None` in place of a predictor: nothing is known of this model or GPU, and nothing is dropped but what is too much.
    pub fn of(entrants: &[Entrant], predictor: Option<&Predictor<'_>>) -> Field {
        let Some(predictor) = predictor else {
            let fates = (0..entrants.len()).map(|_| Fate::Raced).collect();
            let mut field = Field { carried: vec![None; entrants.len()], fates };
            field.crowd(entrants);
            return field;
        };
        let carried = carried(entrants, predictor);
        let fate = |(entrant, carried): (&Entrant, &Option<Carried>)| match carried {
            Some(_) => Fate::Raced,
            None if predictor.fits(&entrant.arm()) => Fate::NeverMeets,
            None => Fate::DoesNotFit,
        };
        let fates = entrants.iter().zip(&carried).map(fate).collect();
        let mut field = Field { carried, fates };
        field.drop_those_behind(entrants);
        field.crowd(entrants);
        field
    }

    /// Positions of those that are raced.
    pub fn raced(&self) -> impl Iterator<Item = usize> {
        (0..self.fates.len()).filter(|i| self.fates[*i] == Fate::Raced)
    }

    /// Logarithms of what those that are raced carry, and their covariance.
    pub fn prior(&self, entrants: &[Entrant]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let raced: Vec<usize> = self.raced().collect();
        let with_prefill = |i: &usize| (&entrants[*i].candidate, self.carried[*i].and_then(|c| c.bound_by_prefill));
        let mut covariance = doubt::covariance(&raced.iter().map(with_prefill).collect::<Vec<_>>());
        let unknown = raced.iter().any(|i| self.carried[*i].is_none());
        covariance.iter_mut().flatten().for_each(|cell| *cell += if unknown { UNKNOWN * UNKNOWN } else { 0.0 });
        let mean = |i: &usize| match self.carried[*i] {
            Some(carried) => carried.rate.ln(),
            None => f64::from(entrants[*i].candidate.layout.gpus()).ln(),
        };
        (raced.iter().map(mean).collect(), covariance)
    }

    /// The candidate that is predicted to carry most among some.
    fn best(&self, among: impl Iterator<Item = usize>) -> Option<usize> {
        let rate = |i: &usize| self.carried[*i].map_or(0.0, |carried| carried.rate);
        among.max_by(|a, b| rate(a).total_cmp(&rate(b)).then(b.cmp(a)))
    }

    /// Against others of their kind only: the question is which kind's best is the better one, each at its best.
    fn drop_those_behind(&mut self, entrants: &[Entrant]) {
        let raced: Vec<usize> = self.raced().collect();
        let (mean, covariance) = self.prior(entrants);
        let kind = |position: usize| entrants[raced[position]].candidate.layout.kind();
        for (c, at) in raced.iter().enumerate() {
            let lead = |b: usize| {
                let variance = covariance[b][b] + covariance[c][c] - 2.0 * covariance[b][c];
                (mean[b] - mean[c]) - BEHIND * variance.max(0.0).sqrt()
            };
            let of_kind = (0..raced.len()).filter(|other| kind(*other) == kind(c));
            let most = of_kind.max_by(|a, b| lead(*a).total_cmp(&lead(*b)));
            if let Some(ahead) = most.filter(|b| lead(*b) > 0.0) {
                self.fates[*at] = Fate::Behind(raced[ahead]);
            }
        }
    }

    fn first_of_kinds(&self, entrants: &[Entrant]) -> Vec<usize> {
        let kinds = [LayoutKind::Simple, LayoutKind::Nixl];
        let of = |kind: LayoutKind| self.raced().filter(move |i| entrants[*i].candidate.layout.kind() == kind);
        kinds.into_iter().filter_map(|kind| self.best(of(kind))).collect()
    }

    /// Keeps as many as are worth racing.
    fn crowd(&mut self, entrants: &[Entrant]) {
        let firsts = self.first_of_kinds(entrants);
        let mut raced: Vec<usize> = self.raced().collect();
        if raced.len() <= MOST {
            return;
        }
        let (mean, covariance) = self.prior(entrants);
        let mut order: Vec<usize> = (0..raced.len()).collect();
        let optimistic = |i: usize| mean[i] + covariance[i][i].sqrt() / 2.0;
        let is_first = |i: usize| firsts.contains(&raced[i]);
        order.sort_by(|a, b| is_first(*b).cmp(&is_first(*a)).then(optimistic(*b).total_cmp(&optimistic(*a))));
        let kept: Vec<usize> = order.iter().take(MOST).map(|i| raced[*i]).collect();
        raced.retain(|i| !kept.contains(i));
        raced.into_iter().for_each(|i| self.fates[i] = Fate::Crowded);
    }
}

/// All predictions, worked on side by side. Deployments of the same engines share what is simulated of them, and what their
/// halves show to be far behind is not simulated as a whole.
fn carried(entrants: &[Entrant], predictor: &Predictor<'_>) -> Vec<Option<Carried>> {
    let fitting: Vec<bool> = entrants.iter().map(|entrant| predictor.fits(&entrant.arm())).collect();
    let mut wanted: Vec<Half> = Vec::new();
    for (entrant, _) in entrants.iter().zip(&fitting).filter(|(e, fits)| is_split(e) && **fits) {
        for half in entrant.halves() {
            if !wanted.contains(&half) {
                wanted.push(half);
            }
        }
    }
    let rates = side_by_side(&wanted, |half| predictor.half(half));
    let known = |entrant: &Entrant| -> Option<Halves> {
        let [prefill, decode] = entrant.halves().map(|half| rates[wanted.iter().position(|known| *known == half)?]);
        Some(Halves { prefill: prefill?, decode: decode? })
    };
    let by_halves = |entrant: &Entrant| -> Option<Carried> {
        let [prefill, decode] = entrant.groups();
        Some(Predictor::by_halves(prefill, decode, known(entrant)?))
    };
    let split = || entrants.iter().zip(&fitting).filter(|(e, fits)| is_split(e) && **fits);
    let most = split().filter_map(|(entrant, _)| by_halves(entrant)).map(|c| c.rate).fold(0.0, f64::max);
    let mut jobs: Vec<(&Entrant, bool)> = Vec::new();
    // Settings that the model doesn't know make no difference to it.
    let twin = |a: &Entrant, b: &Entrant| a.arm() == b.arm();
    for (entrant, fits) in entrants.iter().zip(fitting) {
        if !jobs.iter().any(|(other, _)| twin(entrant, other)) {
            jobs.push((entrant, fits));
        }
    }
    let found = side_by_side(&jobs, |(entrant, fits)| match entrant.arm() {
        _ if !fits => None,
        PredictedArm::Simple(group) => Some(Carried { rate: predictor.simple(group)?, bound_by_prefill: None }),
        PredictedArm::PrefillDecode { prefill, decode, pushed } => match by_halves(entrant)? {
            far_behind if far_behind.rate * FAR < most => Some(far_behind),
            _ => predictor.prefill_decode(prefill, decode, pushed, known(entrant)?),
        },
    });
    let of = |entrant: &Entrant| found[jobs.iter().position(|(other, _)| twin(entrant, other))?];
    entrants.iter().map(of).collect()
}

fn is_split(entrant: &Entrant) -> bool {
    entrant.candidate.layout.kind() == LayoutKind::Nixl
}

/// One result a job, in their order.
fn side_by_side<T: Sync, R: Send + Sync>(jobs: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let done: Vec<OnceLock<R>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < jobs.len()) {
            let _ = done[at].set(work(&jobs[at]));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 1..workers {
            // Where no more threads are allowed, fewer do the same work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, worker);
        }
        worker();
    });
    done.into_iter().map(|cell| cell.into_inner().unwrap_or_else(|| unreachable!("every job was done"))).collect()
}
