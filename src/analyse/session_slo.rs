//! Sessions beside requests: how many kept the SLO with all of their turns, and how many with their last one.

use super::attainment::PointAttainment;
use super::interval::Interval;
use super::samples::Samples;
use crate::plan::goodput_unit::GoodputUnit;
use crate::plan::slo::Slo;
use serde::Serialize;

/// Sessions of a point, percent of those offered. Each session counts once, however many turns it has; the intervals are
/// Wilson's, since sessions are independent but for the queue that they share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SessionReport {
    pub offered: usize,
    pub all_turns: f64,
    pub all_turns_ci95: Interval,
    pub last_turn: f64,
    pub last_turn_ci95: Interval,
}

impl SessionReport {
    /// `None` where turns don't wait for each other, or sessions are what is judged already.
    pub fn of(samples: &Samples, slo: &Slo) -> Option<SessionReport> {
        if samples.is_judged_per_session() || samples.uncounted() > 0 {
            return None;
        }
        let judged = |unit| {
            let sessions = samples.per(unit);
            Some((sessions.len(), PointAttainment::of(&sessions, slo)?.both))
        };
        let ((offered, all), (_, last)) = (judged(GoodputUnit::Session)?, judged(GoodputUnit::LastTurn)?);
        Some(SessionReport {
            offered,
            all_turns: all.percent(),
            all_turns_ci95: all.wilson95(),
            last_turn: last.percent(),
            last_turn_ci95: last.wilson95(),
        })
    }
}
