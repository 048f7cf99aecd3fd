//! Whether this process may start the threads that it will need. Found out before anything is started: a thread that
//! can't be started in mid-run would cost the run.

use super::exit::{CliError, Exit};
use crate::plan::deployment::Deployment;
use crate::plan::strategy::Order;
use crate::plan::{ArmPlan, Plan};
use std::sync::Mutex;

/// Of a measuring session, beside those of its arms: its runtime and what it hands off, load, recorder, samplers, proxy.
const OF_A_SESSION: usize = 9;
/// For one engine: who reads its log; its guardian and itself, which are processes and count too.
const OF_AN_ENGINE: usize = 3;

/// # Errors
/// If as many threads as the plan needs at once can't be started.
pub(super) fn check(plan: &Plan) -> Result<(), CliError> {
    let engines = |arm: &ArmPlan| match &arm.deployment {
        Deployment::Spawn(fleet) => fleet.instances.len(),
        Deployment::Attach(_) => 0,
    };
    let at_once: usize = match plan.order {
        Order::Interleaved => plan.arms.iter().map(engines).sum(),
        Order::Ab | Order::Abba => plan.arms.iter().map(engines).max().unwrap_or(0),
    };
    try_to_start(OF_A_SESSION + plan.arms.len() + OF_AN_ENGINE * at_once).map_err(|(count, e)| {
        let hint = "raise the limit on processes (ulimit -u) or on memory (ulimit -v), or end other programs";
        CliError::new(
            Exit::Internal,
            format!("cannot start the {count} threads that this run needs: {e}\nhint: {hint}"),
        )
    })
}

/// Starts that many threads at once; they end when the last has started.
fn try_to_start(count: usize) -> Result<(), (usize, std::io::Error)> {
    let gate = Mutex::new(());
    std::thread::scope(|scope| {
        let _closed = gate.lock();
        for _ in 0..count {
            let thread = std::thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()));
            thread.map_err(|e| (count, e))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dozen_threads_are_fine_and_no_end_of_them_is_an_error() {
        assert!(try_to_start(12).is_ok());
    }
}
