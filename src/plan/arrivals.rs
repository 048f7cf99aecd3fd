//! When requests fall due: pure arithmetic from a rate, a shape and a seed to sorted offsets.
//!
//! Deliberately absent: rescaling of draws. vLLM stretches them until N requests span exactly N/rate; a Poisson process
//! whose sum is known beforehand is no Poisson process, so here the draw stays as it fell and the achieved rate is
//! recorded. A recorded trace is no draw and is stretched. Also absent: clocks; whoever sends keeps the time.
//!
//! The generator is xoshiro256++ seeded by SplitMix64, a named algorithm that doesn't change under us; a golden test
//! pins its draws.

use crate::plan::load::{Arrivals, Extent, RampShape, RampUp};
use crate::units::{Offset, RequestRate};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Gamma};

/// What a point's arrivals depend on, beside the seed.
#[derive(Debug, Clone, Copy)]
pub struct ArrivalPattern<'a> {
    pub rate: RequestRate,
    pub extent: Extent,
    pub arrivals: Arrivals,
    pub ramp_up: Option<RampUp>,
    /// Offsets recorded in the dataset, sorted, the first at zero; needed for [`Arrivals::Trace`] and [`Arrivals::Recorded`].
    pub recorded: Option<&'a [Offset]>,
}

/// Patterns that have no schedule.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ArrivalError {
    #[error("an infinite rate over a duration has no end: give --num-prompts instead of --duration, or a finite rate")]
    Endless,
    #[error("burstiness {0} is not above 0: 1 is Poisson, below it burstier, above it more even")]
    Burstiness(f64),
    #[error("ramp-up from {start} to {end} req/s: both must be above 0 and finite")]
    RampUp { start: f64, end: f64 },
    #[error(
        "arrivals `trace` need a dataset with timestamps (timed_trace) that spans some time: choose another dataset, or `poisson` or `constant`"
    )]
    NoTimestamps,
    #[error("ramp-up and arrivals `trace` exclude each other: a recorded trace has its own rate over time")]
    RampedTrace,
    #[error("the point would hold more than {} requests: shorten it or lower the rate", u32::MAX)]
    TooMany,
}

/// Due offsets of a point, sorted. The same pattern and seed always give the same offsets.
pub fn due_offsets(pattern: &ArrivalPattern<'_>, seed: u64) -> Result<Vec<Offset>, ArrivalError> {
    if let (Arrivals::Trace | Arrivals::Recorded, Some(_)) = (pattern.arrivals, pattern.ramp_up) {
        return Err(ArrivalError::RampedTrace);
    }
    match (pattern.arrivals, pattern.ramp_up, pattern.extent) {
        (_, None, Extent::Duration(_)) if pattern.rate.is_infinite() => Err(ArrivalError::Endless),
        (_, None, Extent::Requests(n)) if pattern.rate.is_infinite() => Ok(vec![Offset::ZERO; n as usize]),
        (Arrivals::Trace | Arrivals::Recorded, ..) => recorded_offsets(pattern),
        _ => drawn_offsets(pattern, seed),
    }
}

/// The recorded offsets as they were, or with time stretched so that the requests taken have the wanted mean rate:
/// a trace's first minutes may be far quieter than its whole, and the point is named after its rate.
fn recorded_offsets(pattern: &ArrivalPattern<'_>) -> Result<Vec<Offset>, ArrivalError> {
    let recorded = pattern.recorded.unwrap_or_default();
    let whole = mean_rate(recorded).ok_or(ArrivalError::NoTimestamps)?.per_second();
    if pattern.arrivals == Arrivals::Recorded {
        return collect(pattern.extent, unrolled(recorded, whole));
    }
    let rate = pattern.rate.per_second();
    let taken = match pattern.extent {
        Extent::Requests(n) => n,
        Extent::Duration(window) => (window.as_secs_f64() * rate).round() as u32,
    };
    let extent = Extent::Requests(taken);
    let native = mean_rate(&collect(extent, unrolled(recorded, whole))?).map_or(whole, RequestRate::per_second);
    collect(extent, unrolled(recorded, whole).map(|at| at * native / rate))
}

/// Seconds of the trace without end: past its last request it starts over, a mean gap later.
fn unrolled(recorded: &[Offset], rate: f64) -> impl Iterator<Item = f64> {
    let lap = recorded.len() as f64 / rate;
    (0u64..).flat_map(move |round| recorded.iter().map(move |at| round as f64 * lap + at.as_secs()))
}

