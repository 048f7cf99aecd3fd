//! Closed loops compared: how many requests a second meet the SLO at one arm, over how many do at another.
//!
//! A closed loop offers as much as is answered, so its shares of met requests say little and its goodput says it all. The
//! interval comes from counts in equal stretches of time: what differs between neighbouring stretches is what chance does
//! to the whole. It speaks of the launches that were measured.

use super::holm::{Hypothesis, holm};
use super::interval::{Interval, Z95, student95};
use super::normal::p_of;
use super::samples::Samples;
use super::scale::{Limits, per_request};
use crate::plan::slo::Slo;
use serde::Serialize;

/// Stretches of time that a point is cut into: enough for a spread, and long beside a request.
const STRETCHES: usize = 10;
/// Requests a stretch must hold on average.
const FEWEST: usize = 3;

/// Goodput of one arm over another's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GoodputRatio {
    /// `None` where one of them has none.
    pub value: Option<f64>,
    pub ci95: Interval,
    /// Whether a difference may be claimed beside all else that was compared with it.
    pub claimed: bool,
    /// By itself, two-sided.
    #[serde(skip)]
    p: f64,
}

/// Requests a second that met the SLO, and the relative standard error of that.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Goodput {
    per_second: f64,
    error: Option<f64>,
    freedom: usize,
}

impl GoodputRatio {
    /// Repeats of a load on arm `a` and on arm `b`, each with the GPUs it takes (1 where nobody knows): b over a.
    pub fn new(a: (&[&Samples], u32), b: (&[&Samples], u32), slo: &Slo) -> GoodputRatio {
        let [a, b] = [a, b].map(|(repeats, gpus)| Goodput::of(repeats, f64::from(gpus.max(1)), slo));
        let value = (a.per_second > 0.0 && b.per_second > 0.0).then(|| b.per_second / a.per_second);
        let known = value.zip(a.error.zip(b.error));
        let Some((value, (of_a, of_b))) = known else {
            return GoodputRatio { value, ci95: Interval { lo: None, hi: None }, claimed: false, p: 1.0 };
        };
        let t = student95(a.freedom.min(b.freedom) as f64);
        let half = t * of_a.hypot(of_b);
        // The p-value that belongs to this interval.
        let p = if half > 0.0 { p_of(value.ln().abs() / half * Z95) } else { 1.0 };
        GoodputRatio {
            value: Some(value),
            ci95: Interval { lo: Some(value * (-half).exp()), hi: Some(value * half.exp()) },
            claimed: false,
            p,
        }
    }
}

/// Settles which of many differences may be claimed together.
pub fn claim<'a>(ratios: impl IntoIterator<Item = &'a mut GoodputRatio>) {
    let open = ratios.into_iter().map(|r| Hypothesis { p: r.p, weight: 1.0, claimed: &mut r.claimed });
    holm(open.collect());
}

impl Goodput {
    fn of(repeats: &[&Samples], gpus: f64, slo: &Slo) -> Goodput {
        let each: Vec<Vec<f64>> = repeats.iter().filter_map(|samples| rates(samples, slo)).collect();
        let counts: Vec<f64> = each.into_iter().flatten().map(|rate| rate / gpus).collect();
        let n = counts.len();
        if n == 0 {
            return Goodput { per_second: 0.0, error: None, freedom: 0 };
        }
        let mean = counts.iter().sum::<f64>() / n as f64;
        let squares: f64 = counts.iter().map(|c| (c - mean).powi(2)).sum();
        let error = (n > 1 && mean > 0.0).then(|| (squares / (n - 1) as f64 / n as f64).sqrt() / mean);
        Goodput { per_second: mean, error, freedom: n.saturating_sub(1) }
    }
}

/// Requests a second that met the SLO in each stretch of a point; `None` where nothing took time.
fn rates(samples: &Samples, slo: &Slo) -> Option<Vec<f64>> {
    let end = samples.end.iter().copied().filter(|t| t.is_finite()).fold(0.0, f64::max);
    if end <= 0.0 {
        return None;
    }
    let stretches = (samples.len() / FEWEST).clamp(1, STRETCHES);
    let length = end / stretches as f64;
    let mut counts = vec![0.0; stretches];
    let met = per_request(samples, slo, Limits::Both);
    for (at, _) in samples.end.iter().zip(&met).filter(|(at, scale)| at.is_finite() && **scale <= 1.0) {
        counts[((at / length) as usize).min(stretches - 1)] += 1.0 / length;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Outcome, RequestRecord, Timeline};
    use crate::units::{Offset, TokenCount, Ttft};

    /// One request in flight: each takes `secs`, a little more or less.
    fn closed_loop(secs: f64, requests: u32, seed: u32) -> Samples {
        let mut now = 0.0;
        let records: Vec<RequestRecord> = (0..requests)
            .map(|index| {
                let noise = f64::from((index * 7 + seed).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24) - 0.5;
                let due = Offset::from_secs(now);
                now += secs * (1.0 + 0.2 * noise);
                let timeline = Timeline {
                    due,
                    slot: due,
                    sent: Some(due),
                    first_token: Some(Offset::from_secs(now - 0.9 * secs)),
                    last_token: Some(Offset::from_secs(now)),
                    end: Offset::from_secs(now),
                    output_tokens: Some(TokenCount(10)),
                    ..Timeline::default()
                };
                RequestRecord {
                    index,
                    id: String::new(),
                    prompt_tokens: TokenCount(8),
                    max_tokens: TokenCount(10),
                    timeline,
                    outcome: Outcome::Completed,
                    stages: None,
                    text: None,
                }
            })
            .collect();
        Samples::from_records(&records, None)
    }

    fn ratio(a: &Samples, b: &Samples, slo: &Slo) -> GoodputRatio {
        GoodputRatio::new((&[a], 1), (&[b], 1), slo)
    }

    #[test]
    fn twice_as_fast_is_found_with_an_interval_that_holds_two() {
        let slo = Slo { ttft: Ttft::from_millis(60_000.0), ..Slo::default() };
        let mut found = ratio(&closed_loop(0.2, 200, 1), &closed_loop(0.1, 200, 2), &slo);
        assert!(found.value.is_some_and(|v| (v - 2.0).abs() < 0.1), "{found:?}");
        assert!(found.ci95.contains(2.0) && !found.ci95.contains(1.5), "{found:?}");
        let mut alike = ratio(&closed_loop(0.1, 200, 1), &closed_loop(0.1, 200, 3), &slo);
        claim([&mut found, &mut alike]);
        assert!(found.claimed && !alike.claimed && alike.ci95.contains(1.0), "{alike:?}");
        let halved = GoodputRatio::new((&[&closed_loop(0.2, 200, 1)], 1), (&[&closed_loop(0.1, 200, 2)], 2), &slo);
        assert!(halved.value.is_some_and(|v| (v - 1.0).abs() < 0.05), "per GPU they are level: {halved:?}");
    }

    #[test]
    fn where_nothing_meets_the_limits_there_is_no_ratio() {
        let strict = Slo { ttft: Ttft::from_millis(0.001), ..Slo::default() };
        let none = ratio(&closed_loop(0.2, 50, 1), &closed_loop(0.1, 50, 2), &strict);
        assert_eq!((none.value, none.claimed), (None, false));
        let few = ratio(&closed_loop(0.2, 2, 1), &closed_loop(0.1, 2, 2), &Slo::default());
        assert_eq!(few.ci95, Interval { lo: None, hi: None }, "two requests tell of no spread");
    }
}
