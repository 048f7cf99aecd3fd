//! After a sweep.
use super::exit::{Exit, Failure};
use crate::plan::Plan;
use crate::session::ArmRun;
use crate::units::RequestRate;
use std::path::PathBuf;
pub fn alone(_runs: &[ArmRun], _plan: &Plan, _json: bool) -> Result<Exit, Failure> {
    Ok(Exit::Good)
}
pub fn compared(
    _runs: &[ArmRun],
    _plan: &Plan,
    _s: Option<RequestRate>,
    _o: Option<PathBuf>,
    _json: bool,
) -> Result<Exit, Failure> {
    Ok(Exit::Good)
}
