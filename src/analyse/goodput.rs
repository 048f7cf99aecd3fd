//! Closed loops compared: how many requests a second meet the SLO at one arm, over how many do at another.
//!
//! A closed loop offers as much as is answered, so its shares of met requests say little and its goodput says it all. The
//! interval comes from waves of equally many answers, each with the time it took: what differs between waves is what chance
//! does to the whole. Waves, and not stretches of time: answers come in step, and a clock would cut through them. It speaks
//! of the launches that were measured.

use super::holm::{Hypothesis, holm};
use super::interval::{Interval, Z95, student95};
use super::normal::p_of;
use super::samples::Samples;
use super::scale::{ScaledLimits, per_request};
use crate::plan::slo::Slo;
use serde::Serialize;

/// Waves that a point is cut into at most: enough for a spread.
const WAVES: usize = 10;
/// Answers in a wave, at least; and never fewer than are in flight.
const FEWEST: usize = 2;

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
    pub fn new(a: (&[&Samples], u32), b: (&[&Samples], u32), in_flight: u32, slo: &Slo) -> GoodputRatio {
        let [a, b] =
            [a, b].map(|(repeats, gpus)| Goodput::of(repeats, in_flight as usize, f64::from(gpus.max(1)), slo));
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

impl GoodputRatio {
    pub(super) fn hypothesis(&mut self, weight: f64) -> Hypothesis<'_> {
        Hypothesis { p: self.p, weight, claimed: &mut self.claimed }
    }
}

/// Settles which of many differences may be claimed together.
pub fn claim<'a>(ratios: impl IntoIterator<Item = &'a mut GoodputRatio>) {
    let open = ratios.into_iter().map(|ratio| ratio.hypothesis(1.0));
    holm(open.collect());
}

impl Goodput {
    /// The ratio of what was met to the time it took, over all waves, with the error of a ratio.
    fn of(repeats: &[&Samples], in_flight: usize, gpus: f64, slo: &Slo) -> Goodput {
        let waves: Vec<Wave> = repeats.iter().flat_map(|samples| waves(samples, in_flight, slo)).collect();
        let (met, secs) = waves.iter().fold((0.0, 0.0), |(met, secs), wave| (met + wave.met, secs + wave.secs));
        if secs <= 0.0 {
            return Goodput { per_second: 0.0, error: None, freedom: 0 };
        }
        let (n, rate) = (waves.len() as f64, met / secs);
        let squares: f64 = waves.iter().map(|wave| (wave.met - rate * wave.secs).powi(2)).sum();
        let error = (waves.len() > 1 && met > 0.0).then(|| (squares * n / (n - 1.0)).sqrt() / met);
        Goodput { per_second: rate / gpus, error, freedom: waves.len() - 1 }
    }
}

/// So many answers after each other.
struct Wave {
    /// Requests that met the SLO.
    met: f64,
    secs: f64,
}

fn waves(samples: &Samples, in_flight: usize, slo: &Slo) -> Vec<Wave> {
    let met = per_request(samples, slo, ScaledLimits::Both).into_iter().map(|scale| scale <= 1.0);
    let mut answers: Vec<(f64, bool)> = samples.end.iter().copied().zip(met).filter(|(at, _)| at.is_finite()).collect();
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = (answers.len() / in_flight.max(FEWEST)).clamp(1, WAVES);
    let mut began = 0.0;
    let wave = |i: usize| {
        let of_wave = &answers[i * answers.len() / count..(i + 1) * answers.len() / count];
        let ended = of_wave.last().map_or(began, |(at, _)| *at);
        let secs = ended - began;
        began = ended;
        Wave { met: of_wave.iter().filter(|(_, met)| *met).count() as f64, secs }
    };
    (0..count).map(wave).filter(|wave| wave.secs > 0.0 || wave.met > 0.0).collect()
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
                    turn: None,
                    text: None,
                }
            })
            .collect();
        Samples::from_records(&records, None)
    }

    fn ratio(a: &Samples, b: &Samples, slo: &Slo) -> GoodputRatio {
        GoodputRatio::new((&[a], 1), (&[b], 1), 1, slo)
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
        let halved = GoodputRatio::new((&[&closed_loop(0.2, 200, 1)], 1), (&[&closed_loop(0.1, 200, 2)], 2), 1, &slo);
        assert!(halved.value.is_some_and(|v| (v - 1.0).abs() < 0.05), "per GPU they are level: {halved:?}");
    }

    #[test]
    fn where_nothing_meets_the_limits_there_is_no_ratio() {
        let strict = Slo { ttft: Ttft::from_millis(0.001), ..Slo::default() };
        let none = ratio(&closed_loop(0.2, 50, 1), &closed_loop(0.1, 50, 2), &strict);
        assert_eq!((none.value, none.claimed), (None, false));
        let few = ratio(&closed_loop(0.2, 2, 1), &closed_loop(0.1, 2, 2), &Slo::default());
        assert_eq!(few.ci95, Interval { lo: None, hi: None }, "two requests tell of no spread");
        let one_wave =
            GoodputRatio::new((&[&closed_loop(0.2, 40, 1)], 1), (&[&closed_loop(0.1, 40, 2)], 1), 64, &Slo::default());
        assert_eq!(one_wave.ci95, Interval { lo: None, hi: None }, "nor do requests that were all in flight at once");
    }
}
