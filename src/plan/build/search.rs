//! Whether rates are looked for or listed, and how a search is bounded.

use crate::plan::error::PlanError;
use crate::plan::options::LoadOptions;
use crate::plan::strategy::{SearchPlan, StrategyName, StrategyPlan};
use crate::plan::threshold::ThresholdPlan;
use crate::plan::topology::{Defaults, SearchDefaults};
use crate::units::RequestRate;
use std::time::Duration;

/// Half of the interval, in percent of the ratio.
const DEFAULT_PRECISION: f64 = 10.0;
const DEFAULT_BUDGET_SECS: f64 = 20.0 * 60.0;
const DEFAULT_FIRST_RATE: f64 = 1.0;
const DEFAULT_PILOT_SECS: f64 = 6.0;

pub(super) fn strategy(o: &LoadOptions, defaults: &Defaults, gate: Option<f64>) -> Result<StrategyPlan, PlanError> {
    let listed = listed_by(o);
    if !o.strategy.threshold.is_empty() {
        return threshold(o, listed);
    }
    let search = match (o.strategy.strategy, listed) {
        (Some(StrategyName::Search), Some(flag)) => {
            let remedy = format!("{flag} says what to measure: leave one of the two out");
            return Err(PlanError::value("--strategy", "search", &remedy));
        }
        (Some(StrategyName::Search), None) => true,
        (Some(StrategyName::Grid), _) | (None, Some(_)) => false,
        (None, None) => true,
    };
    if !search {
        return not_of_a_grid(o).map(|()| StrategyPlan::Grid);
    }
    if o.attempts > 1 {
        let remedy = "a search repeats what is worth repeating; give --request-rate for a grid, or leave it out";
        return Err(PlanError::value("--attempts", o.attempts, remedy));
    }
    if let Some(gate) = gate {
        let remedy = "a search goes beyond what a deployment can carry: name the rate that must pass, --request-rate R";
        return Err(PlanError::value("--gate", gate, remedy));
    }
    plan(o, &defaults.search).map(StrategyPlan::Search)
}

/// Loads in rising order, until one misses.
fn threshold(o: &LoadOptions, listed: Option<&str>) -> Result<StrategyPlan, PlanError> {
    let goal = ThresholdPlan::parse(&o.strategy.threshold, &o.strategy.threshold_by)?;
    if o.strategy.strategy.is_some() || !matches!(listed, Some("--request-rate" | "--concurrency")) {
        let remedy = "a threshold climbs through loads that are named: give --concurrency 1,2,5,10 or --request-rate, and no --strategy";
        return Err(PlanError::value("--threshold", &goal, remedy));
    }
    not_of_a_grid(o).map(|()| StrategyPlan::Threshold(goal))
}

/// The flag that says which points there are.
fn listed_by(o: &LoadOptions) -> Option<&'static str> {
    if o.request_rate.is_some() {
        Some("--request-rate")
    } else if o.concurrency.is_some() {
        Some("--concurrency")
    } else if o.trace_arrivals {
        Some("--trace-arrivals")
    } else {
        o.ramp_up_strategy.map(|_| "--ramp-up-strategy")
    }
}

fn not_of_a_grid(o: &LoadOptions) -> Result<(), PlanError> {
    let remedy = "it belongs to --strategy search; a grid ends when its rates have been measured";
    match (o.strategy.precision, o.strategy.budget) {
        (Some(precision), _) => Err(PlanError::value("--precision", precision, remedy)),
        (None, Some(budget)) => Err(PlanError::value("--budget", format!("{} s", budget.as_secs_f64()), remedy)),
        (None, None) => Ok(()),
    }
}

fn plan(o: &LoadOptions, defaults: &SearchDefaults) -> Result<SearchPlan, PlanError> {
    let secs = |key: &str, secs: f64| {
        let good = Duration::try_from_secs_f64(secs).ok().filter(|d| !d.is_zero());
        good.ok_or_else(|| PlanError::value(&format!("{key} in [defaults.search]"), secs, "give seconds above 0"))
    };
    let first_rate = defaults.first_rate.or_else(|| RequestRate::new(DEFAULT_FIRST_RATE));
    let first_rate = first_rate.filter(|rate| !rate.is_infinite() && rate.per_second() > 0.0);
    Ok(SearchPlan {
        precision: o.strategy.precision.unwrap_or(DEFAULT_PRECISION) / 100.0,
        budget: match o.strategy.budget {
            Some(budget) => budget,
            None => secs("budget", defaults.budget.unwrap_or(DEFAULT_BUDGET_SECS))?,
        },
        first_rate: first_rate
            .ok_or_else(|| PlanError::value("first_rate in [defaults.search]", "inf", "give a finite rate above 0"))?,
        pilot: secs("pilot", defaults.pilot.unwrap_or(DEFAULT_PILOT_SECS))?,
    })
}
