//! Latencies of requests, and what share of them meets an SLO.

use crate::plan::slo::Slo;

/// Latencies of one request, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub ttft_ms: f64,
    pub tpot_ms: f64,
    /// From due to the last token.
    pub e2el_ms: f64,
}

/// Percentage of `offered` requests whose latencies meet the SLO.
pub fn attainment(latencies: &[Latency], offered: usize, slo: &Slo) -> f64 {
    let (ttft, tpot) = (slo.ttft.as_secs() * 1e3, slo.tpot.as_secs() * 1e3);
    let e2el = slo.e2el.map_or(f64::INFINITY, |limit| limit.as_secs() * 1e3);
    let met = |l: &&Latency| l.ttft_ms <= ttft && l.tpot_ms <= tpot && l.e2el_ms <= e2el;
    latencies.iter().filter(met).count() as f64 / offered.max(1) as f64 * 100.0
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
