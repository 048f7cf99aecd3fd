//! A race as a session runs it: what was measured of every arm becomes what the race goes by.

use super::{Belief, Move, Race, Racer, Seen};
use crate::analyse::{ArmInput, ArmKind, PointReport, Question};
use crate::plan::Plan;
use crate::plan::load::Extent;
use crate::plan::strategy::RacePlan;
use crate::strategy::{ArmProgress, PointOrder, SessionProgress, Step};
use crate::words;
use std::time::Duration;

/// A share of requests that is looked for at a target of 100 %.
const HIGHEST_TARGET: f64 = 0.999;
/// Independent requests that a point which ended early is worth: it only tells that it lies far below the target.
const STOPPED_WEIGHT: f64 = 20.0;

/// A race, with what turns requests into its evidence.
#[derive(Debug, Clone)]
pub struct Contest {
    pub race: Race,
    question: Question,
    labels: Vec<String>,
    extent: Extent,
}

impl Contest {
    pub fn of(plan: &Plan, race: &RacePlan) -> Contest {
        let sweep = &plan.sweep;
        Contest {
            race: Race {
                prior: Belief::new(race.predicted.clone(), race.covariance.clone()),
                kinds: race.kinds.clone(),
                target: sweep.target.percent().as_fraction().min(HIGHEST_TARGET),
                budget: race.budget,
                launch_takes: race.launch_takes,
                point_takes: race.point_takes,
            },
            question: Question { slo: sweep.slo, target: sweep.target, ..Question::default() },
            labels: plan.arms.iter().map(|arm| arm.label.clone()).collect(),
            extent: Extent::Duration(race.point),
        }
    }

    pub(in crate::strategy) fn next(&self, progress: &SessionProgress<'_>) -> Option<Step> {
        let seen = self.seen(progress);
        let spent = Duration::try_from_secs_f64(progress.engine_secs).unwrap_or_default();
        Some(match self.race.next(&racers(progress.arms, &seen), spent)? {
            Move::Launch(arm) => Step::Launch(vec![arm]),
            Move::Measure { arm, key } => {
                Step::Measure { arm, point: PointOrder { key, extent: self.extent, pilot: false, may_stop: true } }
            }
        })
    }

    /// `nixl 2P2D 27.1, simple 4xTP1 21.8 req/s; 5 of 12 measured`.
    pub(in crate::strategy) fn known(&self, progress: &SessionProgress<'_>) -> Option<String> {
        const TOLD: usize = 3;
        let seen = self.seen(progress);
        let standing = self.race.standing(&racers(progress.arms, &seen));
        let one = |arm: &usize| format!("{} {}", self.labels[*arm], words::number(standing.believed[*arm]));
        let told: Vec<String> = standing.order.iter().take(TOLD).map(one).collect();
        let count = format!("{} of {} measured", standing.order.len(), self.labels.len());
        (!told.is_empty()).then(|| format!("about {} req/s; {count}", told.join(", ")))
    }

    fn seen(&self, progress: &SessionProgress<'_>) -> Vec<Vec<Seen>> {
        progress.arms.iter().map(|arm| seen(arm.judged, &self.question)).collect()
    }
}

fn racers<'a>(arms: &[ArmProgress<'_>], seen: &'a [Vec<Seen>]) -> Vec<Racer<'a>> {
    let racer = |(arm, points): (&ArmProgress<'_>, &'a Vec<Seen>)| Racer {
        points,
        launches: arm.launch.into_iter().chain(points.iter().map(|p| p.launch)).max().unwrap_or(0),
        is_up: arm.launch.is_some(),
        is_out: arm.is_out,
        launch_secs: arm.launch_secs,
    };
    arms.iter().zip(seen).map(racer).collect()
}

fn seen(arm: &ArmInput, question: &Question) -> Vec<Seen> {
    let measured =
        arm.points.iter().filter(|point| point.samples.sent() > 0 && point.samples.unknown_tpots() == 0).filter_map(
            |point| {
                let report = PointReport::new(point, ArmKind::Unknown, question)?;
                let rate = point.rate.per_second();
                Some(Seen {
                    rate,
                    offered: report.realised_rate.unwrap_or(rate),
                    attempt: point.attempt,
                    launch: point.launch,
                    met: report.attainment.both? / 100.0,
                    weight: report.effective_requests,
                })
            },
        );
    let stopped = arm.stopped.iter().map(|point| Seen {
        rate: point.rate.per_second(),
        offered: point.rate.per_second(),
        attempt: point.attempt,
        launch: point.launch,
        met: 1.0 - point.stop.missed_at_least(),
        weight: STOPPED_WEIGHT,
    });
    measured.chain(stopped).collect()
}
