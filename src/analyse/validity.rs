//! Whether a point may be believed. Judged here, from recorded facts and under an SLO, and never stored as truth.
//!
//! A point is invalid when what it measured was not the deployment: a client whose lateness matters ([`super::lateness`]), a
//! KV transfer that failed and was papered over, an engine that restarted, a GPU that throttled, nothing served. Imported files carry no evidence and are
//! neither valid nor invalid.

use super::input::{ArmKind, PointInput, Question};
use super::lateness::{Lateness, allowed_lag};
use super::proof::{self, Recomputed};
use super::samples::Samples;
use crate::outcome::{EngineCounters, PointFacts, PointStatus};
use crate::plan::slo::{Slo, Target};

/// A point's status and validity, with a sentence for each reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Validity {
    pub status: PointStatus,
    /// `None`: there is no evidence.
    pub valid: Option<bool>,
    pub why: Vec<String>,
    /// What doesn't invalidate the point and must be known to whoever reads it.
    pub notes: Vec<String>,
    /// `None` where no send of the client was late.
    pub late: Option<Lateness>,
}

/// Share of the sends scheduled that must have been sent in their window.
const SENT_SHARE: f64 = 0.98;
/// A client that falls behind by this part of a point offers so much less than the rate on the label.
const BEHIND_SHARE: f64 = 0.02;
/// Share of prompt tokens from a prefix cache above which it is said.
const CACHED_SHARE: f64 = 0.05;

/// Judges one point.
pub fn judge(point: &PointInput, kind: ArmKind, question: &Question) -> Validity {
    let late = Lateness::of(&point.samples, &question.slo);
    let nothing_served = point.samples.served() == 0;
    let recorded = point.facts.as_ref().map_or(PointStatus::Measured, |f| f.status);
    let status = if nothing_served { PointStatus::Failed } else { recorded };
    let (mut reasons, mut notes) = (Vec::new(), Vec::new());
    if nothing_served {
        reasons.push(format!("none of the {} requests offered was served", point.samples.len()));
    }
    if let Some(facts) = &point.facts {
        reasons.extend(late.and_then(|late| late_client(&late, question.target)));
        reasons.extend(unsent(&point.samples, &question.slo));
        reasons.extend(engine_faults(facts, kind, point.samples.len().max(facts.offered as usize)));
        reasons.extend(uncounted(&point.samples));
        reasons.extend(not_streamed(&point.samples));
        notes.extend(proof::not_proved(point, kind));
        notes.extend(cached(facts));
        match repeated(facts) {
            Some(text) if nothing_cached(facts) => {
                notes.push(format!("{text}; the engines' prefix caches served none of it"));
            }
            Some(text) => reasons.push(format!("{text}, and a prefix cache may have answered instead of the model")),
            None => {}
        }
        notes.extend(counted_by_us(&point.samples));
        notes.extend(
            facts.profiled.then(|| "the engines' profiler ran: not judged, and no measure of speed".to_string()),
        );
    }
    let failed = status == PointStatus::Failed;
    let valid = match &point.facts {
        _ if failed || !reasons.is_empty() => Some(false),
        Some(facts) if facts.profiled => None,
        Some(_) => Some(true),
        None => None,
    };
    let recorded_why = point.facts.iter().flat_map(|f| f.why.iter().cloned());
    Validity { status, valid, why: recorded_why.chain(reasons).collect(), notes, late }
}

/// Sends that were late, where they leave it open what attainment is.
fn late_client(late: &Lateness, target: Target) -> Option<String> {
    let why = || format!("the client was late: {}; give it more CPU, or lower the rate", late.told());
    late.matters(target).then(why)
}

/// Sends that never happened, or only after the point's end: the offered rate was not the one on the label. A single last
/// send that is late makes no other rate.
fn unsent(samples: &Samples, slo: &Slo) -> Option<String> {
    let first = samples.due.iter().copied().min_by(f64::total_cmp)?;
    let last = samples.due.iter().copied().max_by(f64::total_cmp)?;
    let end = last + allowed_lag(slo).max(BEHIND_SHARE * (last - first));
    let sends = || samples.sent.iter().zip(&samples.excused).filter(|(_, excused)| !**excused).map(|(sent, _)| *sent);
    let (scheduled, never) = (sends().count(), sends().filter(|sent| sent.is_infinite()).count());
    let after_the_end = sends().filter(|sent| sent.is_finite() && *sent > end).count();
    let share = 1.0 - (never + after_the_end.saturating_sub(1)) as f64 / scheduled.max(1) as f64;
    (scheduled > 0 && share < SENT_SHARE).then(|| {
        format!("only {:.1} % of the {scheduled} sends scheduled were sent within the point's window", 100.0 * share)
    })
}

