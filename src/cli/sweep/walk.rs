//! Measures every cell: deployment after deployment, each started once and kept up from cell to cell.

use super::cells::{GridCells, PlannedRun};
use super::place::GridPlace;
use super::progress::{GridProgress, counted, work};
use crate::cli::args::SweepArgs;
use crate::cli::exit::CliError;
use crate::cli::live::Showing;
use crate::cli::measure::{self, MeasuredRuns};
use crate::cli::{given, out, prepare, threads};
use crate::outcome::RunStatus;
use crate::plan::Plan;
use crate::plan::secrecy::masked_words;
use crate::session::events::EventSink;
use crate::session::{self, ArmRun, KeptFleet, Session, SessionError, Stop};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The work of a run's points that are not measured yet.
type PointsLeft = Arc<Mutex<VecDeque<f64>>>;

/// The walk over one grid.
struct GridWalk<'a> {
    cells: &'a GridCells,
    place: &'a GridPlace,
    events: EventSink,
    stop: Stop,
    command: Vec<String>,
    progress: Arc<Mutex<GridProgress>>,
}

pub(super) fn walk(cells: &GridCells, place: &GridPlace, sweep: &SweepArgs) -> Result<MeasuredRuns, CliError> {
    if let Some(plan) = cells.first() {
        threads::check(plan)?;
    }
    measure::on_runtime(Showing::session(sweep.run.json, sweep.run.live), async |events, stop| {
        let (points, work) = totals(cells);
        let progress = Arc::new(Mutex::new(GridProgress::new(points, work)));
        let command = masked_words(&given::command_line());
        let walk = GridWalk { cells, place, events, stop, command, progress };
        let mut runs = Vec::new();
        for arm in 0..cells.arms() {
            if let Err(error) = walk.arm(arm, &mut runs).await? {
                return Ok((runs, Err(error)));
            }
        }
        Ok((runs, Ok(())))
    })
}

fn totals(cells: &GridCells) -> (usize, f64) {
    let each = cells.runs.iter().map(|run| (points(run), run_work(run).iter().sum::<f64>()));
    let (points, work) = each.fold((0, 0.0), |(n, w), (points, work)| (n + points, w + work));
    (points * cells.arms(), work * cells.arms() as f64)
}

fn points(run: &PlannedRun) -> usize {
    run.grid.points().unwrap_or(1)
}

fn run_work(run: &PlannedRun) -> Vec<f64> {
    (0..points(run)).map(|at| work(&run.grid, at)).collect()
}

impl GridWalk<'_> {
    /// All cells on one deployment. The inner error ends the grid, after everything is down.
    async fn arm(&self, arm: usize, runs: &mut Vec<ArmRun>) -> Result<Result<(), SessionError>, CliError> {
        let mut fleet: Option<KeptFleet> = None;
        let mut ended = Ok(());
        for run in &self.cells.runs {
            if let Some(fleet) = &fleet
                && self.is_too_long(run, fleet)
            {
                continue;
            }
            let Some((session, left)) = self.session(run, arm)? else { continue };
            let session = match fleet.take() {
                Some(fleet) => session.on(fleet),
                None => session,
            };
            let (measured, result, kept) = session.run_and_keep().await;
            runs.extend(measured);
            fleet = kept;
            if result.is_ok() {
                self.leave_out(&left);
            }
            match result {
                Ok(()) => {}
                // The engine's own word on its context: this cell can't be measured, others may be.
                Err(error @ SessionError::Context { .. }) => out::note(format!("skipped {}: {error}", run.grid)),
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        if let Some(fleet) = fleet {
            fleet.take_down(&self.events, &self.stop).await;
        }
        Ok(ended)
    }

    /// Whether the engines take less than the cell's tokens; told, and counted as done.
    fn is_too_long(&self, run: &PlannedRun, fleet: &KeptFleet) -> bool {
        let needed = u64::from(run.grid.input) + u64::from(run.grid.output);
        let Some(context) = fleet.context().filter(|context| needed > u64::from(*context)) else { return false };
        out::note(format!("skipped {}: {needed} tokens exceed the engines' context of {context}", run.grid));
        self.pass_over(run);
        true
    }

    /// What a run that has ended did not measure.
    fn leave_out(&self, left: &Mutex<VecDeque<f64>>) {
        let left: Vec<f64> = left.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).leave_out(&left);
    }

    fn pass_over(&self, run: &PlannedRun) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.pass_over(points(run), run_work(run).iter().sum());
    }

    /// A new run of the cell, or the one that was interrupted; `None` where nothing of it is left to be measured.
    fn session(&self, run: &PlannedRun, arm: usize) -> Result<Option<(Session, PointsLeft)>, CliError> {
        let begun = self.place.run_of(&run.plan, arm)?;
        let mut plan = alone(&run.plan, arm);
        plan.result_dir = self.place.dir().to_path_buf();
        let complete = |manifest| session::is_complete(&plan, 0, manifest);
        if begun.as_ref().is_some_and(|(_, m)| m.status == RunStatus::Completed && complete(m)) {
            self.pass_over(run);
            return Ok(None);
        }
        let workload = prepare::workload(&plan)?;
        plan.warnings.extend_from_slice(workload.warnings());
        let mut works = VecDeque::from(run_work(run));
        if let Some((_, manifest)) = &begun {
            let done = manifest.points.len().min(works.len());
            let work = works.drain(..done).sum();
            self.progress.lock().unwrap_or_else(PoisonError::into_inner).pass_over(done, work);
        }
        let left: PointsLeft = Arc::new(Mutex::new(works));
        let events = counted(self.events.clone(), Arc::clone(&self.progress), Arc::clone(&left));
        let session = match begun {
            Some((dir, _)) => Session::resume(plan, workload, vec![dir], events, self.stop.clone()),
            None => Session::create(plan, workload, self.command.clone(), events, self.stop.clone()),
        };
        session.map(|session| Some((session, left))).map_err(|error| measure::failure(&error))
    }
}

/// The plan of one of its arms.
fn alone(plan: &Plan, arm: usize) -> Plan {
    Plan { arms: vec![plan.arms[arm].clone()], ..plan.clone() }
}
