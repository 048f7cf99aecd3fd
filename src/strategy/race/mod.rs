//! Which of many deployments carries the most? Launches are dear and rates are cheap, so the race spends launches where
//! they may still change the answer.
//!
//! It begins with what is predicted, and with how far that may be off. Each measured launch moves what is believed of all
//! deployments that are off for the same reasons. First come those that are expected to gain most on the best so far,
//! one launch each and only as many points as it takes to see that one falls behind, or what it carries; then the best
//! of either kind in turns, each launch a new one, until one of them is known to carry more or the budget ends.
//! A race remembers nothing: the same points give the same next step.

mod belief;
mod contest;
mod evidence;
mod rates;
mod rehearsal;
#[cfg(test)]
mod tests;

pub use belief::Belief;
pub use contest::Contest;
pub use evidence::Seen;
pub use rehearsal::{Rehearsal, Visit};

use crate::outcome::PointKey;
use crate::plan::candidates::LayoutKind;
use belief::{Difference, Word};
use std::time::Duration;

/// Two launches of the same deployment differ by so much: standard error of a logarithm.
const LAUNCH_DRIFT: f64 = 0.05;
/// A challenger whose chance to be the better one is smaller has fallen behind.
const BEHIND: f64 = 0.03;
/// A launch is measured until its crossing is known this well, in the heats and in the final.
const HEAT_ERROR: f64 = 0.05;
const FINAL_ERROR: f64 = 0.025;
/// In the heats this is enough once the points have taken half as long as the launch: another launch says more.
const ROUGH_ERROR: f64 = 0.10;
const SHARE_OF_LAUNCH: f64 = 0.5;
/// Points of a launch at most.
const HEAT_POINTS: usize = 6;
const FINAL_POINTS: usize = 8;
/// A launch that is expected to gain less on the best so far is not worth its time.
const WORTH: f64 = 0.004;
/// To know the best of a kind counts for so much, where the other kind carries more.
const OF_KIND: f64 = 0.4;
/// Launches of either finalist before anything is claimed of them, and at most.
const FINAL_LAUNCHES: (u32, u32) = (2, 8);
/// Standard errors between the finalists that end it: 95 %, looked at several times.
const DECIDED: f64 = 2.3;
/// Or when they are known to carry the same, but for this.
const SAME: f64 = 0.04;
/// Points that a launch should have time for.
const POINTS_OF_A_LAUNCH: f64 = 3.0;
/// Launches in the heats before any are kept for the final: to try more says more than to try again.
const HEATS_FIRST: f64 = 4.0;

/// One deployment as far as the race has come.
#[derive(Debug, Clone, Copy)]
pub struct Racer<'a> {
    pub points: &'a [Seen],
    /// How often its fleet was launched.
    pub launches: u32,
    /// Whether it is up.
    pub is_up: bool,
    /// Whether its engines did not start, or were lost: it is out.
    pub is_out: bool,
    /// What its latest launch took, where that is known.
    pub launch_secs: Option<f64>,
}

/// The race of a number of deployments.
#[derive(Debug, Clone)]
pub struct Race {
    /// Before anything is measured, in the order of the arms.
    pub prior: Belief,
    /// The kind of each; the best of each kind meet in the final.
    pub kinds: Vec<LayoutKind>,
    /// Share of requests that must meet the limits, 0 to 1.
    pub target: f64,
    pub budget: Duration,
    /// What a launch takes where none was seen yet, and a point.
    pub launch_takes: Duration,
    pub point_takes: Duration,
}

/// What a race does next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Move {
    Launch(usize),
    /// On the deployment that is up.
    Measure {
        arm: usize,
        key: PointKey,
    },
}

/// How a race stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Deployments that were measured, the best first.
    pub order: Vec<usize>,
    /// What is believed that each carries, requests a second, measured or not.
    pub believed: Vec<f64>,
    /// Chance that each carries more than the best of those measured; the best itself has none.
    pub chance: Vec<f64>,
}

