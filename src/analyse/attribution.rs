//! Where the time goes at one point, and which limit binds.
//!
//! TTFT is split along the proxy's stage stamps and the engines' own time sums; what neither told is absent, never zero.
//! Means, because the means of the parts add up to the mean of the whole.

use super::attainment::{Verdict, judge};
use super::input::PointInput;
use crate::outcome::TimeSum;
use crate::plan::slo::Slo;

/// Mean seconds a served request spent in each part of its way. Parts from `to_proxy` to `back` come from requests that
/// passed the proxy; the engine's own parts lie within `prefill` and `first_byte`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeSpent {
    /// due to slot: waiting under `--max-concurrency`.
    pub slot_wait: Option<f64>,
    /// slot to sent: the client's own lateness.
    pub client_lag: Option<f64>,
    /// sent to accepted by the proxy.
    pub to_proxy: Option<f64>,
    /// accepted to sent on: choosing an instance.
    pub proxy: Option<f64>,
    /// Sent to the prefill instance until its answer's head: queue, prefill, and the way there and back.
    pub prefill: Option<f64>,
    /// Of it in the engine's queue, and computing (the engines' own sums).
    pub prefill_queue: Option<f64>,
    pub prefill_compute: Option<f64>,
    /// Prefill's answer until the request is sent to the decode instance.
    pub hand_off: Option<f64>,
    /// Sent to the answering engine until its first byte: KV transfer, queue, first step.
    pub first_byte: Option<f64>,
    /// Of it transferring KV blocks (the connector's own sum over its transfers). Unknown where prefill pushes: it counts
    /// until its own next step, which nobody waits for.
    pub kv_transfer: Option<f64>,
    /// In the engine's queue, from when the prompt was computed.
    pub decode_queue: Option<f64>,
    /// First byte at the proxy to first token at the client.
    pub back: Option<f64>,
    /// The whole: due to first token.
    pub ttft: Option<f64>,
    /// First to last token at the client.
    pub decode: Option<f64>,
}

/// Which limit keeps requests from meeting the SLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// At least twice as many requests miss TTFT as miss TPOT.
    Ttft,
    Tpot,
    Mixed,
    /// E2EL is missed more often than either.
    E2el,
    /// More requests were not served than missed a limit.
    NotServed,
    /// The TPOT of more requests is unknown than missed anything.
    Unknown,
    /// Nothing missed.
    Nothing,
}

/// What would help a prefill/decode deployment most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    MorePrefill,
    MoreDecode,
}

/// Where time and misses come from at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attribution {
    pub time: TimeSpent,
    pub binding: Binding,
    /// `None` unless one side queues clearly longer than the other and its limit is the one missed.
    pub shift: Option<Shift>,
}

impl Attribution {
    pub fn of(point: &PointInput, slo: &Slo) -> Attribution {
        let time = time_spent(point);
        let binding = binding(point, slo);
        Attribution { time, binding, shift: shift(&time, binding) }
    }
}

fn mean(sum: f64, count: u32) -> Option<f64> {
    (count > 0).then(|| sum / f64::from(count))
}

fn time_spent(point: &PointInput) -> TimeSpent {
    let sums = &point.samples.stages;
    let engines = point.facts.as_ref().and_then(|f| f.engines).unwrap_or_default();
    let engine = |sum: Option<TimeSum>| sum.filter(|s| s.count > 0.0).map(|s| s.secs / s.count);
    let transfers = engines.kv_transfer_secs.zip(engines.kv_transfers.filter(|n| *n > 0.0 && !engines.pushed()));
    let overlap = mean(sums.overlap, sums.stamped_prefill).unwrap_or(0.0);
    TimeSpent {
        slot_wait: mean(sums.slot_wait, sums.served),
        client_lag: mean(sums.lag, sums.served),
        to_proxy: mean(sums.to_proxy, sums.stamped),
        proxy: mean(sums.proxy, sums.stamped),
        prefill: mean(sums.prefill, sums.stamped_prefill),
        prefill_queue: engine(engines.prefill_queue),
        prefill_compute: engine(engines.prefill_time),
        hand_off: mean(sums.hand_off, sums.stamped_prefill),
        first_byte: mean(sums.first_byte, sums.stamped),
        kv_transfer: transfers.map(|(secs, n)| secs / n),
        decode_queue: engine(engines.decode_queue).map(|secs| (secs - overlap).max(0.0)),
        back: mean(sums.back, sums.stamped),
        ttft: mean(sums.ttft, sums.served),
        decode: mean(sums.decode, sums.served),
    }
}

fn binding(point: &PointInput, slo: &Slo) -> Binding {
    let (mut ttft_misses, mut tpot_misses, mut e2el_misses) = (0usize, 0usize, 0usize);
    let (mut lost, mut unknown) = (0usize, 0usize);
    for i in 0..point.samples.len() {
        match judge(&point.samples, i, slo) {
            Verdict::Met => {}
            Verdict::NotServed => lost += 1,
            Verdict::Missed { ttft, tpot, e2el } => {
                ttft_misses += usize::from(ttft);
                // What nobody counted is as if it were infinite: not met, and not missed either.
                let is_known = point.samples.tpot[i].is_finite();
                tpot_misses += usize::from(tpot && is_known);
                unknown += usize::from(tpot && !is_known);
                e2el_misses += usize::from(e2el);
            }
        }
    }
    match (ttft_misses, tpot_misses, e2el_misses) {
        (0, 0, 0) if lost == 0 && unknown == 0 => Binding::Nothing,
        (t, p, e) if unknown > t.max(p).max(e).max(lost) => Binding::Unknown,
        (t, p, e) if lost > t.max(p).max(e) => Binding::NotServed,
        (t, p, e) if e > t.max(p) => Binding::E2el,
        (t, p, _) if t >= 2 * p => Binding::Ttft,
        (t, p, _) if p >= 2 * t => Binding::Tpot,
        _ => Binding::Mixed,
    }
}

/// A queue that takes less of TTFT than this is not what makes it too long.
const WORTH_AN_INSTANCE: f64 = 0.2;

fn shift(time: &TimeSpent, binding: Binding) -> Option<Shift> {
    let (prefill, decode) = (time.prefill_queue?, time.decode_queue?);
    let matters = time.ttft.is_some_and(|ttft| prefill >= WORTH_AN_INSTANCE * ttft);
    match binding {
        // A stage that queues twice as long as the other is the one that lacks instances.
        Binding::Ttft if prefill > 2.0 * decode && matters => Some(Shift::MorePrefill),
        // Not for TTFT: decode's queue holds the wait for the KV transfer too, however idle the instance is.
        Binding::Tpot if decode > 2.0 * prefill => Some(Shift::MoreDecode),
        Binding::Tpot if time.prefill.is_some() => Some(Shift::MoreDecode),
        _ => None,
    }
}
