//! SLO attainment of one point: the share of *offered* requests that kept every limit.
//!
//! DistServe's definition (Zhong et al., OSDI 2024), with the denominator it implies: a failed, shed or unfinished
//! request was offered and missed. `requests / duration` never enters.

use super::interval::{Interval, wilson};
use super::samples::Samples;
use crate::plan::slo::Slo;
use std::num::NonZeroU32;

/// What became of one request, judged by an SLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// Served, with at least one of these limits broken.
    Missed {
        ttft: bool,
        tpot: bool,
        e2el: bool,
    },
    NotServed,
}

/// Judges request `i` of a point. A limit is kept when the latency equals it.
pub fn judge(samples: &Samples, i: usize, slo: &Slo) -> Verdict {
    if samples.ttft[i].is_infinite() {
        return Verdict::NotServed;
    }
    let ttft = samples.ttft[i] > slo.ttft.as_secs();
    let tpot = samples.tpot[i] > slo.tpot.as_secs();
    let e2el = slo.e2el.is_some_and(|limit| samples.e2el[i] > limit.as_secs());
    if ttft || tpot || e2el { Verdict::Missed { ttft, tpot, e2el } } else { Verdict::Met }
}

/// Requests that kept a limit, of those offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attainment {
    pub met: u32,
    pub offered: NonZeroU32,
}

impl Attainment {
    pub fn fraction(self) -> f64 {
        f64::from(self.met) / f64::from(self.offered.get())
    }

    pub fn percent(self) -> f64 {
        100.0 * f64::from(self.met) / f64::from(self.offered.get())
    }

    /// Wilson's 95 % interval in percent: what independent requests would tell. Requests in a queue are not
    /// independent; [`super::confidence`] knows how much fewer of them there are in effect.
    pub fn wilson95(self) -> Interval {
        wilson(self.fraction(), f64::from(self.offered.get()))
    }

    /// Repeats of a point, taken together.
    pub fn pooled(self, other: Attainment) -> Attainment {
        Attainment { met: self.met + other.met, offered: self.offered.saturating_add(other.offered.get()) }
    }
}

/// Attainment of a point: all limits together, and each alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointAttainment {
    /// Every limit of the SLO kept by the same request.
    pub both: Attainment,
    pub ttft: Attainment,
    pub tpot: Attainment,
    /// Present when the SLO limits E2EL.
    pub e2el: Option<Attainment>,
}

impl PointAttainment {
    /// `None` for a point that offered nothing.
    pub fn of(samples: &Samples, slo: &Slo) -> Option<PointAttainment> {
        let offered = NonZeroU32::new(u32::try_from(samples.len()).unwrap_or(u32::MAX))?;
        let (ttft_limit, tpot_limit) = (slo.ttft.as_secs(), slo.tpot.as_secs());
        let e2el_limit = slo.e2el.map_or(f64::INFINITY, |limit| limit.as_secs());
        let (mut both, mut ttft, mut tpot, mut e2el) = (0, 0, 0, 0);
        for ((&t, &p), &e) in samples.ttft.iter().zip(&samples.tpot).zip(&samples.e2el) {
            let kept = (t <= ttft_limit, p <= tpot_limit, e <= e2el_limit);
            ttft += u32::from(kept.0);
            tpot += u32::from(kept.1);
            e2el += u32::from(kept.2);
            both += u32::from(kept.0 & kept.1 & kept.2);
        }
        let of = |met| Attainment { met, offered };
        Some(PointAttainment { both: of(both), ttft: of(ttft), tpot: of(tpot), e2el: slo.e2el.map(|_| of(e2el)) })
    }

    /// Repeats of a point, taken together.
    pub fn pooled(self, other: PointAttainment) -> PointAttainment {
        PointAttainment {
            both: self.both.pooled(other.both),
            ttft: self.ttft.pooled(other.ttft),
            tpot: self.tpot.pooled(other.tpot),
            e2el: self.e2el.zip(other.e2el).map(|(a, b)| a.pooled(b)),
        }
    }
}
