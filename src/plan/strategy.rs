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

/// Fleets that are up together, and what is measured while they are.
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

/// Every point of every arm, once for each attempt (twice the attempts for there-and-back).
pub fn stages(arms: usize, load: &Load, order: Order) -> Vec<Stage> {
    let sweep = |arm: usize, attempt: u32| Stage {
        arms: vec![arm],
        points: load.rates.iter().map(|&rate| (arm, PointKey { rate, attempt })).collect(),
    };
    match order {
        Order::Interleaved => vec![interleaved(arms, load)],
        Order::Ab => (0..arms)
            .map(|arm| Stage {
                arms: vec![arm],
                points: (1..=load.attempts).flat_map(|attempt| sweep(arm, attempt).points).collect(),
            })
            .collect(),
        Order::Abba => (0..load.attempts)
            .flat_map(|round| {
                let there = (0..arms).map(move |arm| (arm, 2 * round + 1));
                let back = (0..arms).rev().map(move |arm| (arm, 2 * round + 2));
                there.chain(back)
            })
            .map(|(arm, attempt)| sweep(arm, attempt))
            .collect(),
    }
}

/// Who goes first alternates from rate to rate, for the same reason as there-and-back.
fn interleaved(arms: usize, load: &Load) -> Stage {
    let mut points = Vec::new();
    for attempt in 1..=load.attempts {
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

    fn load(rates: &[f64], attempts: u32) -> Load {
        let rates = rates.iter().filter_map(|&r| RequestRate::new(r)).collect();
        Load { attempts, ..Load::poisson(rates, Extent::Requests(10)) }
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
        let stages = stages(2, &load(&[1.0, 2.0], 1), Order::Abba);
        assert_eq!(walk(&stages), ["A1.0#1 A2.0#1", "B1.0#1 B2.0#1", "B1.0#2 B2.0#2", "A1.0#2 A2.0#2"]);
    }

    #[test]
    fn interleaved_arms_take_turns_at_going_first() {
        let stages = stages(2, &load(&[1.0, 2.0], 2), Order::Interleaved);
        assert_eq!(walk(&stages), ["A1.0#1 B1.0#1 B2.0#1 A2.0#1 B1.0#2 A1.0#2 A2.0#2 B2.0#2"]);
        assert_eq!(stages[0].arms, [0, 1]);
    }

    #[test]
    fn each_arm_once_keeps_one_fleet_for_all_attempts() {
        let stages = stages(2, &load(&[1.0], 2), Order::Ab);
        assert_eq!(walk(&stages), ["A1.0#1 A1.0#2", "B1.0#1 B1.0#2"]);
    }
}
