//! The workload of a plan, before anything is started.

use super::exit::CliError;
use crate::plan::workload::{PrepareContext, PreparedWorkload};
use crate::plan::{Plan, context};
use crate::units::TokenCount;

/// Reads datasets and makes every schedule once, so that nothing about the workload can fail later.
pub(super) fn workload(plan: &Plan) -> Result<PreparedWorkload, CliError> {
    let sweep = &plan.sweep;
    let known = plan.arms.iter().filter_map(|arm| {
        let args = arm.deployment.engine_args();
        context::known_context(args, &sweep.model)
    });
    let context = PrepareContext {
        max_model_len: known.map(|c| c.tokens).min().map(TokenCount),
        overlong: sweep.workload.overlong,
    };
    PreparedWorkload::prepare(&sweep.workload, &sweep.load, context).map_err(CliError::usage)
}
