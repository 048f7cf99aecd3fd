//! Every rate of the load on every arm, in an order that was fixed beforehand.

use super::{ArmProgress, PointOrder, Step};
use crate::outcome::{PointFacts, PointKey};
use crate::plan::Plan;
use crate::plan::load::Load;
use crate::plan::strategy::Order;

/// All points of a plan.
#[derive(Debug, Clone)]
pub struct Grid {
    load: Load,
    stages: Vec<LaunchRound>,
}

/// Fleets that are launched together, and what is measured on them.
#[derive(Debug, Clone, PartialEq)]
struct LaunchRound {
    arms: Vec<usize>,
    points: Vec<(usize, PointKey)>,
}

impl Grid {
    pub fn of(plan: &Plan) -> Grid {
        Grid::new(plan.arms.len(), &plan.sweep.load, plan.order)
    }

    /// Attempts are numbered through the launches of an arm.
    fn new(arms: usize, load: &Load, order: Order) -> Grid {
        let one_by_one = |launch| (0..arms).map(|arm| alone(arm, load, launch)).collect::<Vec<_>>();
        let stages = (0..load.launches).flat_map(|launch| match order {
            Order::Interleaved => vec![interleaved(arms, load, launch)],
            Order::Abba if launch % 2 == 1 => one_by_one(launch).into_iter().rev().collect(),
            Order::Ab | Order::Abba => one_by_one(launch),
        });
        Grid { load: load.clone(), stages: stages.collect() }
    }

    /// The points of one arm, in the order they are measured.
    pub fn points_of(&self, arm: usize) -> impl Iterator<Item = PointKey> {
        self.stages.iter().flat_map(|s| &s.points).filter(move |(a, _)| *a == arm).map(|(_, key)| *key)
    }

