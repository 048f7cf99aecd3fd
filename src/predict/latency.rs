//! Latencies of requests, and what share of them meets an SLO.

use crate::plan::slo::{Slo, Target};

/// Latencies of one request, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub ttft_ms: f64,
    pub tpot_ms: f64,
    /// From due to the last token.
    pub e2el_ms: f64,
}

impl Latency {
    fn meets(&self, slo: &Slo) -> bool {
        let e2el = slo.e2el.map_or(f64::INFINITY, |limit| limit.as_secs() * 1e3);
        let (ttft, tpot) = (slo.ttft.as_secs() * 1e3, slo.tpot.as_secs() * 1e3);
        self.ttft_ms <= ttft && self.tpot_ms <= tpot && self.e2el_ms <= e2el
    }
}

/// Percentage of `offered` requests whose latencies meet the SLO.
pub fn attainment(latencies: &[Latency], offered: usize, slo: &Slo) -> f64 {
    percent(latencies.iter().filter(|latency| latency.meets(slo)).count(), offered)
}

fn percent(met: usize, offered: usize) -> f64 {
    met as f64 / offered.max(1) as f64 * 100.0
}

/// Requests that met an SLO and that missed it, counted as they end.
#[derive(Debug, Clone)]
pub(super) struct SloTally {
    slo: Slo,
    target: Target,
    offered: usize,
    met: usize,
    missed: usize,
}

impl SloTally {
    pub(super) fn new(slo: Slo, target: Target, offered: usize) -> SloTally {
        SloTally { slo, target, offered, met: 0, missed: 0 }
    }

    /// Whether the target is met, as soon as the requests that are still to come can't change it.
    pub(super) fn verdict(&self) -> Option<bool> {
        let target = self.target.percent().get();
        if percent(self.met, self.offered) >= target {
            return Some(true);
        }
        (percent(self.offered - self.missed, self.offered) < target).then_some(false)
    }

    /// Counts a request that ended.
    pub(super) fn end(&mut self, latency: &Latency) {
        if latency.meets(&self.slo) { self.met += 1 } else { self.missed += 1 }
    }

    /// Counts a request whose first token came too late; false where it came in time, and only the end will tell.
    pub(super) fn starts_late(&mut self, ttft_ms: f64) -> bool {
        let late = ttft_ms > self.slo.ttft.as_secs() * 1e3;
        self.missed += usize::from(late);
        late
    }
}

/// The `q` quantile (0 to 1) of `values`, linear between neighbours; not a number where there are none.
pub fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}
