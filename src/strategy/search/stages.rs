//! Which arms are up: all side by side, or one after the other, there and back.

use super::{Known, Search};
use crate::analyse::interval::Z95;
use crate::strategy::Step;

/// Points that must fit into the time left for a launch to be worth it.
const WORTHWHILE_POINTS: f64 = 3.0;
/// Below this share of the whole half-width, more points of the same launches help little: launches are what differs.
const LAUNCHES_DOMINATE: f64 = 0.6;

impl Search {
    /// All arms are up together.
    pub(super) fn side_by_side(&self, known: &[Known<'_>], spent: f64) -> Option<Step> {
        let all: Vec<usize> = (0..known.len()).collect();
        let left = self.budget_secs() - spent;
        let Some(launch) = known.iter().map(|arm| arm.progress.launch).collect::<Option<Vec<u32>>>() else {
            let begun = known.iter().any(|arm| !arm.progress.points.is_empty());
            return (!begun || (left > 0.0 && !self.is_precise(known))).then_some(Step::Launch(all));
        };
        let round = launch.iter().copied().min().unwrap_or(1);
        let precise = self.is_precise(known);
        if round < self.rounds {
            let over = spent >= self.budget_secs() * f64::from(round) / f64::from(self.rounds);
            if (over || precise) && self.is_worthwhile(known, &all, left) {
                return Some(Step::Launch(all));
            }
        } else if precise {
            return None;
        } else if self.launches_dominate(known) && self.is_worthwhile(known, &all, left) {
            return Some(Step::Launch(all));
        }
        self.best(known, &all, left).map(Into::into)
    }

    /// One arm is up at a time: each until its share of the time is used or its crossing is known well enough, the first
    /// of a round being the last of the round before, so that drift hits all arms alike.
    pub(super) fn in_turn(&self, known: &[Known<'_>], spent: f64) -> Option<Step> {
        let left = self.budget_secs() - spent;
        let stages: u32 = known.iter().map(launches).sum();
        let planned = self.rounds * known.len() as u32;
        let deadline = self.budget_secs() * f64::from(stages) / f64::from(planned.max(stages));
        let Some(up) = known.iter().position(|arm| arm.progress.launch.is_some()) else {
            return self.first_or_again(known, spent < deadline, left);
        };
        if stages < planned {
            let over = spent >= deadline || self.is_settled(&known[up]);
            if !over && let Some(choice) = self.best(known, &[up], left) {
                return Some(choice.into());
            }
            let next = next_arm(known, up);
            if self.is_worthwhile(known, &[next], left) {
                return Some(Step::Launch(vec![next]));
            }
        }
        if self.is_precise(known) {
            return None;
        }
        let weakest = self.weakest(known);
        if weakest != up && self.is_worthwhile(known, &[weakest], left) {
            return Some(Step::Launch(vec![weakest]));
        }
        self.best(known, &[up], left).map(Into::into)
    }

    /// Nothing is up: it begins, or was interrupted in the middle of an arm's turn.
    fn first_or_again(&self, known: &[Known<'_>], in_turn: bool, left: f64) -> Option<Step> {
        let latest = known.iter().enumerate().filter_map(|(i, arm)| Some((arm.progress.points.last()?, i)));
        let Some((_, last)) = latest.max_by(|a, b| a.0.started_at.cmp(&b.0.started_at)) else {
            return Some(Step::Launch(vec![0]));
        };
        if left <= 0.0 || self.is_precise(known) {
            return None;
        }
        let arm = if in_turn && !self.is_settled(&known[last]) { last } else { next_arm(known, last) };
        Some(Step::Launch(vec![arm]))
    }

    /// Whether an arm's own crossing is known as well as its part of a ratio needs.
    fn is_settled(&self, arm: &Known<'_>) -> bool {
        let launch = arm.progress.launch.unwrap_or_else(|| launches(arm));
        let in_launch = arm.progress.points.iter().filter(|p| p.launch == launch && !p.pilot).count();
        let error = arm.outlook.as_ref().and_then(|o| o.variance(None));
        let narrow = error.is_some_and(|v| Z95 * v.sqrt() <= self.goal.precision.ln_1p() / 2f64.sqrt());
        in_launch >= super::FEWEST_POINTS && narrow
    }

    /// The arm whose crossing is known least.
    fn weakest(&self, known: &[Known<'_>]) -> usize {
        let error = |arm: &Known<'_>| arm.outlook.as_ref().and_then(|o| o.variance(None)).unwrap_or(f64::INFINITY);
        let by_error = |a: &usize, b: &usize| error(&known[*a]).total_cmp(&error(&known[*b]));
        (0..known.len()).max_by(by_error).unwrap_or(0)
    }

    /// Whether launching these arms once more leaves time to measure something.
    fn is_worthwhile(&self, known: &[Known<'_>], arms: &[usize], left: f64) -> bool {
        let launching: f64 = arms.iter().filter_map(|&arm| known[arm].progress.launch_secs).sum();
        let points: f64 = arms.iter().filter_map(|&arm| self.choose(known, arm)).map(|choice| choice.secs).sum();
        left > launching + WORTHWHILE_POINTS * points
    }

    /// Whether the difference between launches is what keeps the interval wide.
    fn launches_dominate(&self, known: &[Known<'_>]) -> bool {
        if self.rounds < 2 {
            return false;
        }
        let within: Option<f64> = known.iter().map(|arm| arm.outlook.as_ref()?.variance(None)).sum();
        let Some((within, whole)) = within.zip(self.half_width(known)) else { return false };
        Z95 * within.sqrt() < LAUNCHES_DOMINATE * whole
    }
}

/// How often an arm's fleet was launched, as far as points tell.
fn launches(arm: &Known<'_>) -> u32 {
    let measured = arm.progress.points.iter().map(|p| p.launch).max().unwrap_or(0);
    measured.max(arm.progress.launch.unwrap_or(0))
}

/// The arm that was launched least; among equals the one that was up last.
fn next_arm(known: &[Known<'_>], up: usize) -> usize {
    (0..known.len()).min_by_key(|&i| (launches(&known[i]), i != up, i)).unwrap_or(0)
}
