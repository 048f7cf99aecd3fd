//! How far a comparison reaches: these launches, launches on this host, or these hosts.

use super::input::ArmInput;
use serde::Serialize;

/// What the intervals cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Covers {
    #[serde(rename = "these launches")]
    TheseLaunches,
    #[serde(rename = "launches on this host")]
    LaunchesOnThisHost,
    #[serde(rename = "these hosts")]
    TheseHosts,
}

impl Covers {
    pub(super) fn of(arms: &[ArmInput]) -> Covers {
        if arms.iter().any(|arm| launches(arm) < 2) {
            return Covers::TheseLaunches;
        }
        let mut hosts: Vec<&str> = arms.iter().flat_map(|arm| &arm.points).filter_map(|p| p.host.as_deref()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 { Covers::TheseHosts } else { Covers::LaunchesOnThisHost }
    }
}

/// How often an arm's deployment was started: attempts within one launch don't count.
pub(super) fn launches(arm: &ArmInput) -> u32 {
    let mut each: Vec<(Option<&str>, u32)> = arm.points.iter().map(|p| (p.host.as_deref(), p.launch)).collect();
    each.sort_unstable();
    each.dedup();
    each.len() as u32
}
