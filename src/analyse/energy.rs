//! Joules a request and an output token take, at each point and at the crossing, and what that costs.

use super::input::{ArmInput, PointInput};
use super::interval::{Interval, student95};
use serde::Serialize;
use std::collections::BTreeMap;

/// What all GPUs of a deployment used at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointEnergy {
    /// For each served request.
    pub per_request: f64,
    /// For each output token; `None` where they were not all counted.
    pub per_token: Option<f64>,
}

/// A number, and how sure it is where repeats allow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub ci95: Interval,
}

/// Between the rates beside the crossing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossingEnergy {
    pub at_rate: f64,
    pub joules_per_request: Estimate,
    pub joules_per_output_token: Option<Estimate>,
    /// Share of each role in the joules; empty where nobody told them apart.
    pub share_by_role: BTreeMap<String, f64>,
}

/// `None` where the joules aren't known, or nothing was served.
pub fn of_point(point: &PointInput) -> Option<PointEnergy> {
    let joules = point.facts.as_ref()?.gpus.as_ref()?.energy_joules?;
    let served = point.samples.served();
    let tokens = output_tokens(point).filter(|n| *n > 0.0);
    (served > 0)
        .then(|| PointEnergy { per_request: joules / served as f64, per_token: tokens.map(|tokens| joules / tokens) })
}

/// Output tokens of served requests; `None` where they were not all counted.
fn output_tokens(point: &PointInput) -> Option<f64> {
    let samples = &point.samples;
    let served = samples.output_tokens.iter().zip(&samples.ttft).filter(|(_, ttft)| ttft.is_finite());
    (samples.uncounted() == 0).then(|| served.map(|(n, _)| f64::from(*n)).sum())
}

/// Mean output tokens of a served request, over all points.
pub fn tokens_per_request(arm: &ArmInput) -> Option<f64> {
    let tokens: f64 = arm.points.iter().map(output_tokens).sum::<Option<f64>>()?;
    let served: usize = arm.points.iter().map(|p| p.samples.served()).sum();
    (served > 0).then(|| tokens / served as f64)
}

/// At `crossing` requests a second, linear between the rates beside it.
pub fn at_crossing(arm: &ArmInput, crossing: f64) -> Option<CrossingEnergy> {
    let per_request = at(arm, crossing, |e| Some(e.per_request))?;
    let per_token = at(arm, crossing, |e| e.per_token);
    Some(CrossingEnergy {
        at_rate: crossing,
        joules_per_request: per_request,
        joules_per_output_token: per_token,
        share_by_role: shares(arm),
    })
}

/// Repeats of one rate: their mean, its standard error and degrees of freedom.
struct AtRate {
    rate: f64,
    mean: f64,
    error: Option<f64>,
    freedom: usize,
}

fn at(arm: &ArmInput, rate: f64, pick: fn(PointEnergy) -> Option<f64>) -> Option<Estimate> {
    let mut rates: Vec<(f64, Vec<f64>)> = Vec::new();
    for point in arm.points.iter().filter(|p| !p.rate.is_infinite()) {
        let Some(value) = of_point(point).and_then(pick) else { continue };
        match rates.iter_mut().find(|(same, _)| *same == point.rate.per_second()) {
            Some((_, values)) => values.push(value),
            None => rates.push((point.rate.per_second(), vec![value])),
        }
    }
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let known: Vec<AtRate> = rates.into_iter().map(|(rate, values)| AtRate::new(rate, &values)).collect();
    let above = known.iter().find(|r| r.rate >= rate)?;
    let below = known.iter().rfind(|r| r.rate <= rate)?;
    let share = if above.rate > below.rate { (rate - below.rate) / (above.rate - below.rate) } else { 0.0 };
    let value = below.mean + share * (above.mean - below.mean);
    let error = match share {
        0.0 => below.error,
        share => below.error.zip(above.error).map(|(b, a)| ((1.0 - share) * b).hypot(share * a)),
    };
    let freedom = if share == 0.0 { below.freedom } else { below.freedom + above.freedom };
    let half = error.map(|error| student95(freedom as f64) * error);
    let end = |sign: f64| half.map(|half| (value + sign * half).max(0.0));
    Some(Estimate { value, ci95: Interval { lo: end(-1.0), hi: end(1.0) } })
}

impl AtRate {
    fn new(rate: f64, values: &[f64]) -> AtRate {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let error = (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
        AtRate { rate, mean, error, freedom: values.len() - 1 }
    }
}

/// Over all points of which the roles are known.
fn shares(arm: &ArmInput) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    let known = arm.points.iter().filter_map(|p| p.facts.as_ref()?.gpus.as_ref());
    for (role, joules) in known.flat_map(|gpus| &gpus.joules_by_role) {
        *sums.entry(role.clone()).or_default() += joules;
    }
    let total: f64 = sums.values().sum();
    sums.into_iter().filter(|_| total > 0.0).map(|(role, joules)| (role, joules / total)).collect()
}

/// Money for a million output tokens at the crossing: what its GPUs cost while they make them.
pub fn cost_per_million_tokens(arm: &ArmInput, crossing: f64, gpus: u32, hour_price: f64) -> Option<f64> {
    let tokens_per_second = crossing * tokens_per_request(arm)?;
    (tokens_per_second > 0.0).then(|| hour_price * f64::from(gpus) / 3600.0 / tokens_per_second * 1e6)
}
