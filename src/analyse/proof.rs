//! Whether it is proved that prompts were computed by prefill engines and handed over: HTTP 200 says nothing of that, and
//! only the decode engines' counters tell.

use super::input::{ArmKind, PointInput};
use crate::outcome::EngineCounters;
use serde::Serialize;

/// Share of prompt tokens that a decode instance may compute itself.
const RECOMPUTE_SHARE: f64 = 0.02;

/// What counters say of the hand-over at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandOverProof {
    /// KV came, and decode engines computed no more than prompts' last tokens.
    Proved,
    /// No decode engine counts it, or its counters could not be read.
    NotProved,
    /// Decode engines computed prompts themselves.
    Recomputed,
}

impl HandOverProof {
    /// `None` for a deployment without a hand-over, and where nothing was recorded beside the requests.
    pub fn of(point: &PointInput, kind: ArmKind) -> Option<HandOverProof> {
        let facts = point.facts.as_ref()?;
        let counters = match kind {
            ArmKind::Simple | ArmKind::Unknown => return None,
            ArmKind::HiddenPair => return Some(HandOverProof::NotProved),
            ArmKind::PrefillDecode => facts.engines,
        };
        let requests = point.samples.len().max(facts.offered as usize);
        let came = |engines: &EngineCounters| engines.external_kv_tokens.is_some_and(|n| n > 0.0);
        Some(match counters {
            Some(engines) if Recomputed::of(&engines, requests).is_some() => HandOverProof::Recomputed,
            Some(engines) if came(&engines) && engines.prompt_tokens.is_some() => HandOverProof::Proved,
            Some(_) | None => HandOverProof::NotProved,
        })
    }

    pub fn words(self) -> &'static str {
        match self {
            HandOverProof::Proved => "proved",
            HandOverProof::NotProved => "not proved",
            HandOverProof::Recomputed => "recomputed by decode",
        }
    }
}

/// What readers of a point without proof must know.
pub(super) fn not_proved(point: &PointInput, kind: ArmKind) -> Option<String> {
    let unproved = HandOverProof::of(point, kind) == Some(HandOverProof::NotProved);
    let remedy = if kind == ArmKind::HiddenPair { "; --metrics-url decode=URL names where they are" } else { "" };
    unproved.then(|| {
        format!(
            "the hand-over is not proved: no decode engine's counters tell of it, and silent recomputes would go unseen{remedy}"
        )
    })
}

/// D computed prompts that P was to have computed: HTTP 200, and not the deployment that was to be measured.
pub(super) struct Recomputed {
    local: f64,
    prompts: f64,
}

impl Recomputed {
    /// One token a request is normal, the last of the prompt is computed where decoding starts.
    pub(super) fn of(engines: &EngineCounters, requests: usize) -> Option<Recomputed> {
        let prompts = engines.prompt_tokens.filter(|n| *n > 0.0)?;
        let accounted = || Some(prompts - engines.external_kv_tokens? - engines.decode_cache_hit_tokens.unwrap_or(0.0));
        let local = engines.local_compute_tokens.or_else(accounted)?;
        let excess = local - requests as f64;
        (excess > RECOMPUTE_SHARE * prompts).then_some(Recomputed { local, prompts })
    }
}

impl std::fmt::Display for Recomputed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Recomputed { local, prompts } = self;
        write!(
            f,
            "decode instances computed {local:.0} of {prompts:.0} prompt tokens themselves: the KV cache was not handed \
             over for {:.1} % of them",
            100.0 * local / prompts
        )
    }
}
