//! What the session's events tell and no file does: what is being done at this moment, how far it is, and what was said.

use super::arms::BusyArm;
use crate::outcome::PointKey;
use crate::session::events::{SessionEvent, point_words};
use chrono::{DateTime, Local};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

/// Lines of the console that are kept.
const MOST_LINES: usize = 60;

/// An event, and when it came.
#[derive(Debug, Clone)]
pub(super) struct HeardEvent {
    pub(super) at: DateTime<Local>,
    pub(super) event: SessionEvent,
}

impl HeardEvent {
    pub(super) fn now(event: SessionEvent) -> HeardEvent {
        HeardEvent { at: Local::now(), event }
    }
}

/// A line of the console.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ToldLine {
    /// Local time.
    at: String,
    text: String,
}

/// The point under load.
#[derive(Debug, Clone)]
pub(super) struct ToldPoint {
    pub(super) arm: String,
    pub(super) key: PointKey,
    pub(super) number: usize,
    pub(super) of: Option<usize>,
    pub(super) offered: u32,
    pub(super) sent: u32,
    pub(super) done: u32,
    pub(super) failed: u32,
    pub(super) elapsed_secs: f64,
    pub(super) eta_secs: f64,
}

/// The state that the events lead to.
#[derive(Debug, Default)]
pub(super) struct ToldState {
    /// Run directories, in the order of their creation.
    pub(super) dirs: Vec<PathBuf>,
    /// What is being done, in a few words; empty before anything is.
    pub(super) doing: String,
    /// The arm that it is done to.
    pub(super) busy: Option<BusyArm>,
    /// Where each starting engine is, by its name.
    pub(super) starting: Vec<(String, String)>,
    pub(super) point: Option<ToldPoint>,
    pub(super) known: Option<String>,
    /// Seconds that the rest takes, and when that was said.
    left: Option<(f64, Instant)>,
    /// When the first point of this process began, and its number.
    first: Option<(usize, Instant)>,
    pub(super) lines: VecDeque<ToldLine>,
    /// Events that came faster than they were heard.
    pub(super) unheard: u64,
}

impl ToldState {
    pub(super) fn hear(&mut self, HeardEvent { at, event }: &HeardEvent) {
        if let Some(text) = event.told() {
            self.say(*at, text);
        }
        match event {
            SessionEvent::RunCreated { dir, .. } => self.dirs.push(dir.clone()),
            SessionEvent::Launching { arm, .. } => {
                self.starting.clear();
                self.does(format!("Starting the engines of {arm}"), Some((arm, "its engines are being started")));
            }
            SessionEvent::EngineProgress { arm, instance, phase } => {
                self.starting.retain(|(name, _)| name != instance);
                self.starting.push((instance.clone(), phase.clone()));
                self.starting.sort();
                self.does(format!("Starting the engines of {arm}"), Some((arm, "its engines are being started")));
            }
            SessionEvent::WarmingUp { arm, .. } => {
                self.starting.clear();
                self.does(format!("Warming up {arm}"), Some((arm, "it is being warmed up")));
            }
            SessionEvent::HandOverSteady { arm, .. } | SessionEvent::Ready { arm, .. } => {
                self.starting.clear();
                self.does(format!("{arm} is ready"), Some((arm, "ready")));
            }
            SessionEvent::PointStarted { arm, key, offered, number, of } => {
                self.first.get_or_insert((*number, Instant::now()));
                self.does(format!("Measuring {arm} at {}", point_words(*key)), Some((arm, "under load")));
                self.point = Some(ToldPoint {
                    arm: arm.clone(),
                    key: *key,
                    number: *number,
                    of: *of,
                    offered: *offered,
                    sent: 0,
                    done: 0,
                    failed: 0,
                    elapsed_secs: 0.0,
                    eta_secs: 0.0,
                });
            }
            SessionEvent::PointProgress { key, sent, done, failed, elapsed_secs, eta_secs, .. } => {
                if let Some(point) = self.point.as_mut().filter(|point| point.key == *key) {
                    (point.sent, point.done, point.failed) = (*sent, *done, *failed);
                    (point.elapsed_secs, point.eta_secs) = (*elapsed_secs, *eta_secs);
                }
            }
            SessionEvent::PointFinished { arm, .. } => {
                self.does(format!("{arm}: a point is finished"), Some((arm, "between two points")));
            }
            SessionEvent::Known { text, left_secs } => {
                self.known = Some(text.clone());
                self.left = Some((*left_secs, Instant::now()));
            }
            SessionEvent::GridProgress { secs_left, .. } => {
                self.left = secs_left.map(|secs| (secs, Instant::now())).or(self.left);
            }
            SessionEvent::TearingDown { arm } => {
                self.starting.clear();
                self.does(format!("Stopping the engines of {arm}"), Some((arm, "its engines are being stopped")));
            }
            SessionEvent::TornDown { arm, .. } => self.does(format!("The engines of {arm} are stopped"), None),
            SessionEvent::Interrupted => self.does("Interrupted: stopping".to_string(), None),
            SessionEvent::EngineDied { .. }
            | SessionEvent::EngineMute { .. }
            | SessionEvent::Warning { .. }
            | SessionEvent::RunFinished { .. } => {}
        }
    }

