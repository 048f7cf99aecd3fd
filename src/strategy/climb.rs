//! A grid that climbs: the loads of an arm in rising order, until one misses the thresholds; what lies above is left out.

use super::grid::Grid;
use super::{ArmProgress, Step};
use crate::analyse::threshold::KeptLoads;
use crate::outcome::{PointFacts, PointKey};
use crate::plan::Plan;
use crate::plan::slo::Target;
use crate::plan::threshold::ThresholdPlan;
use crate::units::RequestRate;
use std::cmp::Ordering;

#[derive(Debug, Clone)]
pub struct Climb {
    grid: Grid,
    goal: ThresholdPlan,
    target: Target,
}

impl Climb {
    pub fn of(plan: &Plan, goal: &ThresholdPlan) -> Climb {
        Climb { grid: Grid::of(plan), goal: goal.clone(), target: plan.sweep.target }
    }

    pub(super) fn next(&self, arms: &[ArmProgress<'_>]) -> Option<Step> {
        let missed: Vec<Option<RequestRate>> = arms.iter().map(|arm| self.missed(arm)).collect();
        self.grid.next_but(arms, |arm, key| above(key, missed[arm]))
    }

    /// Whether an arm has nothing left: everything is measured, or the session ended by itself, which it does only when
    /// what is left lies above a load that misses.
    pub(super) fn is_complete(&self, arm: usize, points: &[PointFacts], ended: bool) -> bool {
        ended && !points.is_empty() || self.grid.is_complete(arm, points)
    }

    fn missed(&self, arm: &ArmProgress<'_>) -> Option<RequestRate> {
        KeptLoads::of(&arm.judged.points, &self.goal, self.target).missed
    }
}

fn above(key: PointKey, missed: Option<RequestRate>) -> bool {
    missed.is_some_and(|missed| key.rate.total_cmp(&missed) == Ordering::Greater)
}
