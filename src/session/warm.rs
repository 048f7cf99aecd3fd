//! Before the first point: every prefill x decode pair (or replica) answers one request, then a burst in the
//! workload's own lengths warms kernels, graphs and caches. Nothing of it is measured.
//!
//! The first request between a pair pays the NIXL handshake, and the first burst on fresh GPUs pays kernel warm-up: 12 s
//! were seen on an H100. It is also the proof that the hand-off hands over: decode instances must have received KV.

use super::error::SessionError;
use super::events::{Event, Sink};
use super::live::LiveArm;
use crate::drive::{Capabilities, Deadlines, Single, SingleError, Target, send_one};
use crate::observe::engine;
use crate::outcome::Failure;
use crate::plan::Sweep;
use crate::plan::topology::Role;
use crate::plan::workload::{PreparedWorkload, WarmUpRequest};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::path::Path;

/// Tokens of a pair's first answer: enough to decode, not only to prefill.
const PAIR_TOKENS: u32 = 4;
/// vLLM hands over whole blocks; a shorter prompt may be recomputed without any fault.
const BLOCK: u32 = 16;
/// What a server may understand (continuous usage, `ignore_eos`), tried in turn.
const PROBES: [(bool, bool); 3] = [(true, true), (false, true), (false, false)];

/// Everything a warm-up needs to know.
pub struct WarmUp<'a> {
    pub live: &'a mut LiveArm,
    pub sweep: &'a Sweep,
    pub workload: &'a PreparedWorkload,
    /// Makes request ids unique to the run.
    pub nonce: &'a str,
    pub logs: &'a Path,
    pub events: &'a Sink,
}

/// Pins of one request: header and index.
type Pins = Vec<(String, String)>;

impl WarmUp<'_> {
    pub async fn run(self) -> Result<(), SessionError> {
        let pins = pins(self.live);
        let burst = self.sweep.load.warmups as usize;
        let total = u32::try_from(pins.len() + burst).unwrap_or(u32::MAX);
        let mut requests = self.workload.warm_ups(total.saturating_add(PROBES.len() as u32))?;
        let probes = requests.split_off(requests.len().saturating_sub(PROBES.len()));
        (self.events)(Event::WarmingUp { arm: self.live.label.clone(), requests: total });
        self.live.target.capabilities = self.capabilities(&probes).await?;
        let before = self.live.scraper.snapshot().await;
        let mut longest = 0;
        let burst_requests = requests.split_off(pins.len());
        for (i, (pins, request)) in pins.into_iter().zip(&requests).enumerate() {
            longest = longest.max(request.prompt_tokens.get());
            let what = name_of(&pins);
            self.send(request, PAIR_TOKENS.min(request.output_tokens.get()), i, pins, &self.live.target)
                .await
                .map_err(|e| self.smoke(what, &e))?;
        }
        if longest > BLOCK {
            self.prove_transfer(&before, total - u32::try_from(burst).unwrap_or(0)).await?;
        }
        self.burst(&burst_requests, requests.len()).await?;
        self.settle(requests.len() + burst_requests.len() + PROBES.len()).await
    }

    /// What the server understands: vLLM all of it, others less.
    async fn capabilities(&self, requests: &[WarmUpRequest]) -> Result<Capabilities, SessionError> {
        let mut target = self.live.target.clone();
        for ((continuous_usage, ignore_eos), request) in PROBES.into_iter().zip(requests) {
            target.capabilities = Capabilities { continuous_usage, ignore_eos, ..target.capabilities };
            match self.send(request, 1, usize::MAX, Vec::new(), &target).await {
                Err(SingleError::Failed(Failure::Status { code: 400 | 422, .. })) if ignore_eos => {}
                Ok(()) => return Ok(target.capabilities),
                Err(error) => return Err(self.smoke("through the whole path".to_string(), &error)),
            }
        }
        unreachable!("the last try returns")
    }

    pub(super) async fn send(
        &self,
        request: &WarmUpRequest,
        tokens: u32,
        number: usize,
        headers: Pins,
        target: &Target,
    ) -> Result<(), SingleError> {
        let timeouts = self.sweep.timeouts;
        let single = Single {
            prompt: request.prompt.clone(),
            max_tokens: tokens,
            id: format!("tb-{}-warm-{number}", self.nonce),
            headers,
            deadlines: Deadlines { first_token: timeouts.first_token, idle: timeouts.idle },
        };
        send_one(target, &single).await.map(|_| ())
    }

    pub(super) fn smoke(&self, what: String, error: &SingleError) -> SessionError {
        SessionError::Smoke {
            arm: self.live.label.clone(),
            what,
            detail: error.to_string(),
            hint: format!("the engines' logs say more ({})", self.logs.display()),
        }
    }

    /// Decode instances count where prompt tokens came from. Engines that don't count are not accused.
    async fn prove_transfer(&self, before: &engine::FleetSnapshot, requests: u32) -> Result<(), SessionError> {
        if !self.live.is_prefill_decode() {
            return Ok(());
        }
        let counters = engine::between(before, &self.live.scraper.snapshot().await).counters.unwrap_or_default();
        match (counters.external_kv_tokens, counters.decode_cache_hit_tokens) {
            (Some(0.0), None | Some(0.0)) => Err(SessionError::NoKvTransfer {
                arm: self.live.label.clone(),
                requests,
                logs: self.logs.display().to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// All at once, numbered after the `before` that went to the pairs.
    async fn burst(&self, requests: &[WarmUpRequest], before: usize) -> Result<(), SessionError> {
        let mut running: FuturesUnordered<_> = requests
            .iter()
            .enumerate()
            .map(|(i, r)| self.send(r, r.output_tokens.get(), before + i, Vec::new(), &self.live.target))
            .collect();
        while let Some(answer) = running.next().await {
            answer.map_err(|e| self.smoke("of the warm-up burst".to_string(), &e))?;
        }
        Ok(())
    }
}

/// One set of pins for every pair of prefill and decode, or for every replica behind the proxy.
fn pins(live: &LiveArm) -> Vec<Pins> {
    let pin = |header: &str, index: usize| (header.to_string(), index.to_string());
    if live.proxy.is_none() {
        return vec![Vec::new()];
    }
    if !live.is_prefill_decode() {
        return (0..live.count(Role::Replica)).map(|i| vec![pin("x-topobench-backend", i)]).collect();
    }
    let (prefill, decode) = (live.count(Role::Prefill), live.count(Role::Decode));
    (0..prefill)
        .flat_map(|p| (0..decode).map(move |d| (p, d)))
        .map(|(p, d)| vec![pin("x-topobench-prefill", p), pin("x-topobench-decode", d)])
        .collect()
}

fn name_of(pins: &Pins) -> String {
    match pins.as_slice() {
        [] => "to the server".to_string(),
        [(_, replica)] => format!("to replica-{replica}"),
        [(_, prefill), (_, decode), ..] => format!("from prefill-{prefill} to decode-{decode}"),
    }
}