impl Race {
    /// `spent`: seconds with engines up so far. `None` when the race is over.
    pub fn next(&self, racers: &[Racer<'_>], spent: Duration) -> Option<Move> {
        let view = View::new(self, racers, spent);
        if let Some(up) = racers.iter().position(|racer| racer.is_up && !racer.is_out)
            && let Some(key) = view.next_point(up)
        {
            return Some(Move::Measure { arm: up, key });
        }
        view.next_launch().map(Move::Launch)
    }

    pub fn standing(&self, racers: &[Racer<'_>]) -> Standing {
        let view = View::new(self, racers, Duration::ZERO);
        let mut order: Vec<usize> = view.measured().collect();
        order.sort_by(|a, b| view.belief.mean[*b].total_cmp(&view.belief.mean[*a]));
        let best = order.first().copied();
        let chance = |i: usize| match best {
            Some(best) if best != i => view.belief.difference(i, best).chance(),
            _ => 0.0,
        };
        Standing {
            believed: view.belief.mean.iter().map(|log| log.exp()).collect(),
            chance: (0..racers.len()).map(chance).collect(),
            order,
        }
    }
}

/// A race with what was measured, and what is believed after it.
struct View<'a> {
    race: &'a Race,
    racers: &'a [Racer<'a>],
    spent: f64,
    belief: Belief,
}

