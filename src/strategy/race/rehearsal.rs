//! How a race would go if its predictions held: what to expect before anything is spent.

use super::{Move, Race, Racer, Seen};
use std::time::Duration;

/// Log-odds that fall with the logarithm of the rate, as steep as queues near their limit are.
const STEEPNESS: f64 = 20.0;
/// Independent requests that a point is worth.
const WEIGHT: f64 = 60.0;
/// Steps after which no race is told further.
const MOST_STEPS: usize = 500;

/// A launch of a deployment and the points measured on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub arm: usize,
    pub points: u32,
}

/// A race as predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    pub visits: Vec<Visit>,
    pub takes: Duration,
}

impl Race {
    pub fn rehearsed(&self) -> Rehearsal {
        let arms = self.kinds.len();
        let mut points: Vec<Vec<Seen>> = vec![Vec::new(); arms];
        let mut launches = vec![0; arms];
        let mut rehearsal = Rehearsal { visits: Vec::new(), takes: Duration::ZERO };
        for _ in 0..MOST_STEPS {
            let up = rehearsal.visits.last().map(|visit| visit.arm);
            let racer = |arm: usize| Racer {
                points: &points[arm],
                launches: launches[arm],
                is_up: up == Some(arm),
                is_out: false,
                launch_secs: None,
            };
            let racers: Vec<Racer<'_>> = (0..arms).map(racer).collect();
            match self.next(&racers, rehearsal.takes) {
                None => break,
                Some(Move::Launch(arm)) => {
                    launches[arm] += 1;
                    rehearsal.visits.push(Visit { arm, points: 0 });
                    rehearsal.takes += self.launch_takes;
                }
                Some(Move::Measure { arm, key }) => {
                    let rate = key.rate.per_second();
                    let odds = (self.target / (1.0 - self.target)).ln();
                    let met = 1.0 / (1.0 + (STEEPNESS * (rate.ln() - self.prior.mean[arm]) - odds).exp());
                    let seen =
                        Seen { rate, offered: rate, attempt: key.attempt, launch: launches[arm], met, weight: WEIGHT };
                    points[arm].push(seen);
                    rehearsal.takes += self.point_takes;
                    rehearsal.visits.last_mut().into_iter().for_each(|visit| visit.points += 1);
                }
            }
        }
        rehearsal
    }
}
