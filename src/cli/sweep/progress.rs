//! `[3/40]`, and how long the rest may take.

use crate::plan::combos::{GridRun, RunLoad};
use crate::session::events::{EventSink, SessionEvent};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Points of a grid: how many there are, how many are done, and the work in them.
#[derive(Debug)]
pub(super) struct GridProgress {
    total: usize,
    done: usize,
    /// Of the points that are left.
    work_left: f64,
    /// Of the points measured by this process, and the seconds they took with everything around them.
    work_done: f64,
    began: Instant,
}

impl GridProgress {
    pub(super) fn new(total: usize, work: f64) -> GridProgress {
        GridProgress { total, done: 0, work_left: work, work_done: 0.0, began: Instant::now() }
    }

    /// Points that an earlier process measured, or that are left out.
    pub(super) fn pass_over(&mut self, points: usize, work: f64) {
        self.done += points;
        self.work_left -= work;
    }

    /// Points of a run that came to its end without them.
    pub(super) fn leave_out(&mut self, points: &[f64]) {
        self.pass_over(points.len(), points.iter().sum());
    }

    fn finish(&mut self, work: f64) {
        self.done += 1;
        self.work_left -= work;
        self.work_done += work;
    }

    /// `None` before anything was measured.
    fn secs_left(&self) -> Option<f64> {
        let each = self.began.elapsed().as_secs_f64() / self.work_done;
        (self.work_done > 0.0).then(|| each * self.work_left.max(0.0))
    }
}

/// About how much work a point is: seconds of an open loop, or steps of a closed one. Only its proportion matters.
pub(super) fn work(grid: &GridRun, at: usize) -> f64 {
    let tokens = f64::from(grid.output) + f64::from(grid.input) / 20.0;
    match &grid.load {
        RunLoad::Closed { levels, prompts } => {
            let (Some(level), Some(n)) = (levels.get(at), prompts.get(at)) else { return tokens };
            (f64::from(*n) / f64::from(level.get())).ceil() * tokens
        }
        RunLoad::Open { .. } | RunLoad::Unsaid => tokens,
    }
}

/// Numbers points through the grid, and tells after each how far it is. `points`: the work of each point of this run, of
/// which those measured are taken off.
pub(super) fn counted(
    events: EventSink,
    progress: Arc<Mutex<GridProgress>>,
    points: Arc<Mutex<VecDeque<f64>>>,
) -> EventSink {
    Arc::new(move |event| {
        let mut grid = progress.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            SessionEvent::PointStarted { arm, key, offered, .. } => {
                let (number, of) = ((grid.done + 1).min(grid.total), Some(grid.total));
                events(SessionEvent::PointStarted { arm, key, offered, number, of });
            }
            event @ SessionEvent::PointFinished { .. } => {
                events(event);
                // A search measures as many points as it needs, and counts as one.
                let Some(work) = points.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
                grid.finish(work);
                events(SessionEvent::GridProgress { done: grid.done, total: grid.total, secs_left: grid.secs_left() });
            }
            event => events(event),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_goes_by_the_work_that_is_left() {
        let mut grid = GridProgress::new(4, 40.0);
        assert_eq!(grid.secs_left(), None);
        grid.pass_over(1, 10.0);
        grid.finish(10.0);
        let left = grid.secs_left().expect("one was measured");
        let elapsed = grid.began.elapsed().as_secs_f64();
        assert!(left >= 0.0 && left <= 2.0 * elapsed, "{left} after {elapsed}");
        assert_eq!((grid.done, grid.total), (2, 4));
    }
}
