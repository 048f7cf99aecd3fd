//! What a session does next, given what it has measured so far. Pure: nothing here starts a process or reads a clock.
//!
//! A strategy remembers nothing. It is asked for the next step with the points that the run directories hold, so that an
//! interrupted run goes on by asking again.

mod grid;

pub(crate) use grid::Grid;

use crate::outcome::{PointFacts, PointKey};

/// One step of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Take down every fleet that is up, then start those of these arms anew.
    Launch(Vec<usize>),
    /// Measure a point on an arm whose fleet was launched.
    Measure { arm: usize, key: PointKey },
}

/// What is known of an arm when a step is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArmProgress<'a> {
    /// In the order they were measured.
    pub(crate) points: &'a [PointFacts],
    /// The launch that the arm's next point is measured on; `None` where its fleet has to be launched first.
    pub(crate) launch: Option<u32>,
}

impl ArmProgress<'_> {
    pub(crate) fn has(&self, key: PointKey) -> bool {
        self.points.iter().any(|point| point.key == key)
    }
}

/// How a session decides what to measure.
#[derive(Debug, Clone)]
pub(crate) enum Strategy {
    Grid(Grid),
}

impl Strategy {
    /// `None` when everything has been measured. `arms` are all arms of the plan, in its order.
    pub(crate) fn next(&self, arms: &[ArmProgress<'_>]) -> Option<Step> {
        match self {
            Strategy::Grid(grid) => grid.next(arms),
        }
    }

    /// How many points there will be, where that is known beforehand.
    pub(crate) fn total(&self) -> Option<usize> {
        match self {
            Strategy::Grid(grid) => Some(grid.total()),
        }
    }

    /// Whether nothing is left to be measured on this arm.
    pub(crate) fn is_complete(&self, arm: usize, points: &[PointFacts]) -> bool {
        match self {
            Strategy::Grid(grid) => grid.is_complete(arm, points),
        }
    }
}
