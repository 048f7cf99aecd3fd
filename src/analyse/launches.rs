//! How far a comparison reaches - these launches, launches on this host, or these hosts - and what another launch of the
//! same deployment would change.

use super::input::ArmInput;
use super::interval::student95;
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

/// What counts as one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// An arm was launched once: another launch may differ, by how much isn't known.
    TheseLaunches,
    Launches,
    /// Every arm ran on several hosts: launches on one host share its luck.
    Hosts,
}

type Cluster<'a> = (Option<&'a str>, u32);

impl Reach {
    pub(super) fn of(arms: &[ArmInput]) -> Reach {
        let hosts = |arm: &ArmInput| distinct(arm.points.iter().filter_map(|p| p.host.as_deref()).collect());
        if arms.iter().all(|arm| hosts(arm) > 1) && !arms.is_empty() {
            Reach::Hosts
        } else if arms.iter().any(|arm| launches(arm) < 2) {
            Reach::TheseLaunches
        } else {
            Reach::Launches
        }
    }

    pub(super) fn is_wider(self) -> bool {
        self != Reach::TheseLaunches
    }

    pub(super) fn covers(self) -> Covers {
        match self {
            Reach::TheseLaunches => Covers::TheseLaunches,
            Reach::Launches => Covers::LaunchesOnThisHost,
            Reach::Hosts => Covers::TheseHosts,
        }
    }

    /// What a point's luck is shared with.
    pub(super) fn cluster(self, host: Option<&str>, launch: u32) -> Cluster<'_> {
        match self {
            Reach::Hosts => (host, 0),
            _ => (host, launch),
        }
    }

    /// Launches of an arm, or hosts where these are what differs.
    pub(super) fn clusters(self, arm: &ArmInput) -> u32 {
        distinct(arm.points.iter().map(|p| self.cluster(p.host.as_deref(), p.launch)).collect())
    }
}

/// How often an arm's deployment was started: attempts within one launch don't count.
pub(super) fn launches(arm: &ArmInput) -> u32 {
    Reach::Launches.clusters(arm)
}

fn distinct<T: Ord>(mut all: Vec<T>) -> u32 {
    all.sort_unstable();
    all.dedup();
    all.len() as u32
}

/// How much launches of one deployment differ: of the logarithm of the rate that they carry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LaunchSpread {
    deviation: f64,
    student: f64,
}

/// Launches of one deployment are taken to differ by at least so much: two H100 runs of one arm differed by more.
const FLOOR: f64 = 0.05;
/// How many differences between launches the floor is worth: a single pair of launches says little by itself.
const FLOOR_FREEDOM: f64 = 4.0;

impl LaunchSpread {
    /// Pooled over arms. `crossings`: logarithms by arm and launch; `within`: the standard error that an arm's crossing has
    /// without any difference between launches.
    pub(super) fn pooled(crossings: &[Vec<f64>], within: &[Option<f64>]) -> LaunchSpread {
        let (mut squares, mut freedom) = (0.0, 0.0);
        for (launches, error) in crossings.iter().zip(within) {
            let (n, Some(error)) = (launches.len() as f64, error) else { continue };
            if n < 2.0 {
                continue;
            }
            let mean = launches.iter().sum::<f64>() / n;
            // Each launch alone has n times the variance of all together.
            squares += launches.iter().map(|x| (x - mean).powi(2)).sum::<f64>() - (n - 1.0) * n * error * error;
            freedom += n - 1.0;
        }
        let freedom_all = freedom + FLOOR_FREEDOM;
        let variance = (squares.max(0.0) + FLOOR_FREEDOM * FLOOR * FLOOR) / freedom_all;
        LaunchSpread { deviation: variance.sqrt().max(FLOOR), student: student95(freedom_all) }
    }

    /// Half of the 95 % interval that launches alone give to the logarithm of a product or ratio of arms with this many.
    pub(super) fn half_width(self, launches: &[u32]) -> f64 {
        let variance: f64 = launches.iter().map(|n| f64::from((*n).max(1)).recip()).sum();
        self.student * self.deviation * variance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_that_agree_are_still_taken_to_differ() {
        let calm = LaunchSpread::pooled(&[vec![1.0, 1.01], vec![2.0, 2.01]], &[Some(0.05), Some(0.05)]);
        assert_eq!(calm.deviation, FLOOR);
        let wild = LaunchSpread::pooled(&[vec![1.0, 1.4], vec![2.0, 2.4]], &[Some(0.01), Some(0.01)]);
        assert!((wild.deviation - 0.168).abs() < 0.001, "{}", wild.deviation);
    }

    #[test]
    fn more_launches_tell_more() {
        let two = LaunchSpread::pooled(&[vec![1.0, 1.01], vec![1.0, 1.01]], &[Some(0.01); 2]);
        let four = LaunchSpread::pooled(&[vec![1.0, 1.01, 1.0, 1.01], vec![1.0; 4]], &[Some(0.01); 2]);
        assert!(four.half_width(&[4, 4]) < 0.7 * two.half_width(&[2, 2]));
    }
}
