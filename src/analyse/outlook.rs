//! What is known of an arm's crossing so far, pilots included, and how much one more point would narrow it: for whoever
//! chooses what to measure next. A claim never rests on it.

use super::confidence::Bound;
use super::curve::{Curve, Observation};
use super::input::{ArmInput, PointInput, Question};
use super::series::Attempt;

/// The curve through everything that was measured of an arm.
#[derive(Debug)]
pub struct Outlook {
    curve: Curve,
    /// Points that will be judged.
    judged: Vec<Observation>,
    /// Requests that tell as much as one independent one, at rates near the crossing.
    clustering: f64,
}

impl Outlook {
    /// `None` before two rates were measured.
    pub fn of(arm: &ArmInput, question: &Question) -> Option<Outlook> {
        let allowed = (1.0 - question.target.percent().as_fraction()).max(LEAST_ALLOWED);
        let usable = |p: &&PointInput| p.samples.sent() > 0 && !p.rate.is_infinite();
        let each = |points: &[PointInput]| -> Vec<(Observation, f64)> {
            points.iter().filter(usable).map(|point| observed(point, question)).collect()
        };
        let (points, pilots) = (each(&arm.points), each(&arm.pilots));
        let all = || points.iter().chain(&pilots);
        let mut clustering: Vec<(f64, f64)> = all().map(|(o, effect)| ((o.missed - allowed).abs(), *effect)).collect();
        clustering.sort_by(|a, b| a.0.total_cmp(&b.0));
        let near = clustering.iter().take(NEAREST).map(|(_, effect)| *effect);
        let clustering = near.fold(1.0, f64::max);
        let bounds = arm.stopped.iter().filter(|p| !p.rate.is_infinite());
        let bounds = bounds.map(|p| Bound { rate: p.rate.per_second(), stop: p.stop }.observation(clustering));
        let observations: Vec<Observation> = all().map(|(o, _)| *o).chain(bounds).collect();
        let curve = Curve::fit(&observations, allowed)?;
        let judged = points.into_iter().map(|(o, _)| o).collect();
        Some(Outlook { curve, judged, clustering })
    }

    /// The rate at which the curve crosses the target, within the rates measured.
    pub fn crossing(&self) -> Option<f64> {
        let (lo, hi) = self.curve.crossing();
        (lo == hi && lo > 0.0).then_some(lo)
    }

    /// Requests that hang together.
    pub fn clustering(&self) -> f64 {
        self.clustering
    }

    /// Variance that the points which are judged leave to the logarithm of the crossing, about; with a point of this many
    /// requests at a rate added to them, if one is given. `None` where the curve has no crossing.
    pub fn variance(&self, further: Option<(f64, f64)>) -> Option<f64> {
        let crossing = self.crossing()?;
        let further = further.map(|(rate, requests)| Observation {
            rate,
            missed: self.curve.missed(rate),
            weight: requests / self.clustering,
            at_least: false,
        });
        self.curve.crossing_variance(self.judged.iter().chain(further.as_ref()), crossing)
    }
}

/// A target of 100 % is looked for as if one request in a thousand might miss.
const LEAST_ALLOWED: f64 = 1e-3;
/// Points nearest to the target whose clusters are taken as those at the crossing.
const NEAREST: usize = 3;

fn observed(point: &PointInput, question: &Question) -> (Observation, f64) {
    let attempt = Attempt::new(point.attempt, &point.samples, &question.slo, question.target);
    let weight = attempt.effective_size();
    let observation = Observation {
        rate: attempt.realised_rate().unwrap_or(point.rate.per_second()),
        missed: 1.0 - attempt.attained(),
        weight,
        at_least: false,
    };
    (observation, attempt.len() as f64 / weight.max(1.0))
}
