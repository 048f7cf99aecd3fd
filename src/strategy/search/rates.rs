//! Which rate to measure next on an arm, how often, how long.

use super::{Known, Search};
use crate::analyse::{ArmInput, PointAttainment, PointInput, Question};
use crate::outcome::{PointFacts, PointKey, PointStatus};
use crate::plan::load::Extent;
use crate::strategy::{PointOrder, Step};
use crate::units::RequestRate;
use crate::words;

/// Requests of a pilot, and of a point, at the least.
const PILOT_REQUESTS: f64 = 12.0;
const POINT_REQUESTS: f64 = 100.0;
/// A point lasts this many times as long as its requests remember each other, within a few times the length asked for.
const MEMORIES: f64 = 20.0;
const LONGEST: f64 = 3.0;
/// What a point costs beside its load: the last answers, and the looks before and after.
const OVERHEAD_SECS: f64 = 2.0;
/// From pilot to pilot, where nothing is known; and where another arm's crossing is.
const DOUBLING: f64 = 2.0;
const STEP: f64 = 1.5;
/// Rates that met the target and that missed it as near as this bracket the crossing well enough.
const NEAR: f64 = 1.6;
/// No deployment is looked for beyond.
const FASTEST: f64 = 1e5;
/// How often the first rate may be halved before an arm is given up.
const HALVINGS: i32 = 7;
/// Points lie on these rates, times a power of ten (the E12 series, steps of a fifth): arms meet at common rates.
const STEPS: [f64; 12] = [1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2];
/// How far from the crossing a point may lie, as parts of it.
const REACH: (f64, f64) = (0.5, 1.7);
/// Where an arm's first points lie, before they say themselves what would help: a curve needs a foot and a slope.
const FIRST_PLACES: [f64; 3] = [0.85, 1.2, 0.65];
/// A step that could be taken.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) arm: usize,
    pub(super) order: PointOrder,
    pub(super) secs: f64,
    /// With the same requests on all arms that it tells something of.
    pub(super) secs_on_all: f64,
    /// Variance of the logarithms of the crossings that it takes away, per second; none for pilots.
    pub(super) gain: f64,
}

impl From<Choice> for Step {
    fn from(choice: Choice) -> Step {
        Step::Measure { arm: choice.arm, point: choice.order }
    }
}

/// Rates that an arm was measured at, and whether it met the target there; ascending.
#[derive(Debug)]
pub(super) struct Tested(Vec<(f64, bool)>);