/// The rate at which a trace's requests were recorded, over as much of it as a point takes. `None` without timestamps
/// that span some time.
pub fn native_rate(recorded: &[Offset], extent: Extent) -> Option<RequestRate> {
    let whole = mean_rate(recorded)?;
    let taken = collect(extent, unrolled(recorded, whole.per_second())).ok()?;
    match extent {
        Extent::Requests(_) => Some(mean_rate(&taken).unwrap_or(whole)),
        Extent::Duration(window) => RequestRate::new(taken.len() as f64 / window.as_secs_f64()),
    }
}

/// Mean rate of offsets: gaps over span. `None` for fewer than two, or all at once.
fn mean_rate(offsets: &[Offset]) -> Option<RequestRate> {
    let (first, last) = (offsets.first()?, offsets.last()?);
    let span = last.secs_since(*first);
    if span <= 0.0 {
        return None;
    }
    RequestRate::new((offsets.len() - 1) as f64 / span)
}

fn drawn_offsets(pattern: &ArrivalPattern<'_>, seed: u64) -> Result<Vec<Offset>, ArrivalError> {
    let gaps = GapSampler::new(pattern.arrivals)?;
    let speed = Speed::new(pattern)?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut now = 0.0;
    let mut index = 0u32;
    let endless = std::iter::from_fn(|| {
        let rate = speed.at(index, now);
        now += match gaps {
            // Equal gaps start with a request at once: N requests then lie inside N/rate seconds.
            GapSampler::Equal if index == 0 => 0.0,
            GapSampler::Equal => 1.0 / rate,
            GapSampler::Gamma(unit) => unit.sample(&mut rng) / rate,
        };
        index = index.saturating_add(1);
        Some(now)
    });
    collect(pattern.extent, endless)
}

fn collect(extent: Extent, endless: impl Iterator<Item = f64>) -> Result<Vec<Offset>, ArrivalError> {
    let offsets: Vec<Offset> = match extent {
        Extent::Requests(n) => endless.take(n as usize).map(Offset::from_secs).collect(),
        Extent::Duration(window) => endless
            .take_while(|&at| at < window.as_secs_f64())
            .take(u32::MAX as usize + 1)
            .map(Offset::from_secs)
            .collect(),
    };
    if u32::try_from(offsets.len()).is_err() { Err(ArrivalError::TooMany) } else { Ok(offsets) }
}

/// Gaps in units of the mean gap.
#[derive(Clone, Copy)]
enum GapSampler {
    Equal,
    Gamma(Gamma<f64>),
}

impl GapSampler {
    fn new(arrivals: Arrivals) -> Result<Self, ArrivalError> {
        match arrivals {
            Arrivals::Gamma { burstiness } if burstiness.is_finite() && burstiness > 0.0 => {
                let unit = Gamma::new(burstiness, 1.0 / burstiness);
                unit.map(GapSampler::Gamma).map_err(|_| ArrivalError::Burstiness(burstiness))
            }
            Arrivals::Gamma { burstiness } => Err(ArrivalError::Burstiness(burstiness)),
            Arrivals::Constant => Ok(GapSampler::Equal),
            Arrivals::Trace | Arrivals::Recorded => Err(ArrivalError::NoTimestamps),
        }
    }
}

/// The rate at a place of the point: constant, or grown along the point's requests or time.
enum Speed {
    Constant(f64),
    Ramp { ramp: RampUp, over: Extent },
}

impl Speed {
    fn new(pattern: &ArrivalPattern<'_>) -> Result<Self, ArrivalError> {
        let Some(ramp) = pattern.ramp_up else { return Ok(Speed::Constant(pattern.rate.per_second())) };
        let usable = |r: f64| r.is_finite() && r > 0.0;
        if usable(ramp.start) && usable(ramp.end) {
            Ok(Speed::Ramp { ramp, over: pattern.extent })
        } else {
            Err(ArrivalError::RampUp { start: ramp.start, end: ramp.end })
        }
    }

    fn at(&self, index: u32, now: f64) -> f64 {
        match self {
            Speed::Constant(rate) => *rate,
            Speed::Ramp { ramp, over } => {
                let progress = match over {
                    Extent::Requests(n) => f64::from(index) / f64::from(n.saturating_sub(1).max(1)),
                    Extent::Duration(window) => now / window.as_secs_f64().max(f64::MIN_POSITIVE),
                };
                ramp_rate(ramp, progress.clamp(0.0, 1.0))
            }
        }
    }
}