    /// Something else than a point's load is under way from now on, unless it is begun after this.
    fn does(&mut self, what: String, busy: Option<(&String, &'static str)>) {
        self.doing = what;
        self.busy = busy.map(|(arm, stage)| BusyArm { arm: arm.clone(), stage });
        self.point = None;
    }

    fn say(&mut self, at: DateTime<Local>, text: String) {
        self.lines.push_back(ToldLine { at: at.format("%H:%M:%S").to_string(), text });
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }

    /// About how long the rest takes; `None` before anything tells.
    pub(super) fn left_secs(&self) -> Option<f64> {
        if let Some((secs, said)) = self.left {
            return Some((secs - said.elapsed().as_secs_f64()).max(0.0));
        }
        let (point, (first, began)) = (self.point.as_ref()?, self.first?);
        let behind = point.number.checked_sub(first).filter(|n| *n > 0)? as f64;
        let here = (point.elapsed_secs / (point.elapsed_secs + point.eta_secs).max(1e-9)).clamp(0.0, 1.0);
        let ahead = (point.of? + 1).saturating_sub(point.number) as f64 - here;
        Some(ahead.max(0.0) * began.elapsed().as_secs_f64() / (behind + here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::RequestRate;

    fn key() -> PointKey {
        PointKey { rate: RequestRate::new(4.0).expect("a rate"), attempt: 1 }
    }

    fn started(number: usize) -> SessionEvent {
        SessionEvent::PointStarted { arm: "simple".into(), key: key(), offered: 10, number, of: Some(4) }
    }

    #[test]
    fn a_point_is_under_way_until_something_else_is() {
        let mut told = ToldState::default();
        told.hear(&HeardEvent::now(started(1)));
        assert_eq!(told.doing, "Measuring simple at 4.0 req/s");
        told.hear(&HeardEvent::now(SessionEvent::PointProgress {
            arm: "simple".into(),
            key: key(),
            offered: 10,
            sent: 5,
            done: 3,
            failed: 1,
            elapsed_secs: 1.0,
            eta_secs: 1.0,
        }));
        assert_eq!(told.point.as_ref().map(|p| (p.sent, p.done, p.failed)), Some((5, 3, 1)));
        assert!(told.left_secs().is_none(), "no point is behind us");
        told.hear(&HeardEvent::now(started(2)));
        let left = told.left_secs().expect("one point is behind us");
        assert!(left >= 0.0, "{left}");
        told.hear(&HeardEvent::now(SessionEvent::TearingDown { arm: "simple".into() }));
        assert!(told.point.is_none());
    }

    #[test]
    fn a_search_tells_its_own_time() {
        let mut told = ToldState::default();
        told.hear(&HeardEvent::now(SessionEvent::Known { text: "simple carries 4".into(), left_secs: 60.0 }));
        assert!(told.left_secs().is_some_and(|left| (50.0..=60.0).contains(&left)));
        assert_eq!(told.known.as_deref(), Some("simple carries 4"));
        (0..200).for_each(|n| told.hear(&HeardEvent::now(SessionEvent::Warning { text: n.to_string() })));
        assert_eq!(told.lines.len(), MOST_LINES);
    }
}