/// Unknown is not zero: a request whose tokens nobody counted keeps no TPOT limit, which is said.
fn uncounted(samples: &Samples) -> Option<String> {
    let (unknown, served) = (samples.uncounted(), samples.served());
    (unknown > 0).then(|| {
        format!(
            "the server counted the tokens of {unknown} of {served} answers wrongly or not at all: their TPOT is not known, \
             and the point is not judged by it; let the server report usage; with --tokenizer, answers are counted \
             whose text has the length that was asked for"
        )
    })
}

fn not_streamed(samples: &Samples) -> Option<String> {
    let (whole, served) = (samples.whole(), samples.served());
    (whole > 0).then(|| {
        format!(
            "{whole} of {served} answers came in one piece, faster than any model makes tokens: the server, or a proxy before \
             it, does not stream; TTFT is that of the whole answer, TPOT is not known, and the point is not judged by it"
        )
    })
}

fn counted_by_us(samples: &Samples) -> Option<String> {
    (samples.counted_by_us > 0).then(|| {
        format!(
            "the server did not count the tokens of {} answers: they were counted in their text with the tokenizer, so \
             TPOT is about right",
            samples.counted_by_us
        )
    })
}

fn engine_faults(facts: &PointFacts, kind: ArmKind, requests: usize) -> Vec<String> {
    let mut faults = Vec::new();
    if facts.engine_restarts > 0 {
        faults.push(format!("{} engine process(es) ended or restarted", facts.engine_restarts));
    }
    if let Some(engines) = &facts.engines {
        faults.extend(kv_faults(engines));
        if kind == ArmKind::PrefillDecode {
            faults.extend(Recomputed::of(engines, requests).map(|recomputed| recomputed.to_string()));
        }
    }
    let throttled = facts.gpus.iter().flat_map(|gpus| &gpus.throttled);
    faults.extend(throttled.map(|reason| format!("a GPU throttled: {reason}")));
    faults
}

fn kv_faults(engines: &EngineCounters) -> impl Iterator<Item = String> {
    [
        (engines.kv_failed_transfers, "KV transfers failed"),
        (engines.kv_failed_notifications, "KV transfer notifications failed"),
        (engines.kv_expired, "KV hand-offs expired before they were fetched"),
        (engines.kv_notifications_after_expiry, "KV hand-offs were fetched after they had expired"),
    ]
    .into_iter()
    .filter_map(|(count, what)| Some((count.filter(|n| *n > 0.0)?, what)))
    .map(|(count, what)| format!("{count} {what}"))
}

/// The dataset had fewer prompts than the run had requests.
fn repeated(facts: &PointFacts) -> Option<String> {
    let (repeats, offered) = (facts.repeated_prompts, facts.offered);
    (repeats > 0).then(|| format!("{repeats} of the {offered} prompts had been sent before (the dataset is too small)"))
}

fn nothing_cached(facts: &PointFacts) -> bool {
    facts.engines.as_ref().is_some_and(|engines| engines.cached_prompt_tokens == Some(0.0))
}

fn cached(facts: &PointFacts) -> Option<String> {
    let engines = facts.engines.as_ref()?;
    let prompts = engines.prompt_tokens.filter(|n| *n > 0.0);
    let share = engines.cached_prompt_tokens.zip(prompts).map(|(c, p)| c / p);
    // What prompts were made to share is the workload's, and told as such.
    let meant = facts.repeated_tokens.zip(prompts).map_or(0.0, |(tokens, p)| tokens as f64 / p);
    share.filter(|share| *share > CACHED_SHARE + meant).map(|share| {
        format!("{:.0} % of the prompt tokens came from a prefix cache, which flatters TTFT", 100.0 * share)
    })
}
