//! What a session does next, given what it has measured so far. Pure: nothing here starts a process or reads a clock.
//!
//! A strategy remembers nothing. It is asked for the next step with the points that the run directories hold, so that an
//! interrupted run goes on by asking again.

mod climb;
mod grid;
pub mod race;
mod search;

pub use climb::Climb;
pub use grid::Grid;
pub use race::Contest;
pub use search::Search;

use crate::analyse::ArmInput;
use crate::outcome::{PointFacts, PointKey};
use crate::plan::Plan;
use crate::plan::load::Extent;
use crate::plan::strategy::StrategyPlan;

/// One step of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Take down every fleet that is up, then start those of these arms anew.
    Launch(Vec<usize>),
    /// Measure a point on an arm whose fleet was launched.
    Measure { arm: usize, point: PointOrder },
}

/// A point to be measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointOrder {
    pub key: PointKey,
    pub extent: Extent,
    /// Only to choose rates by.
    pub pilot: bool,
    /// It may end as soon as it can no longer meet the target.
    pub may_stop: bool,
}

/// What is known of an arm when a step is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ArmProgress<'a> {
    /// In the order they were measured.
    pub points: &'a [PointFacts],
    /// The launch that the arm's next point is measured on; `None` where its fleet has to be launched first.
    pub launch: Option<u32>,
    /// The same points with their requests; empty for a strategy that doesn't ask for them.
    pub judged: &'a ArmInput,
    /// Seconds that the latest launch took until it was warm; `None` before there was one.
    pub launch_secs: Option<f64>,
    /// Whether its engines did not start, or were lost for good: nothing more is measured on it.
    pub is_out: bool,
}

impl ArmProgress<'_> {
    pub(crate) fn has(&self, key: PointKey) -> bool {
        self.points.iter().any(|point| point.key == key)
    }
}

/// What is known of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionProgress<'a> {
    /// All arms of the plan, in its order.
    pub arms: &'a [ArmProgress<'a>],
    /// Seconds of wall time with any engine up so far.
    pub engine_secs: f64,
}

/// How a session decides what to measure.
#[derive(Debug, Clone)]
pub enum Strategy {
    Grid(Grid),
    Search(Box<Search>),
    Threshold(Climb),
    Race(Box<Contest>),
}

impl Strategy {
    pub fn of(plan: &Plan) -> Strategy {
        match &plan.sweep.strategy {
            StrategyPlan::Grid => Strategy::Grid(Grid::of(plan)),
            StrategyPlan::Search(goal) => Strategy::Search(Box::new(Search::of(plan, goal))),
            StrategyPlan::Threshold(goal) => Strategy::Threshold(Climb::of(plan, goal)),
            StrategyPlan::Race(race) => Strategy::Race(Box::new(Contest::of(plan, race))),
        }
    }

    /// `None` when there is nothing more to measure.
    pub fn next(&self, progress: &SessionProgress<'_>) -> Option<Step> {
        match self {
            Strategy::Grid(grid) => grid.next(progress.arms),
            Strategy::Search(search) => search.next(progress),
            Strategy::Threshold(climb) => climb.next(progress.arms),
            Strategy::Race(contest) => contest.next(progress),
        }
    }

    /// How many points there will be, where that is known beforehand.
    pub fn total(&self) -> Option<usize> {
        match self {
            Strategy::Grid(grid) => Some(grid.total()),
            // A climb may end before.
            Strategy::Search(_) | Strategy::Threshold(_) | Strategy::Race(_) => None,
        }
    }

    /// Whether it looks at requests, not only at which points there are.
    pub fn wants_requests(&self) -> bool {
        matches!(self, Strategy::Search(_) | Strategy::Threshold(_) | Strategy::Race(_))
    }

    /// Whether nothing is left to be measured on this arm. Only a session that ended by itself knows that of a search.
    pub fn is_complete(&self, arm: usize, points: &[PointFacts], ended: bool) -> bool {
        match self {
            Strategy::Grid(grid) => grid.is_complete(arm, points),
            Strategy::Race(_) => ended,
            Strategy::Search(_) => ended && points.iter().any(|p| !p.pilot),
            Strategy::Threshold(climb) => climb.is_complete(arm, points, ended),
        }
    }

    /// Whether it goes on with the other arms when the engines of one fail.
    pub fn outlives_its_arms(&self) -> bool {
        matches!(self, Strategy::Race(_))
    }

    /// What is known by now, in a few words, for people who wait.
    pub fn known(&self, progress: &SessionProgress<'_>) -> Option<String> {
        match self {
            Strategy::Grid(_) | Strategy::Threshold(_) => None,
            Strategy::Search(search) => search.known(progress),
            Strategy::Race(contest) => contest.known(progress),
        }
    }
}
