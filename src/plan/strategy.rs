//! How a session decides what to measure, and in which order several arms take turns.

use super::candidates::LayoutKind;
use super::threshold::ThresholdPlan;
use crate::units::RequestRate;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `--strategy`: how a session decides what to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StrategyName {
    /// Look for the rate at which the target is just met, and spend the time where it narrows that most
    Search,
    /// Every rate of a list on every arm
    Grid,
}

/// How a session decides what to measure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum StrategyPlan {
    #[default]
    Grid,
    Search(SearchPlan),
    Threshold(ThresholdPlan),
    Race(RacePlan),
}

impl StrategyPlan {
    /// Wall time with any engine up, at the most.
    pub fn budget(&self) -> Option<Duration> {
        match self {
            StrategyPlan::Grid | StrategyPlan::Threshold(_) => None,
            StrategyPlan::Search(search) => Some(search.budget),
            StrategyPlan::Race(race) => Some(race.budget),
        }
    }
}

/// Looking for the crossing of each arm, and for the ratio of two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchPlan {
    /// Half-width of the ratio's 95 % interval (one arm: of its crossing's), as a part of it, at which the search ends.
    pub precision: f64,
    /// Wall time with any engine up, after which it ends.
    pub budget: Duration,
    /// Where doubling begins.
    pub first_rate: RequestRate,
    /// How long a pilot lasts, at least.
    pub pilot: Duration,
}

/// Finding the best of many deployments that take the same GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RacePlan {
    /// What each is predicted to carry, as logarithms of requests a second, in the order of the arms.
    pub predicted: Vec<f64>,
    /// How far that may be off, and which are off together.
    pub covariance: Vec<Vec<f64>>,
    /// The best of each kind meet in the final.
    pub kinds: Vec<LayoutKind>,
    /// Wall time with any engine up, after which it ends.
    pub budget: Duration,
    /// What a launch is taken to last until one was seen, and a point with what lies between two.
    pub launch_takes: Duration,
    pub point_takes: Duration,
    /// How long a point lasts.
    pub point: Duration,
}

/// `--order`: how several arms take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// All fleets stay up and take turns at every rate: for arms on disjoint GPUs.
    #[value(skip)]
    Interleaved,
    /// Each arm's sweep once, one fleet after the other.
    #[value(name = "AB", alias = "ab")]
    Ab,
    /// There and back with full teardown in between, so that drift hits both arms alike.
    #[value(name = "ABBA", alias = "abba")]
    Abba,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Order::Interleaved => "interleaved",
            Order::Ab => "AB",
            Order::Abba => "ABBA",
        })
    }
}

/// The default: interleaved where no GPU is shared, else there and back.
pub fn default_order(arms: usize, disjoint: bool) -> Order {
    match (arms, disjoint) {
        (0 | 1, _) => Order::Ab,
        (_, true) => Order::Interleaved,
        (_, false) => Order::Abba,
    }
}