impl<'a> View<'a> {
    fn new(race: &'a Race, racers: &'a [Racer<'a>], spent: Duration) -> View<'a> {
        View { race, racers, spent: spent.as_secs_f64(), belief: believed(race, racers) }
    }

    fn is_measured(&self, arm: usize) -> bool {
        !self.racers[arm].points.is_empty()
    }

    fn measured(&self) -> impl Iterator<Item = usize> {
        (0..self.racers.len()).filter(|arm| self.is_measured(*arm) && !self.racers[*arm].is_out)
    }

    /// Of some deployments the one that is believed to carry most.
    fn best(&self, among: impl Iterator<Item = usize>) -> Option<usize> {
        among.max_by(|a, b| self.belief.mean[*a].total_cmp(&self.belief.mean[*b]).then(b.cmp(a)))
    }

    /// The best other one of the same kind: each kind is to be known at its best.
    fn leader(&self, arm: usize) -> Option<usize> {
        let kind = self.race.kinds[arm];
        self.best(self.measured().filter(|other| *other != arm && self.race.kinds[*other] == kind))
    }

    fn left(&self) -> f64 {
        self.race.budget.as_secs_f64() - self.spent
    }

    fn point(&self) -> f64 {
        self.race.point_takes.as_secs_f64()
    }

    /// The rate to measure next on the launch that is up; `None` when it has told enough.
    fn next_point(&self, arm: usize) -> Option<PointKey> {
        let racer = &self.racers[arm];
        let here: Vec<Seen> = racer.points.iter().filter(|p| p.launch == racer.launches).copied().collect();
        // The other kind gets its launch, however little time there is.
        let kept = if here.is_empty() || self.missing().is_none() { 0.0 } else { self.launch_and(1.0) };
        if self.left() - kept < self.point() || (!here.is_empty() && self.has_told_enough(arm, &here)) {
            return None;
        }
        let leader = self.leader(arm);
        // A challenger meets the leader where the leader is at its limit: one point may be enough.
        let own = self.belief.mean[arm];
        let aim = match leader {
            Some(leader) if racer.points.is_empty() => own.max(self.belief.mean[leader]),
            _ => own,
        };
        let times = |rate: f64| here.iter().filter(|p| p.rate == rate).count() as u32;
        let rate = rates::next(aim, times)?;
        let before = racer.points.iter().filter(|p| p.rate == rate.per_second()).map(|p| p.attempt).max();
        Some(PointKey { rate, attempt: before.unwrap_or(0) + 1 })
    }

    fn has_told_enough(&self, arm: usize, here: &[Seen]) -> bool {
        // A second launch says more than many points on the first.
        let is_heat = self.racers[arm].launches <= 1;
        let rough = is_heat && here.len() as f64 * self.point() >= SHARE_OF_LAUNCH * self.launch_and(0.0);
        let (most, error) = match (is_heat, rough) {
            (true, true) => (HEAT_POINTS, ROUGH_ERROR),
            (true, false) => (HEAT_POINTS, HEAT_ERROR),
            (false, _) => (FINAL_POINTS, FINAL_ERROR),
        };
        let mean = self.belief.mean[arm];
        let variance = self.race.prior.variance(arm).max(0.04);
        let known = evidence::moments(here, self.race.target, mean, variance).is_some_and(|(_, v)| v.sqrt() < error);
        let leader = self.leader(arm);
        let is_behind = leader.is_some_and(|leader| self.belief.difference(arm, leader).chance() < BEHIND);
        let is_finalist = self.finalists().is_some_and(|pair| pair.contains(&arm));
        here.len() >= most || known || (is_behind && !is_finalist)
    }

    fn next_launch(&self) -> Option<usize> {
        self.heat().or_else(|| self.turn())
    }

    /// What a launch and some points on it take: as long as those that were seen, on average.
    fn launch_and(&self, points: f64) -> f64 {
        let seen: Vec<f64> = self.racers.iter().filter_map(|racer| racer.launch_secs).collect();
        let launch = match seen.len() {
            0 => self.race.launch_takes.as_secs_f64(),
            n => seen.iter().sum::<f64>() / n as f64,
        };
        launch + points * self.point()
    }

    fn untried(&self) -> impl Iterator<Item = usize> {
        (0..self.racers.len()).filter(|arm| !self.is_measured(*arm) && !self.racers[*arm].is_out)
    }

    /// The best of a kind of which none was measured.
    fn missing(&self) -> Option<usize> {
        let kind = |arm: usize| self.race.kinds[arm];
        self.best(self.untried().filter(|arm| !self.measured().any(|other| kind(other) == kind(*arm))))
    }

    /// The deployment whose first launch is worth most, if any is worth it.
    fn heat(&self) -> Option<usize> {
        // The final needs a launch more of either kind, if there is time for it beside the heats.
        let launch = self.launch_and(POINTS_OF_A_LAUNCH);
        let reserve = (self.race.budget.as_secs_f64() - HEATS_FIRST * launch).clamp(0.0, 2.0 * launch);
        let is_first = self.measured().next().is_none();
        if let Some(first_of_kind) = self.missing() {
            let affordable = self.left() > self.launch_and(1.0);
            return Some(first_of_kind).filter(|_| is_first || affordable);
        }
        if self.left() - reserve < self.launch_and(1.0) {
            return None;
        }
        let best = self.best(self.measured())?;
        let gain = |arm: usize| {
            let overall = self.belief.difference(arm, best).expected_gain();
            let of_kind = self.leader(arm).map_or(0.0, |leader| self.belief.difference(arm, leader).expected_gain());
            overall.max(OF_KIND * of_kind)
        };
        let most = self.untried().max_by(|a, b| gain(*a).total_cmp(&gain(*b)).then(b.cmp(a)))?;
        Some(most).filter(|arm| gain(*arm) > WORTH)
    }

    /// The best of each kind; of one kind alone its two best.
    fn finalists(&self) -> Option<[usize; 2]> {
        let best = self.best(self.measured())?;
        let others = |same_kind: bool| {
            let kind = self.race.kinds[best];
            self.measured().filter(move |arm| *arm != best && (self.race.kinds[*arm] == kind) == same_kind)
        };
        let second = self.best(others(false)).or_else(|| self.best(others(true)))?;
        Some([best, second])
    }

    /// Who of the finalists is launched next; `None` when it is decided, or no time is left.
    fn turn(&self) -> Option<usize> {
        let pair = self.finalists()?;
        let launches = pair.map(|arm| self.racers[arm].launches);
        let both = launches[0].min(launches[1]);
        let Difference { mean, error } = self.belief.difference(pair[0], pair[1]);
        let decided = mean.abs() > DECIDED * error || DECIDED * error + mean.abs() < SAME;
        let over = both >= FINAL_LAUNCHES.1 || (decided && both >= FINAL_LAUNCHES.0);
        if over || self.left() < self.launch_and(1.0) {
            return None;
        }
        Some(if launches[0] <= launches[1] { pair[0] } else { pair[1] })
    }
}

/// The prior after every launch was heard. What a launch says depends on what is believed of it by all the others, so
/// they are heard several times (expectation propagation).
fn believed(race: &Race, racers: &[Racer<'_>]) -> Belief {
    const ROUNDS: usize = 3;
    let launches: Vec<(usize, Vec<Seen>)> = racers.iter().enumerate().flat_map(|(arm, r)| by_launch(arm, r)).collect();
    let mut words: Vec<Option<Word>> = vec![None; launches.len()];
    for _ in 0..ROUNDS {
        for i in 0..launches.len() {
            let others = words.iter().enumerate().filter(|(j, _)| *j != i).filter_map(|(_, word)| *word);
            let before = race.prior.told(others);
            let (arm, points) = &launches[i];
            let variance = before.variance(*arm) + LAUNCH_DRIFT * LAUNCH_DRIFT;
            words[i] = evidence::heard(*arm, points, race.target, before.mean[*arm], variance)
                .map(|word| Word { variance: word.variance + LAUNCH_DRIFT * LAUNCH_DRIFT, ..word });
        }
    }
    race.prior.told(words.into_iter().flatten())
}

fn by_launch(arm: usize, racer: &Racer<'_>) -> Vec<(usize, Vec<Seen>)> {
    let of = |launch: u32| racer.points.iter().filter(|p| p.launch == launch).copied().collect::<Vec<_>>();
    (1..=racer.launches).map(|launch| (arm, of(launch))).filter(|(_, points)| !points.is_empty()).collect()
}