impl Tested {
    pub(super) fn of(arm: &ArmInput, question: &Question) -> Tested {
        let fine = |p: &&PointInput| p.facts.as_ref().is_none_or(|f| f.status != PointStatus::Failed);
        let met = |p: &PointInput| {
            let attainment = PointAttainment::of(&p.samples, &question.slo)?;
            Some((p.rate.per_second(), attainment.both.percent() >= question.target.percent().get()))
        };
        let whole = arm.points.iter().chain(&arm.pilots).filter(fine).filter_map(met);
        let mut all: Vec<_> = whole.chain(arm.stopped.iter().map(|p| (p.rate.per_second(), false))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        Tested(all)
    }

    /// The highest rate that met the target, and the lowest that missed it.
    fn bracket(&self) -> (Option<f64>, Option<f64>) {
        let met = self.0.iter().rfind(|(_, met)| *met).map(|(rate, _)| *rate);
        let missed = self.0.iter().find(|(_, met)| !*met).map(|(rate, _)| *rate);
        (met, missed)
    }

    /// `between 8 and 16`.
    pub(super) fn words(&self) -> Option<String> {
        match self.bracket() {
            (Some(met), Some(missed)) if met < missed => {
                Some(format!("between {} and {}", words::number(met), words::number(missed)))
            }
            (Some(met), None) => Some(format!("at least {}", words::number(met))),
            (None, Some(missed)) => Some(format!("below {}", words::number(missed))),
            (Some(met), Some(_)) => Some(format!("about {}", words::number(met))),
            (None, None) => None,
        }
    }
}

impl Search {
    /// What to measure next on an arm; `None` where looking on is of no use.
    pub(super) fn choose(&self, known: &[Known<'_>], arm: usize) -> Option<Choice> {
        if let Some(choice) = self.twin(known, arm) {
            return Some(choice);
        }
        match self.pilot_rate(known, arm) {
            Some(rate) => self.pilot(known, arm, rate?),
            None => self.point(known, arm),
        }
    }

    /// What another arm has answered and this one has not, where that says something of this arm's crossing.
    fn twin(&self, known: &[Known<'_>], arm: usize) -> Option<Choice> {
        let (key, requests) = twin(known, arm)?;
        let secs = f64::from(requests) / key.rate.per_second() + OVERHEAD_SECS;
        let order = PointOrder { key, extent: Extent::Requests(requests), pilot: false, may_stop: true };
        Some(Choice { arm, order, secs, secs_on_all: secs, gain: f64::INFINITY })
    }

    /// The rate of the next pilot: `None` where the crossing is bracketed, `Some(None)` where the arm is given up.
    fn pilot_rate(&self, known: &[Known<'_>], arm: usize) -> Option<Option<f64>> {
        let elsewhere = elsewhere(known, arm);
        let factor = if elsewhere.is_some() { STEP } else { DOUBLING };
        let first = self.goal.first_rate.per_second();
        match known[arm].tested.bracket() {
            // The other arm's points will say where this one stands.
            (None, None) if elsewhere.is_some() => None,
            (None, None) => Some(Some(first)),
            (Some(met), None) => Some(Some(met * factor).filter(|rate| *rate <= FASTEST)),
            (None, Some(missed)) => Some(Some(missed / factor).filter(|rate| *rate >= first * 0.5f64.powi(HALVINGS))),
            (Some(met), Some(missed)) => (missed / met > NEAR).then(|| Some((met * missed).sqrt())),
        }
    }

    fn pilot(&self, known: &[Known<'_>], arm: usize, rate: f64) -> Option<Choice> {
        let rate = two_digits(rate)?;
        let secs = self.goal.pilot.as_secs_f64().max(PILOT_REQUESTS / rate.per_second());
        let key = PointKey { rate, attempt: fresh_attempt(known, rate) };
        let extent = Extent::Requests((rate.per_second() * secs).ceil() as u32);
        let order = PointOrder { key, extent, pilot: true, may_stop: true };
        let secs = secs + OVERHEAD_SECS;
        Some(Choice { arm, order, secs, secs_on_all: secs, gain: 0.0 })
    }

    /// The point that narrows the crossings most a second.
    fn point(&self, known: &[Known<'_>], arm: usize) -> Option<Choice> {
        let about = known[arm].crossing()?;
        let judged = known[arm].progress.judged;
        let (above, below) = self.open_sides(judged);
        let first = FIRST_PLACES.get(judged.points.len() + judged.stopped.len());
        let mut rates = match first {
            // A rate that was measured is no foot and no slope of its own.
            Some(place) => {
                nearest_of(steps_between(about * place / STEP, about * place * STEP), about * place, |rate| {
                    judged.points.iter().all(|p| p.rate != rate) && judged.stopped.iter().all(|p| p.rate != rate)
                })
                .into_iter()
                .collect()
            }
            None => steps_between(about * REACH.0, about * REACH.1),
        };
        if first.is_none() {
            rates.retain(|r| above.is_none_or(|a| r.per_second() > a) && below.is_none_or(|b| r.per_second() < b));
        }
        if rates.is_empty() {
            let further = above.map(|r| r * STEP).or(below.map(|r| r / STEP));
            rates.extend(further.and_then(nearest_step));
        }
        let choices = rates.into_iter().map(|rate| self.point_at(known, arm, rate));
        choices.max_by(|a, b| a.gain.total_cmp(&b.gain))
    }

    /// Where no point has missed the target yet, only rates above all of them say where it is missed; and the other way
    /// round.
    fn open_sides(&self, judged: &ArmInput) -> (Option<f64>, Option<f64>) {
        let whole = ArmInput { pilots: Vec::new(), ..judged.clone() };
        let (met, missed) = Tested::of(&whole, &self.question).bracket();
        match (met, missed) {
            (Some(met), None) => (Some(met), None),
            (None, Some(missed)) => (None, Some(missed)),
            _ => (None, None),
        }
    }

    fn point_at(&self, known: &[Known<'_>], arm: usize, rate: RequestRate) -> Choice {
        let requests = self.requests(&known[arm], rate);
        let secs = f64::from(requests) / rate.per_second() + OVERHEAD_SECS;
        let told: Vec<&Known<'_>> =
            known.iter().enumerate().filter(|(i, other)| *i == arm || other.reaches(rate)).map(|(_, a)| a).collect();
        let gain = |arm: &&Known<'_>| {
            let spread = |further| arm.outlook.as_ref().and_then(|o| o.variance(further));
            let after = spread(Some((rate.per_second(), f64::from(requests))))?;
            Some((spread(None)? - after).max(0.0))
        };
        let secs_on_all = secs * told.len() as f64;
        let gain = told.iter().map(|arm| gain(arm).unwrap_or(1.0)).sum::<f64>() / secs_on_all;
        let key = PointKey { rate, attempt: fresh_attempt(known, rate) };
        let order = PointOrder { key, extent: Extent::Requests(requests), pilot: false, may_stop: true };
        Choice { arm, order, secs, secs_on_all, gain }
    }

    /// Requests of a point: as many as were asked for; where a length in time was, enough for the queue to forget its
    /// beginning many times.
    fn requests(&self, arm: &Known<'_>, rate: RequestRate) -> u32 {
        match self.extent {
            Extent::Requests(n) => n,
            Extent::Duration(length) => {
                let least = length.as_secs_f64() * rate.per_second();
                let memory = arm.outlook.as_ref().map_or(1.0, |o| o.clustering());
                let wanted = (MEMORIES * memory).clamp(least, LONGEST * least);
                wanted.max(POINT_REQUESTS).min(f64::from(u32::MAX)).ceil() as u32
            }
        }
    }
}

impl Known<'_> {
    /// Where the arm crosses the target, about: by the curve, but between what met it and what missed it.
    fn crossing(&self) -> Option<f64> {
        let by_curve = self.outlook.as_ref().and_then(|o| o.crossing());
        match self.tested.bracket() {
            (Some(met), Some(missed)) if met < missed => {
                Some(by_curve.map_or((met * missed).sqrt(), |rate| rate.clamp(met, missed)))
            }
            _ => by_curve,
        }
    }

    /// Whether a point at this rate says something of the arm's crossing.
    fn reaches(&self, rate: RequestRate) -> bool {
        self.crossing().is_some_and(|crossing| is_near(crossing, rate))
    }
}

fn is_near(crossing: f64, rate: RequestRate) -> bool {
    (crossing * REACH.0..=crossing * REACH.1).contains(&rate.per_second())
}

/// Where another arm crosses the target.
fn elsewhere(known: &[Known<'_>], arm: usize) -> Option<f64> {
    known.iter().enumerate().filter(|(i, _)| *i != arm).find_map(|(_, other)| other.crossing())
}

/// A point of another arm that this arm has not answered yet and that would say something of its crossing, and how many
/// requests it has. What both arms answered shows their difference without the luck of the arrivals.
fn twin(known: &[Known<'_>], arm: usize) -> Option<(PointKey, u32)> {
    let own = &known[arm];
    // An arm of which nothing is known is taken to be much like the others, for two points.
    let measured = own.progress.judged.points.len() + own.progress.judged.stopped.len();
    let guess = own.crossing().or_else(|| elsewhere(known, arm).filter(|_| measured < 2))?;
    let others = known.iter().enumerate().filter(|(i, _)| *i != arm).flat_map(|(_, other)| other.progress.points);
    let open = |p: &&PointFacts| {
        !p.pilot && p.status != PointStatus::Failed && is_near(guess, p.key.rate) && !own.progress.has(p.key)
    };
    let twin = others.filter(open).min_by(|a, b| a.started_at.cmp(&b.started_at))?;
    Some((twin.key, twin.stopped.map_or(twin.offered, |stop| stop.planned)))
}

/// The first attempt at a rate that no arm has made.
fn fresh_attempt(known: &[Known<'_>], rate: RequestRate) -> u32 {
    let all = known.iter().flat_map(|arm| arm.progress.points);
    all.filter(|p| p.key.rate == rate).map(|p| p.key.attempt).max().unwrap_or(0) + 1
}

fn steps_between(low: f64, high: f64) -> Vec<RequestRate> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|decade| STEPS.map(|step| step * 10f64.powi(decade)));
    all.filter(|rate| *rate >= low && *rate <= high).filter_map(two_digits).collect()
}

fn nearest_step(rate: f64) -> Option<RequestRate> {
    nearest_of(steps_between(rate / STEP, rate * STEP), rate, |_| true)
}

fn nearest_of(steps: Vec<RequestRate>, rate: f64, fits: impl Fn(RequestRate) -> bool) -> Option<RequestRate> {
    let distance = |a: &RequestRate| (a.per_second() / rate).ln().abs();
    steps.into_iter().filter(|step| fits(*step)).min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// Two significant digits, for people to read.
pub(super) fn two_digits(rate: f64) -> Option<RequestRate> {
    let text = format!("{rate:.1e}");
    text.parse().ok().and_then(RequestRate::new).filter(|r| r.per_second() > 0.0)
}
