//! Tests that need more than one part of the room.

mod closed_loop;
mod contract;
mod four_gpus;
mod properties;
mod recorded;
mod simulation;
mod validity;
mod verdicts;

use super::*;
use crate::outcome::{PointFacts, PointKey, PointStatus};
use crate::plan::slo::{Slo, Target};
use crate::units::{RequestRate, Tpot, Ttft};

pub(super) fn rate(per_second: f64) -> RequestRate {
    RequestRate::new(per_second).expect("a rate")
}

pub(super) fn slo(ttft_ms: f64, tpot_ms: f64) -> Slo {
    Slo { ttft: Ttft::from_millis(ttft_ms), tpot: Tpot::from_millis(tpot_ms), e2el: None }
}

/// Facts of a point at which nothing went wrong.
pub(super) fn fine(per_second: f64, offered: u32) -> PointFacts {
    PointFacts {
        key: PointKey { rate: rate(per_second), attempt: 1 },
        launch: 1,
        host: None,
        status: PointStatus::Measured,
        why: Vec::new(),
        offered,
        repeated_prompts: 0,
        repeated_tokens: None,
        duration_secs: f64::from(offered) / per_second,
        started_at: "2026-11-21T21:00:00Z".to_string(),
        engine_restarts: 0,
        ranks: Vec::new(),
        engines: None,
        gpus: None,
        hand_over: None,
        profiled: false,
        pilot: false,
        stopped: None,
    }
}

/// Requests due evenly, with the given TTFTs (seconds; infinite: not served) and one TPOT.
pub(super) fn samples(per_second: f64, ttfts: &[f64], tpot: f64) -> Samples {
    let errors: Vec<String> =
        ttfts.iter().map(|t| if t.is_finite() { String::new() } else { "refused".to_string() }).collect();
    let starts: Vec<f64> = (0..ttfts.len()).map(|i| i as f64 / per_second).collect();
    let tpots = vec![Some(tpot); ttfts.len()];
    let lens = vec![128; ttfts.len()];
    Samples::from_vllm(&VllmColumns {
        ttfts,
        tpots: Some(&tpots),
        output_lens: Some(&lens),
        errors: Some(&errors),
        start_times: Some(&starts),
        ..VllmColumns::default()
    })
    .expect("columns fit")
}

/// A point with evidence that all was well: `misses` of `n` requests, scattered, above a TTFT limit of 150 ms. Points with
/// different numbers of misses miss different requests.
pub(super) fn point(per_second: f64, n: usize, misses: usize) -> PointInput {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| kit::queue::Dice::seeded((i * 1009 + misses) as u64).0);
    let mut ttfts = vec![0.1; n];
    order[..misses].iter().for_each(|&i| ttfts[i] = 0.3);
    PointInput {
        rate: rate(per_second),
        attempt: 1,
        launch: 1,
        host: None,
        facts: Some(fine(per_second, n as u32)),
        duration_secs: Some(n as f64 / per_second),
        samples: samples(per_second, &ttfts, 0.008).into(),
    }
}

pub(super) fn arm(label: &str, size: &str, points: Vec<PointInput>) -> ArmInput {
    ArmInput {
        label: label.to_string(),
        size: Some(size.to_string()),
        dir: format!("results/random/{label}"),
        kind: if label == "nixl" { ArmKind::PrefillDecode } else { ArmKind::Simple },
        instances: (label == "nixl").then_some((1, 1)),
        gpus: Some(2),
        topology: serde_json::json!({ "kind": label }),
        identity: Identity::default(),
        points,
        stopped: Vec::new(),
        pilots: Vec::new(),
    }
}

pub(super) fn question() -> Question {
    Question { slo: slo(150.0, 10.0), target: Target::default(), ..Question::default() }
}