    pub(super) fn next(&self, arms: &[ArmProgress<'_>]) -> Option<Step> {
        self.next_but(arms, |_, _| false)
    }

    /// As if points that `left_out` names were not in the grid.
    pub(super) fn next_but(
        &self,
        arms: &[ArmProgress<'_>],
        left_out: impl Fn(usize, PointKey) -> bool,
    ) -> Option<Step> {
        let missing = |&(arm, key): &(usize, PointKey)| !arms[arm].has(key) && !left_out(arm, key);
        let stage = self.stages.iter().find(|stage| stage.points.iter().any(missing))?;
        let left: Vec<_> = stage.points.iter().copied().filter(missing).collect();
        let needed: Vec<usize> =
            stage.arms.iter().copied().filter(|arm| left.iter().any(|(other, _)| other == arm)).collect();
        if needed.iter().any(|&arm| !stage.is_on(arm, &arms[arm])) {
            return Some(Step::Launch(needed));
        }
        let order = |key: PointKey| {
            let extent = self.load.extent_of(key.rate);
            PointOrder { key, extent, pilot: false, may_stop: false }
        };
        left.first().map(|&(arm, key)| Step::Measure { arm, point: order(key) })
    }

    pub(super) fn total(&self) -> usize {
        self.stages.iter().map(|s| s.points.len()).sum()
    }

    pub(super) fn is_complete(&self, arm: usize, points: &[PointFacts]) -> bool {
        self.points_of(arm).all(|key| points.iter().any(|p| p.key == key))
    }
}

impl LaunchRound {
    /// Whether the arm's present launch belongs to this stage: it has measured nothing for another.
    fn is_on(&self, arm: usize, progress: &ArmProgress<'_>) -> bool {
        progress.launch.is_some_and(|launch| {
            let mut measured = progress.points.iter().filter(|p| p.launch == launch);
            measured.all(|p| self.points.contains(&(arm, p.key)))
        })
    }
}

/// The attempts that belong to a launch, counted from 0.
fn attempts(load: &Load, launch: u32) -> impl Iterator<Item = u32> {
    let first = launch * load.attempts + 1;
    first..first + load.attempts
}

fn alone(arm: usize, load: &Load, launch: u32) -> LaunchRound {
    let sweep = |attempt| load.rates.iter().map(move |&rate| (arm, PointKey { rate, attempt }));
    LaunchRound { arms: vec![arm], points: attempts(load, launch).flat_map(sweep).collect() }
}

/// Who goes first alternates from rate to rate, for the same reason as there-and-back.
fn interleaved(arms: usize, load: &Load, launch: u32) -> LaunchRound {
    let mut points = Vec::new();
    for attempt in attempts(load, launch) {
        for (i, &rate) in load.rates.iter().enumerate() {
            let key = PointKey { rate, attempt };
            let turn = (0..arms).map(|arm| (arm, key));
            if (i + attempt as usize) % 2 == 1 { points.extend(turn) } else { points.extend(turn.rev()) }
        }
    }
    LaunchRound { arms: (0..arms).collect(), points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::ArmInput;
    use crate::outcome::PointStatus;
    use crate::plan::load::Extent;
    use crate::units::RequestRate;

    fn load(rates: &[f64], launches: u32, attempts: u32) -> Load {
        let rates = rates.iter().filter_map(|&r| RequestRate::new(r)).collect();
        Load { launches, attempts, ..Load::poisson(rates, Extent::Requests(10)) }
    }

    fn facts(key: PointKey, launch: u32) -> PointFacts {
        PointFacts {
            key,
            launch,
            host: None,
            status: PointStatus::Measured,
            why: Vec::new(),
            offered: 10,
            duration_secs: 1.0,
            started_at: String::new(),
            repeated_prompts: 0,
            repeated_tokens: None,
            engine_restarts: 0,
            ranks: Vec::new(),
            engines: None,
            gpus: None,
            hand_over: None,
            profiled: false,
            pilot: false,
            stopped: None,
        }
    }

    /// Two arms as a session keeps them: what was measured, how often each was launched, whether it is up.
    #[derive(Default)]
    struct Arms {
        points: [Vec<PointFacts>; 2],
        launches: [u32; 2],
        up: [bool; 2],
    }

    impl Arms {
        /// Follows the grid for at most `steps`, and says which they were.
        fn walk(&mut self, grid: &Grid, steps: usize) -> String {
            let (mut walked, nothing) = (Vec::new(), ArmInput::default());
            for _ in 0..steps {
                let progress = [0, 1].map(|arm| ArmProgress {
                    points: &self.points[arm],
                    launch: self.up[arm].then_some(self.launches[arm]),
                    judged: &nothing,
                    launch_secs: None,
                    is_out: false,
                });
                let Some(step) = grid.next(&progress) else { break };
                match step {
                    Step::Launch(arms) => {
                        self.up = [false; 2];
                        for &arm in &arms {
                            self.up[arm] = true;
                            self.launches[arm] += 1;
                        }
                        walked.push(format!("launch {}", arms.iter().map(|arm| ["A", "B"][*arm]).collect::<String>()));
                    }
                    Step::Measure { arm, point: PointOrder { key, .. } } => {
                        self.points[arm].push(facts(key, self.launches[arm]));
                        walked.push(format!("{}{}#{}", ["A", "B"][arm], key.rate, key.attempt));
                    }
                }
            }
            walked.join(", ")
        }
    }

    fn whole(load: &Load, order: Order) -> String {
        Arms::default().walk(&Grid::new(2, load, order), 100)
    }

    #[test]
    fn there_and_back_launches_each_arm_twice() {
        assert_eq!(
            whole(&load(&[1.0, 2.0], 2, 1), Order::Abba),
            "launch A, A1.0#1, A2.0#1, launch B, B1.0#1, B2.0#1, launch B, B1.0#2, B2.0#2, launch A, A1.0#2, A2.0#2"
        );
    }

    #[test]
    fn interleaved_arms_take_turns_at_going_first() {
        assert_eq!(
            whole(&load(&[1.0, 2.0], 1, 2), Order::Interleaved),
            "launch AB, A1.0#1, B1.0#1, B2.0#1, A2.0#1, B1.0#2, A1.0#2, A2.0#2, B2.0#2"
        );
        assert_eq!(
            whole(&load(&[1.0], 2, 1), Order::Interleaved),
            "launch AB, A1.0#1, B1.0#1, launch AB, B1.0#2, A1.0#2"
        );
    }

    #[test]
    fn attempts_stay_within_a_launch_and_are_numbered_through() {
        assert_eq!(whole(&load(&[1.0], 1, 2), Order::Ab), "launch A, A1.0#1, A1.0#2, launch B, B1.0#1, B1.0#2");
        assert_eq!(
            whole(&load(&[1.0], 3, 2), Order::Abba),
            "launch A, A1.0#1, A1.0#2, launch B, B1.0#1, B1.0#2, launch B, B1.0#3, B1.0#4, launch A, A1.0#3, A1.0#4, \
             launch A, A1.0#5, A1.0#6, launch B, B1.0#5, B1.0#6"
        );
    }

    #[test]
    fn cut_off_anywhere_it_goes_on_with_what_is_missing() {
        for (order, launches) in [(Order::Ab, 1), (Order::Abba, 2), (Order::Interleaved, 2)] {
            let grid = Grid::new(2, &load(&[1.0, 2.0], launches, 2), order);
            let mut undisturbed = Arms::default();
            let steps = undisturbed.walk(&grid, 100).split(", ").count();
            let measured = |arms: &Arms| arms.points.clone().map(|p| p.iter().map(|f| f.key).collect::<Vec<_>>());
            for cut in 0..steps {
                let mut arms = Arms::default();
                arms.walk(&grid, cut);
                arms.up = [false; 2];
                arms.walk(&grid, 100);
                assert_eq!(measured(&arms), measured(&undisturbed), "{order}, cut off after {cut} steps");
            }
        }
    }

    #[test]
    fn a_fleet_that_was_replaced_in_mid_stage_goes_on_with_it() {
        let grid = Grid::new(2, &load(&[1.0, 2.0, 4.0], 1, 1), Order::Interleaved);
        let mut arms = Arms::default();
        arms.walk(&grid, 3);
        arms.launches[0] += 1;
        assert_eq!(arms.walk(&grid, 100), "B2.0#1, A2.0#1, A4.0#1, B4.0#1");
        assert!(grid.is_complete(0, &arms.points[0]) && !grid.is_complete(0, &arms.points[0][1..]));
    }
}
