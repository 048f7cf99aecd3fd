//! One point in numbers: throughput, concurrency, how punctual the client was.

use super::latencies::Latencies;
use super::percentiles::quantile;
use super::samples::Samples;
use std::ops::Range;

/// What is told of one point beside attainment. Rates and throughputs are per second.
#[derive(Debug, Clone, PartialEq)]
pub struct PointSummary {
    pub offered: usize,
    pub served: usize,
    /// As it was recorded, or from the first sent to the last token; `None` if nothing was served and none was recorded.
    pub duration_secs: Option<f64>,
    /// Served requests over the duration. `None` without a duration.
    pub request_throughput: Option<f64>,
    /// Output tokens of served requests; `None` also where they are not all known.
    pub output_throughput: Option<f64>,
    /// Prompt and output tokens of served requests.
    pub total_throughput: Option<f64>,
    /// Most output tokens within one whole second.
    pub max_output_tokens_per_s: u32,
    /// Most requests in flight within one whole second, as vLLM counts them.
    pub peak_concurrency: u32,
    /// Requests a second that fell due, from the first to the last.
    pub due_rate: Option<f64>,
    /// Requests a second that were sent, from the first to the last: below `due_rate` the client fell behind.
    pub sent_rate: Option<f64>,
    /// sent - slot in seconds; `None` where only one of the times is known.
    pub lag: Option<Lag>,
    pub steady: Option<SteadyWindow>,
    pub latencies: Latencies,
}

/// How late the client itself was, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    pub p50: f64,
    pub p99: f64,
}

/// The steady state: the longest stretch with at least half of the peak in flight, whole seconds from the point's time
/// zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyWindow {
    pub from_secs: usize,
    /// Exclusive.
    pub to_secs: usize,
    pub output_throughput: f64,
}

impl PointSummary {
    /// `duration_secs`: from the first due to the last outcome; `None`: from the first sent to the last token.
    pub fn of(samples: &Samples, duration_secs: Option<f64>, percentiles: &[f64]) -> PointSummary {
        let duration = duration_secs.or_else(|| busy_secs(samples)).filter(|d| *d > 0.0);
        let per_second = |n: u64| duration.map(|d| n as f64 / d);
        let tokens = |column: &[u32]| {
            column.iter().zip(&samples.ttft).filter(|(_, t)| t.is_finite()).map(|(n, _)| u64::from(*n)).sum::<u64>()
        };
        let counted = samples.uncounted() == 0;
        let (output, prompt) = (tokens(&samples.output_tokens), tokens(&samples.prompt_tokens));
        PointSummary {
            offered: samples.len(),
            served: samples.served(),
            duration_secs: duration,
            request_throughput: per_second(samples.served() as u64),
            output_throughput: per_second(output).filter(|_| counted),
            total_throughput: per_second(output.saturating_add(prompt)).filter(|_| counted),
            max_output_tokens_per_s: samples.per_second.tokens.iter().copied().max().unwrap_or(0),
            peak_concurrency: samples.per_second.in_flight.iter().copied().max().unwrap_or(0),
            due_rate: realised_rate(samples),
            sent_rate: rate_of(&samples.sent),
            lag: lag(samples),
            steady: steady(samples),
            latencies: Latencies::of(samples, percentiles),
        }
    }
}

fn busy_secs(samples: &Samples) -> Option<f64> {
    let first = samples.sent.iter().copied().fold(f64::INFINITY, f64::min);
    let ends = samples.due.iter().zip(&samples.e2el).map(|(due, e2el)| due + e2el).filter(|t| t.is_finite());
    let last = ends.fold(f64::NEG_INFINITY, f64::max);
    (last - first).is_finite().then_some(last - first)
}

/// Requests a second as they fell due: what a rate turned out to be.
pub(super) fn realised_rate(samples: &Samples) -> Option<f64> {
    match samples.is_causal() {
        true => samples.offered_rate,
        false => rate_of(&samples.due),
    }
}

/// (n - 1) gaps over the span; `None` with fewer than two, or all at once.
fn rate_of(times: &[f64]) -> Option<f64> {
    let finite = || times.iter().copied().filter(|t| t.is_finite());
    let (first, last) = (finite().min_by(f64::total_cmp)?, finite().max_by(f64::total_cmp)?);
    (last > first).then(|| (finite().count() - 1) as f64 / (last - first))
}

/// Lag of the requests that were sent; `None` where it isn't known, or nothing was sent.
pub(super) fn lag(samples: &Samples) -> Option<Lag> {
    let mut sorted: Vec<f64> = samples.lag.as_ref()?.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(Lag { p50: quantile(&sorted, 0.5)?, p99: quantile(&sorted, 0.99)? })
}

/// Whole seconds of the steady state; `None` where nothing was in flight.
pub fn steady_seconds(samples: &Samples) -> Option<Range<usize>> {
    let flights = &samples.per_second.in_flight;
    let half = flights.iter().copied().max()?.div_ceil(2);
    let mut best = 0..0;
    let mut from = 0;
    for (second, n) in flights.iter().enumerate() {
        if *n < half {
            from = second + 1;
        } else if second + 1 - from > best.len() {
            best = from..second + 1;
        }
    }
    (!best.is_empty()).then_some(best)
}

fn steady(samples: &Samples) -> Option<SteadyWindow> {
    let best = steady_seconds(samples)?;
    let tokens = samples.per_second.tokens.iter().skip(best.start).take(best.len()).map(|n| f64::from(*n)).sum::<f64>();
    let output_throughput = tokens / best.len() as f64;
    Some(SteadyWindow { from_secs: best.start, to_secs: best.end, output_throughput })
}
