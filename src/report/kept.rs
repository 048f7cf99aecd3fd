//! The largest load that kept the thresholds of a run, in words.

use super::inputs;
use crate::analyse::threshold::KeptLoads;
use crate::plan::strategy::StrategyPlan;
use crate::record::RecordedRun;
use crate::words;

/// `None` for a run that asked for none.
pub fn kept(run: &RecordedRun) -> Option<String> {
    let sweep = &run.manifest.as_ref()?.sweep;
    let StrategyPlan::Threshold(goal) = &sweep.strategy else { return None };
    let arm = inputs::arm(run, None);
    let found = KeptLoads::of(&arm.points, goal, sweep.target);
    let who = arm.size.as_ref().map_or_else(|| arm.label.clone(), |size| format!("{} {size}", arm.label));
    let dataset = arm.identity.dataset.map(|dataset| format!(", {dataset}")).unwrap_or_default();
    let told = match (found.largest, found.missed) {
        (Some(kept), Some(missed)) => {
            format!(
                "is kept up to {}; {} misses it, what lies above was left out",
                words::offered(kept),
                words::rate(missed)
            )
        }
        (Some(kept), None) => format!("is still kept at {}, the most that was asked for", words::offered(kept)),
        (None, Some(missed)) => format!("is missed at {}, the least that was asked for", words::offered(missed)),
        (None, None) => "was not measured".to_string(),
    };
    Some(format!("threshold {goal} ({who}{dataset}) {told}"))
}
