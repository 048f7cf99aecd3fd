//! The workload of a plan, before anything is started.

use super::exit::CliError;
use crate::plan::workload::{PrepareContext, PreparedWorkload};
use crate::plan::{Plan, context};
use crate::predict::forewarn;
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
        template_tokens: 0,
        overlong: sweep.workload.overlong,
    };
    PreparedWorkload::prepare(&sweep.workload, &sweep.load, context).map_err(CliError::usage)
}

/// Requests whose mean length stands for the workload's.
const TYPICAL: u32 = 32;

/// What the workload, and what the model of the engines, has to say before anything is started.
pub(super) fn warnings(plan: &Plan, workload: &PreparedWorkload) -> Result<Vec<String>, CliError> {
    let typical = workload.warm_ups(TYPICAL).map_err(CliError::usage)?;
    let tokens: u64 = typical.iter().map(|request| u64::from(request.prompt_tokens.get())).sum();
    let mean = tokens.checked_div(typical.len() as u64).and_then(|mean| u32::try_from(mean).ok()).unwrap_or(0);
    let mut all = workload.warnings().to_vec();
    all.extend(forewarn::bound_by_descriptors(plan, mean));
    Ok(all)
}
