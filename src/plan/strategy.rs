//! In which order fleets come up and points are measured. Pure; the session walks it.

use super::load::Load;
use crate::outcome::PointKey;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

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

/// Fleets that are started together, and what is measured while they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Arms whose fleets are up, by index.
    pub arms: Vec<usize>,
    pub points: Vec<(usize, PointKey)>,
}

/// The default: interleaved where no GPU is shared, else there and back.
pub fn default_order(arms: usize, disjoint: bool) -> Order {
    match (arms, disjoint) {
        (0 | 1, _) => Order::Ab,
        (_, true) => Order::Interleaved,
        (_, false) => Order::Abba,
    }
}

/// Every point of every arm, in each launch of its fleet. Attempts are numbered through the launches.
pub fn stages(arms: usize, load: &Load, order: Order) -> Vec<Stage> {
    (0..load.launches)
        .flat_map(|launch| match order {
            Order::Interleaved => vec![interleaved(arms, load, launch)],
            Order::Ab => (0..arms).map(|arm| alone(arm, load, launch)).collect(),
            Order::Abba if launch % 2 == 0 => (0..arms).map(|arm| alone(arm, load, launch)).collect(),
            Order::Abba => (0..arms).rev().map(|arm| alone(arm, load, launch)).collect(),
        })
        .collect()
}

/// The attempts that belong to a launch, counted from 0.
fn attempts(load: &Load, launch: u32) -> impl Iterator<Item = u32> {
    let first = launch * load.attempts + 1;
    first..first + load.attempts
}

fn alone(arm: usize, load: &Load, launch: u32) -> Stage {
    let sweep = |attempt| load.rates.iter().map(move |&rate| (arm, PointKey { rate, attempt }));
    Stage { arms: vec![arm], points: attempts(load, launch).flat_map(sweep).collect() }
}

/// Who goes first alternates from rate to rate, for the same reason as there-and-back.
fn interleaved(arms: usize, load: &Load, launch: u32) -> Stage {
    let mut points = Vec::new();
    for attempt in attempts(load, launch) {
        for (i, &rate) in load.rates.iter().enumerate() {
            let key = PointKey { rate, attempt };
            let turn = (0..arms).map(|arm| (arm, key));
            if (i + attempt as usize) % 2 == 1 { points.extend(turn) } else { points.extend(turn.rev()) }
        }
    }
    Stage { arms: (0..arms).collect(), points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load::Extent;
    use crate::units::RequestRate;

    fn load(rates: &[f64], launches: u32, attempts: u32) -> Load {
        let rates = rates.iter().filter_map(|&r| RequestRate::new(r)).collect();
        Load { launches, attempts, ..Load::poisson(rates, Extent::Requests(10)) }
    }

    fn walk(stages: &[Stage]) -> Vec<String> {
        stages
            .iter()
            .map(|s| {
                s.points
                    .iter()
                    .map(|(arm, k)| format!("{}{}#{}", ["A", "B", "C"][*arm], k.rate, k.attempt))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn there_and_back_measures_every_rate_twice() {
        let stages = stages(2, &load(&[1.0, 2.0], 2, 1), Order::Abba);
        assert_eq!(walk(&stages), ["A1.0#1 A2.0#1", "B1.0#1 B2.0#1", "B1.0#2 B2.0#2", "A1.0#2 A2.0#2"]);
    }

    #[test]
    fn interleaved_arms_take_turns_at_going_first() {
        let stages = stages(2, &load(&[1.0, 2.0], 1, 2), Order::Interleaved);
        assert_eq!(walk(&stages), ["A1.0#1 B1.0#1 B2.0#1 A2.0#1 B1.0#2 A1.0#2 A2.0#2 B2.0#2"]);
        assert_eq!(stages[0].arms, [0, 1]);
    }

    #[test]
    fn each_arm_once_keeps_one_fleet_for_all_attempts() {
        let stages = stages(2, &load(&[1.0], 1, 2), Order::Ab);
        assert_eq!(walk(&stages), ["A1.0#1 A1.0#2", "B1.0#1 B1.0#2"]);
    }

    #[test]
    fn attempts_stay_within_a_launch_and_are_numbered_through() {
        let stages = stages(2, &load(&[1.0], 3, 2), Order::Abba);
        assert_eq!(
            walk(&stages),
            ["A1.0#1 A1.0#2", "B1.0#1 B1.0#2", "B1.0#3 B1.0#4", "A1.0#3 A1.0#4", "A1.0#5 A1.0#6", "B1.0#5 B1.0#6"]
        );
    }

    #[test]
    fn interleaved_fleets_start_anew_together() {
        let stages = stages(2, &load(&[1.0], 2, 1), Order::Interleaved);
        assert_eq!(walk(&stages), ["A1.0#1 B1.0#1", "B1.0#2 A1.0#2"]);
    }
}
