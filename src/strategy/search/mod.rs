//! Looks for the rate at which each arm just meets the target, and spends the time where it narrows that most.
//!
//! Short pilots double the rate until the target is missed. From then on every point is placed where it takes most off the
//! variance of the crossing a second (the information of the fitted curve), on a coarse series of rates, so that arms
//! meet at common rates and answer the same requests. The search ends when the interval of the ratio (one arm: of its crossing) is
//! narrow enough, or when the budget of engine time is used up. Pilots are not judged; docs/METHODOLOGY.md says what stopping
//! by the interval does to what it promises.

mod rates;
mod stages;
#[cfg(test)]
mod tests;

use super::{ArmProgress, SessionProgress, Step};
use crate::analyse::outlook::Outlook;
use crate::analyse::{ArmInput, Comparison, Interval, Question};
use crate::plan::Plan;
use crate::plan::load::Extent;
use crate::plan::strategy::{Order, SearchPlan};
use crate::words;
use rates::{Choice, Tested};

/// What a search was asked for.
#[derive(Debug, Clone)]
pub struct Search {
    labels: Vec<String>,
    order: Order,
    /// Launches that every arm gets, if time allows.
    rounds: u32,
    goal: SearchPlan,
    /// How long a point lasts, at least.
    extent: Extent,
    question: Question,
}

/// What is known of one arm.
struct Known<'a> {
    progress: ArmProgress<'a>,
    tested: Tested,
    outlook: Option<Outlook>,
}

/// Points of an arm before its interval may end the search: fewer say little of how they scatter.
const FEWEST_POINTS: usize = 3;

impl Search {
    pub fn of(plan: &Plan, goal: &SearchPlan) -> Search {
        let labels = plan.arms.iter().map(|arm| arm.label.clone()).collect();
        let sweep = &plan.sweep;
        let question = Question { slo: sweep.slo, target: sweep.target, ..Question::default() };
        Search::new(labels, (plan.order, sweep.load.launches), goal.clone(), sweep.load.extent, question)
    }

    /// `order` and how often each arm is launched, if time allows; `extent`: how long a point lasts, at least.
    pub fn new(
        labels: Vec<String>,
        (order, launches): (Order, u32),
        goal: SearchPlan,
        extent: Extent,
        question: Question,
    ) -> Search {
        Search { labels, order, rounds: launches.max(1), goal, extent, question }
    }

    /// `None` when what was asked for is known, or the budget is used up.
    pub fn next(&self, progress: &SessionProgress<'_>) -> Option<Step> {
        let known = self.look(progress);
        if self.order == Order::Interleaved || known.len() == 1 {
            self.side_by_side(&known, progress.engine_secs)
        } else {
            self.in_turn(&known, progress.engine_secs)
        }
    }

    fn look<'a>(&self, progress: &SessionProgress<'a>) -> Vec<Known<'a>> {
        let one = |arm: &ArmProgress<'a>| Known {
            tested: Tested::of(arm.judged, &self.question),
            outlook: Outlook::of(arm.judged, &self.question),
            progress: *arm,
        };
        progress.arms.iter().map(one).collect()
    }

    fn budget_secs(&self) -> f64 {
        self.goal.budget.as_secs_f64()
    }

    /// The choice that takes most off the variance a second; arms whose crossing isn't bracketed come first.
    fn best(&self, known: &[Known<'_>], arms: &[usize], secs_left: f64) -> Option<Choice> {
        let choices: Vec<Choice> = arms.iter().filter_map(|&arm| self.choose(known, arm)).collect();
        let affordable = |c: &&Choice| c.secs_on_all <= secs_left;
        // One arm's crossing is a good place to begin with the next.
        let pilot = choices.iter().find(|c| c.order.pilot).filter(affordable);
        let point = || choices.iter().filter(affordable).max_by(|a, b| a.gain.total_cmp(&b.gain));
        pilot.or_else(point).cloned()
    }

    /// Whether what was asked for is known closely enough.
    fn is_precise(&self, known: &[Known<'_>]) -> bool {
        let enough = |arm: &Known<'_>| arm.progress.judged.points.len() >= FEWEST_POINTS;
        known.iter().all(enough) && self.half_width(known).is_some_and(|h| h <= self.goal.precision.ln_1p())
    }

    /// Half of the widest interval's logarithm: of the ratios to the first arm, or of a lone arm's crossing.
    fn half_width(&self, known: &[Known<'_>]) -> Option<f64> {
        let comparison = self.compared(known);
        let half = |i: Interval| Some((i.hi? / i.lo?).ln() / 2.0);
        let mut all: Vec<Option<f64>> = comparison.ratios.iter().map(|r| half(r.fitted.ci95)).collect();
        if all.is_empty() {
            all = comparison.arms.iter().map(|a| half(a.fitted.ci95)).collect();
        }
        all.into_iter().collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }

    fn compared(&self, known: &[Known<'_>]) -> Comparison {
        let inputs: Vec<ArmInput> = known.iter().map(|arm| arm.progress.judged.clone()).collect();
        Comparison::new(&inputs, &self.question)
    }

    /// `simple 8.1 to 9.4, nixl above 10.2 req/s`.
    pub(super) fn known(&self, progress: &SessionProgress<'_>) -> Option<String> {
        let known = self.look(progress);
        let comparison = self.compared(&known);
        let told = known.iter().zip(&comparison.arms).zip(&self.labels).filter_map(|((arm, report), label)| {
            let words = interval_words(report.fitted.ci95).or_else(|| arm.tested.words())?;
            Some(format!("{label} {words}"))
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| format!("{} req/s", told.join(", ")))
    }
}

fn interval_words(interval: Interval) -> Option<String> {
    match (interval.lo, interval.hi) {
        (Some(lo), Some(hi)) => Some(format!("{} to {}", words::number(lo), words::number(hi))),
        (Some(lo), None) => Some(format!("above {}", words::number(lo))),
        (None, Some(hi)) => Some(format!("below {}", words::number(hi))),
        (None, None) => None,
    }
}
