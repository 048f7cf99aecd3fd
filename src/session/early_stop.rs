//! Ends a point that can no longer meet the target: what it would still show costs engine time and tells nothing.
//!
//! A request in flight for longer than its limits allow in all misses them, whatever comes. Once most of the whole point's
//! requests are certain to miss, it lies far below the target with certainty; no probability is involved. Points that are
//! merely below the target go on: by how much they miss it is what a curve is made of.

use crate::drive::Progress;
use crate::outcome::{EarlyStop, RequestRecord};
use crate::plan::slo::{Slo, Target};
use crate::plan::workload::Schedule;
use crate::units::Offset;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The share of a point's requests that miss, far over capacity.
const FAR: f64 = 0.6;
/// A pilot only has to show that the target is missed: twice what it allows.
const PILOT: f64 = 2.0;
/// What has ended is counted with a delay of less than this.
const COUNTED_WITHIN: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(250);

/// Counts what the recorder sees, and keeps when the point was ended.
#[derive(Debug, Clone)]
pub(super) struct Lookout {
    slo: Slo,
    met: Arc<AtomicU32>,
    stopped: Arc<OnceLock<EarlyStop>>,
}

impl Lookout {
    pub(super) fn new(slo: Slo) -> Lookout {
        Lookout { slo, met: Arc::default(), stopped: Arc::default() }
    }

    /// Counts a request that has ended. In doubt it has met the limits.
    pub(super) fn count(&self, record: &RequestRecord) {
        let kept = record.completed()
            && record.ttft().is_some_and(|t| t <= self.slo.ttft)
            && record.tpot().is_none_or(|t| t <= self.slo.tpot)
            && self.slo.e2el.is_none_or(|limit| record.e2el().is_none_or(|t| t <= limit));
        if kept {
            self.met.fetch_add(1, Ordering::Release);
        }
    }

    /// How the point was ended, if it was ended early.
    pub(super) fn stopped(&self) -> Option<EarlyStop> {
        self.stopped.get().copied()
    }

    /// Whether a request belongs to the point: it was due before the point was ended.
    pub(super) fn was_offered(&self, due: Offset) -> bool {
        self.stopped().is_none_or(|stop| due.as_secs() < stop.after_secs)
    }

    /// Returns when so large a share of the point's requests is certain to miss.
    pub(super) async fn hopeless(&self, schedule: &Schedule, share: f64, progress: &Progress) {
        let planned = u32::try_from(schedule.requests.len()).unwrap_or(u32::MAX);
        let enough = (share * f64::from(planned)).ceil() as u32;
        let doomed = doomed(schedule, &self.slo);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let Some(zero) = progress.time_zero() else { continue };
            let elapsed = Instant::now().saturating_duration_since(zero);
            let counted = elapsed.saturating_sub(COUNTED_WITHIN).as_secs_f64();
            let over = u32::try_from(doomed.partition_point(|at| *at <= counted)).unwrap_or(u32::MAX);
            let missed = over.saturating_sub(self.met.load(Ordering::Acquire));
            if missed >= enough && over < planned {
                // A point has one lookout, which ends it once.
                let _ = self.stopped.set(EarlyStop { after_secs: elapsed.as_secs_f64(), planned, missed });
                return;
            }
        }
    }
}

/// The share of misses that ends a point.
pub(super) fn enough(pilot: bool, target: Target) -> f64 {
    let allowed = 1.0 - target.percent().as_fraction();
    if pilot { (PILOT * allowed).clamp(PILOT * 0.01, FAR) } else { FAR.max(allowed) }
}

/// When each request that hasn't ended by then is certain to miss its limits: seconds, ascending.
fn doomed(schedule: &Schedule, slo: &Slo) -> Vec<f64> {
    let patience = |tokens: u32| {
        let all = slo.ttft.as_secs() + slo.tpot.as_secs() * f64::from(tokens.saturating_sub(1));
        slo.e2el.map_or(all, |limit| all.min(limit.as_secs()))
    };
    let end = |r: &crate::outcome::Request| r.due.as_secs() + patience(r.output_tokens.get());
    let mut all: Vec<f64> = schedule.requests.iter().map(end).collect();
    all.sort_by(f64::total_cmp);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Request;
    use crate::units::{RequestRate, TokenCount, Tpot, Ttft};

    #[test]
    fn a_request_is_doomed_when_all_its_limits_together_have_passed() {
        let request = |index: u32, due: f64, tokens: u32| Request {
            index,
            due: Offset::from_secs(due),
            prompt_tokens: TokenCount(10),
            output_tokens: TokenCount(tokens),
            seed: 0,
        };
        let requests = vec![request(0, 0.0, 101), request(1, 0.5, 1)];
        let rate = RequestRate::new(2.0).expect("a rate");
        let schedule =
            Schedule { rate, attempt: 1, requests, repeats: 0, clipped: 0, turns: Vec::new(), repeated_tokens: None };
        let slo = Slo { ttft: Ttft::from_millis(200.0), tpot: Tpot::from_millis(10.0), e2el: None };
        let ends = doomed(&schedule, &slo);
        assert!((ends[0] - 0.7).abs() < 1e-9 && (ends[1] - 1.2).abs() < 1e-9, "{ends:?}");
    }
}