fn ramp_rate(ramp: &RampUp, progress: f64) -> f64 {
    match ramp.shape {
        RampShape::Linear => ramp.start + (ramp.end - ramp.start) * progress,
        RampShape::Exponential => ramp.start * (ramp.end / ramp.start).powf(progress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn pattern(rate: f64, extent: Extent, arrivals: Arrivals) -> ArrivalPattern<'static> {
        ArrivalPattern {
            rate: RequestRate::new(rate).expect("positive"),
            extent,
            arrivals,
            ramp_up: None,
            recorded: None,
        }
    }

    fn poisson(rate: f64, n: u32) -> ArrivalPattern<'static> {
        pattern(rate, Extent::Requests(n), Arrivals::Gamma { burstiness: 1.0 })
    }

    fn gaps(offsets: &[Offset]) -> Vec<f64> {
        offsets.windows(2).map(|w| w[1].secs_since(w[0])).collect()
    }

    #[test]
    fn a_seed_gives_the_same_nanoseconds_for_ever() {
        let offsets = due_offsets(&poisson(2.0, 4), 42).expect("schedules");
        let nanos: Vec<u64> = offsets.iter().map(|o| o.as_nanos()).collect();
        insta::assert_debug_snapshot!(nanos);
    }

    #[test]
    fn gamma_gaps_keep_mean_and_spread() {
        for (burstiness, seed) in [(0.25, 1), (1.0, 2), (4.0, 3)] {
            let shape = Arrivals::Gamma { burstiness };
            let offsets = due_offsets(&pattern(8.0, Extent::Requests(40_000), shape), seed).expect("schedules");
            let gaps = gaps(&offsets);
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let cv = variance.sqrt() / mean;
            assert!((mean * 8.0 - 1.0).abs() < 0.04, "mean gap {mean} at burstiness {burstiness}");
            assert!((cv * burstiness.sqrt() - 1.0).abs() < 0.05, "CV {cv} at burstiness {burstiness}");
        }
    }

    #[test]
    fn a_poisson_draw_is_not_stretched_to_span_n_over_rate() {
        let spans: Vec<f64> = (0..50)
            .map(|seed| due_offsets(&poisson(10.0, 100), seed).expect("schedules").last().expect("100").as_secs())
            .collect();
        assert!(spans.iter().any(|s| *s < 9.5) && spans.iter().any(|s| *s > 10.5), "{spans:?}");
    }

    #[test]
    fn equal_gaps_begin_at_zero() {
        let offsets = due_offsets(&pattern(4.0, Extent::Requests(3), Arrivals::Constant), 0).expect("schedules");
        assert_eq!(offsets, [0.0, 0.25, 0.5].map(Offset::from_secs));
    }

    #[test]
    fn an_infinite_rate_sends_all_at_once_but_needs_a_count() {
        let burst = pattern(f64::INFINITY, Extent::Requests(3), Arrivals::Gamma { burstiness: 1.0 });
        assert_eq!(due_offsets(&burst, 7), Ok(vec![Offset::ZERO; 3]));
        let endless = ArrivalPattern { extent: Extent::Duration(Duration::from_secs(1)), ..burst };
        assert_eq!(due_offsets(&endless, 7), Err(ArrivalError::Endless));
    }

    #[test]
    fn a_ramp_goes_from_start_to_end() {
        for shape in [RampShape::Linear, RampShape::Exponential] {
            let ramp_up = Some(RampUp { shape, start: 1.0, end: 16.0 });
            let ramp = ArrivalPattern { ramp_up, ..pattern(1.0, Extent::Requests(101), Arrivals::Constant) };
            let gaps = gaps(&due_offsets(&ramp, 0).expect("schedules"));
            assert!(gaps.windows(2).all(|w| w[1] < w[0]), "gaps shrink");
            assert!((gaps[99] - 1.0 / 16.0).abs() < 1e-6, "last gap {}", gaps[99]);
            let middle = if shape == RampShape::Linear { 8.5 } else { 4.0 };
            assert!((1.0 / gaps[49] - middle).abs() < 0.01, "{shape:?}: {}", 1.0 / gaps[49]);
        }
        let still = Some(RampUp { shape: RampShape::Linear, start: 0.0, end: 1.0 });
        let refused = due_offsets(&ArrivalPattern { ramp_up: still, ..poisson(1.0, 2) }, 0);
        assert_eq!(refused, Err(ArrivalError::RampUp { start: 0.0, end: 1.0 }));
    }

    #[test]
    fn a_ramp_over_a_duration_fills_it_with_the_mean_of_its_rates() {
        let ramp_up = Some(RampUp { shape: RampShape::Linear, start: 10.0, end: 30.0 });
        let window = Extent::Duration(Duration::from_secs(20));
        let ramp = ArrivalPattern { ramp_up, ..pattern(1.0, window, Arrivals::Constant) };
        let due = due_offsets(&ramp, 0).expect("schedules");
        // 20 req/s in the mean over 20 s; the first half at 15, the second at 25.
        assert!((395..=405).contains(&due.len()), "{} requests", due.len());
        let first_half = due.iter().filter(|at| at.as_secs() < 10.0).count();
        assert!((147..=153).contains(&first_half), "{first_half} in the first half");
    }

    #[test]
    fn recorded_arrivals_are_stretched_to_the_rate_and_start_over_at_their_end() {
        let recorded = [0.0, 1.0, 4.0].map(Offset::from_secs);
        let due = |arrivals, rate, extent| -> Vec<f64> {
            let trace = ArrivalPattern { recorded: Some(&recorded), ..pattern(rate, extent, arrivals) };
            due_offsets(&trace, 0).expect("schedules").iter().map(|o| o.as_secs()).collect()
        };
        // Whole: two gaps in 4 s, then again from 6 s on.
        assert_eq!(due(Arrivals::Recorded, 9.0, Extent::Requests(5)), [0.0, 1.0, 4.0, 6.0, 7.0]);
        assert_eq!(due(Arrivals::Trace, 1.0, Extent::Requests(3)), [0.0, 0.5, 2.0]);
        // Its first two requests alone came at 1 req/s.
        assert_eq!(due(Arrivals::Trace, 2.0, Extent::Requests(2)), [0.0, 0.5]);
        let second = Extent::Duration(Duration::from_secs(1));
        assert_eq!(due(Arrivals::Trace, 2.0, second), [0.0, 0.5]);
        assert_eq!(due(Arrivals::Recorded, 2.0, second), [0.0]);
        assert_eq!(native_rate(&recorded, Extent::Requests(3)), RequestRate::new(0.5));
        assert_eq!(native_rate(&recorded, Extent::Requests(2)), RequestRate::new(1.0));
        assert_eq!(native_rate(&recorded, Extent::Duration(Duration::from_secs(2))), RequestRate::new(1.0));
    }

    #[test]
    fn timestamps_that_span_no_time_are_refused() {
        let still = [Offset::ZERO; 3];
        let standing = ArrivalPattern { recorded: Some(&still), ..pattern(1.0, Extent::Requests(5), Arrivals::Trace) };
        assert_eq!(due_offsets(&standing, 0), Err(ArrivalError::NoTimestamps));
        assert_eq!(native_rate(&still, Extent::Requests(3)), None);
    }

    proptest! {
        #[test]
        fn offsets_are_sorted_and_repeatable(rate in 0.01f64..2000.0, shape in 0.05f64..20.0, n in 0u32..300, seed: u64) {
            let p = pattern(rate, Extent::Requests(n), Arrivals::Gamma { burstiness: shape });
            let offsets = due_offsets(&p, seed).expect("schedules");
            prop_assert_eq!(offsets.len(), n as usize);
            prop_assert!(offsets.is_sorted());
            prop_assert_eq!(&offsets, &due_offsets(&p, seed).expect("schedules"));
        }

        #[test]
        fn a_trace_has_the_rate_that_names_the_point(
            gaps in prop::collection::vec(0.0f64..5.0, 2..50), rate in 0.1f64..100.0, n in 2u32..200
        ) {
            prop_assume!(gaps[0] > 0.0);
            let recorded: Vec<Offset> = std::iter::once(0.0)
                .chain(gaps.iter().scan(0.0, |at, gap| { *at += gap; Some(*at) })).map(Offset::from_secs).collect();
            let trace = ArrivalPattern { recorded: Some(&recorded), ..pattern(rate, Extent::Requests(n), Arrivals::Trace) };
            let achieved = mean_rate(&due_offsets(&trace, 0).expect("schedules")).expect("spans time").per_second();
            prop_assert!((achieved / rate - 1.0).abs() < 1e-3, "{} for {}", achieved, rate);
        }

        #[test]
        fn a_duration_is_never_exceeded(rate in 0.1f64..500.0, secs in 0.0f64..5.0, seed: u64) {
            let window = Duration::from_secs_f64(secs);
            let p = pattern(rate, Extent::Duration(window), Arrivals::Gamma { burstiness: 1.0 });
            prop_assert!(due_offsets(&p, seed).expect("schedules").iter().all(|o| o.as_duration() <= window));
        }
    }
}
