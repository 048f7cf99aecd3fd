//! The workload as the server takes it: what only the server knows, its context and what its chat template adds to every
//! prompt, is found out once, before the first point, and is then the same for every arm.

use crate::plan::Sweep;
use crate::plan::workload::{PrepareContext, PreparedWorkload, WorkloadError};
use std::sync::{Arc, Mutex, PoisonError};

/// Prompts of a workload, fitted to the servers' limits once.
pub(super) struct FittedWorkload {
    state: Mutex<State>,
}

struct State {
    workload: Arc<PreparedWorkload>,
    fitted: Option<PrepareContext>,
}

impl FittedWorkload {
    /// `fitted`: to what a run that is resumed was fitted before.
    pub(super) fn new(workload: PreparedWorkload, fitted: Option<PrepareContext>) -> Self {
        FittedWorkload { state: Mutex::new(State { workload: Arc::new(workload), fitted }) }
    }

    pub(super) fn current(&self) -> Arc<PreparedWorkload> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).workload)
    }

    /// The limits that were found out; `None` before the first fleet was up.
    pub(super) fn fitted(&self) -> Option<PrepareContext> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fitted
    }

    /// Fits the workload, unless that was done before. The dataset is read again only if a request is too long.
    pub(super) fn fit(&self, sweep: &Sweep, context: PrepareContext) -> Result<(), WorkloadError> {
        if self.fitted().is_some() {
            return Ok(());
        }
        let workload = refitted(&self.current(), sweep, context)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fitted = Some(context);
        if let Some(workload) = workload {
            state.workload = Arc::new(workload);
        }
        Ok(())
    }
}

/// The workload for other limits than it was prepared for; `None` if it keeps them as it is.
///
/// # Errors
/// As [`PreparedWorkload::prepare`].
pub(super) fn refitted(
    workload: &PreparedWorkload,
    sweep: &Sweep,
    context: PrepareContext,
) -> Result<Option<PreparedWorkload>, WorkloadError> {
    if context.room() >= workload.context().room() || workload.fits(context.room()) {
        return Ok(None);
    }
    PreparedWorkload::prepare(&sweep.workload, &sweep.load, context).map(Some)
}
