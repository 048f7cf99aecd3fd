//! Before the first point: every prefill x decode pair (or replica), of data-parallel engines every rank, answers one request, then a burst in the
//! workload's own lengths warms kernels, graphs and caches. Nothing of it is measured.
//!
//! The first request between a pair pays the NIXL handshake, and the first burst on fresh GPUs pays kernel warm-up: 12 s
//! were seen on an H100. It is also the proof that the hand-off hands over: decode instances must have received KV.

use super::context::SessionContext;
use super::error::SessionError;
use super::events::{EventSink, SessionEvent};
use super::live::LiveArm;
use super::pairs::{self, Pins};
use crate::drive::{Capabilities, Completion, Deadlines, Destination, Single, SingleError, send_one};
use crate::observe::engine::{self, EngineWindow};
use crate::observe::fleet::FleetSnapshot;
use crate::observe::scrape;
use crate::outcome::{Failure, RankCounters};
use crate::plan::Sweep;
use crate::plan::load::{Endpoint, LengthField};
use crate::plan::strategy::StrategyPlan;
use crate::plan::topology::Role;
use crate::plan::workload::WarmUpRequest;
use crate::units::TokenCount;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::path::Path;

/// Tokens of a pair's first answer: enough to decode, not only to prefill.
const PAIR_TOKENS: u32 = 4;
/// vLLM hands over whole blocks; a shorter prompt may be recomputed without any fault.
const BLOCK: u32 = 16;
/// Prompts whose answers are compared between deployments, and how much of each answer.
const GREEDY: usize = 4;
const GREEDY_TOKENS: u32 = 16;
/// Requests that find out what a server understands: one with everything, one for each field that may be left out.
const MOST_PROBES: usize = 5;

/// Everything a warm-up needs to know.
pub(super) struct WarmUp<'a> {
    pub live: &'a mut LiveArm,
    pub context: &'a SessionContext,
    /// Makes request ids unique to the run.
    pub nonce: &'a str,
    pub logs: &'a Path,
    pub events: &'a EventSink,
}

/// What the first request that was answered showed.
struct Probed {
    capabilities: Capabilities,
    /// As we count its prompt, and as the server does.
    prompt_tokens: Option<(TokenCount, TokenCount)>,
}

impl WarmUp<'_> {
    pub(super) async fn run(self) -> Result<(), SessionError> {
        let ways = pairs::ways(self.live);
        let burst = self.sweep().load.warmups as usize;
        let total = u32::try_from(ways.len() + burst).unwrap_or(u32::MAX);
        (self.events)(SessionEvent::WarmingUp { arm: self.live.label.clone(), requests: total });
        let probes = self.probes(MOST_PROBES).await?;
        self.check_context(&probes)?;
        let Probed { capabilities, prompt_tokens } = self.capabilities(&probes).await?;
        self.live.target.capabilities = capabilities;
        if !capabilities.counts_tokens {
            self.live.counter = self.tokenizer().await;
        }
        self.fit(prompt_tokens)?;
        // The first were the probes.
        if matches!(self.sweep().strategy, StrategyPlan::Race(_)) {
            self.live.greedy = self.greedy(&probes).await?;
        }
        let requests = self.context.workload.current().warm_ups(total.saturating_add(MOST_PROBES as u32))?;
        let mut requests = requests.into_iter().skip(MOST_PROBES).collect::<Vec<_>>();
        let before = self.live.scraper.settled().await;
        let mut longest = 0;
        let burst_requests = requests.split_off(ways.len());
        for (i, (way, request)) in ways.into_iter().zip(&requests).enumerate() {
            longest = longest.max(request.prompt_tokens.get());
            let answer = self.send(request, PAIR_TOKENS, i, way.pins, &self.live.target).await;
            answer.map_err(|e| self.smoke(way.name, &e))?;
        }
        if longest > BLOCK {
            self.prove_transfer(&before, total - u32::try_from(burst).unwrap_or(0)).await?;
        }
        self.burst(&burst_requests, requests.len()).await?;
        self.settle(requests.len() + burst_requests.len() + MOST_PROBES).await
    }

    /// What the engines answer where nothing is sampled: a setting that should only change speed must not change it.
    async fn greedy(&self, requests: &[WarmUpRequest]) -> Result<Vec<String>, SessionError> {
        let mut target = self.live.target.clone();
        target.temperature = Some(0.0);
        let mut answers = Vec::new();
        for (i, request) in requests.iter().take(GREEDY).enumerate() {
            // A push connector's engines find each other by the id: no other request has one of these.
            let answer = self.send(request, GREEDY_TOKENS, usize::MAX - 1 - i, Vec::new(), &target).await;
            answers.push(answer.map_err(|e| self.smoke("without sampling".to_string(), &e))?.text);
        }
        Ok(answers)
    }

    /// What the server understands: vLLM all of it, others less. Some refuse what they don't know, some fail on it.
    async fn capabilities(&self, requests: &[WarmUpRequest]) -> Result<Probed, SessionError> {
        let mut target = self.live.target.clone();
        let mut refusal = None;
        let mut requests = requests.iter();
        loop {
            let Some(request) = requests.next() else {
                return Ok(Probed { capabilities: target.capabilities, prompt_tokens: None });
            };
            let error = match self.send(request, PAIR_TOKENS, usize::MAX, Vec::new(), &target).await {
                Ok(answer) => {
                    target.capabilities.counts_tokens = answer.timeline.output_tokens.is_some();
                    self.report_left_out(&target, refusal.as_deref());
                    let prompt_tokens = answer.timeline.prompt_tokens.map(|servers| (request.prompt_tokens, servers));
                    return Ok(Probed { capabilities: target.capabilities, prompt_tokens });
                }
                Err(error) => error,
            };
            let first = refusal.get_or_insert_with(|| error.to_string()).clone();
            match self.less(&target, &error) {
                Some(capabilities) => target.capabilities = capabilities,
                None => return Err(self.smoke_of("through the whole path".to_string(), first, &error)),
            }
        }
    }

    /// What to try after a request was refused: the field that the refusal names is left out, else one after another.
    fn less(&self, target: &Destination, error: &SingleError) -> Option<Capabilities> {
        let SingleError::Failed(Failure::Status { code: 400 | 422 | 500..=502, detail }) = error else { return None };
        let now = target.capabilities;
        let may_rename = self.sweep().workload.length_field.is_none()
            && now.length_field == LengthField::MaxTokens
            && target.endpoint == Endpoint::Chat;
        let named = |field: &str| detail.contains(field);
        let ignore_eos = now.ignore_eos && target.ignore_eos;
        if may_rename && wants_the_newer_field(detail) {
            Some(Capabilities { length_field: LengthField::MaxCompletionTokens, ..now })
        } else if ignore_eos && named("ignore_eos") {
            Some(Capabilities { ignore_eos: false, ..now })
        } else if now.continuous_usage {
            Some(Capabilities { continuous_usage: false, ..now })
        } else if now.stream_options && (named("stream_options") || !ignore_eos) {
            Some(Capabilities { stream_options: false, ..now })
        } else if ignore_eos {
            Some(Capabilities { ignore_eos: false, ..now })
        } else {
            None
        }
    }

    /// Says what is left out of the requests because of the server, and what that costs.
    fn report_left_out(&self, target: &Destination, refusal: Option<&str>) {
        let Capabilities { continuous_usage, ignore_eos, stream_options, length_field, .. } = target.capabilities;
        let left_out = [
            (
                !continuous_usage && stream_options,
                "continuous_usage_stats: how many tokens a chunk holds may stay unknown",
            ),
            (!stream_options, "stream_options"),
            (!ignore_eos && target.ignore_eos, "ignore_eos: answers may end before their full length"),
        ];
        let mut said: Vec<&str> = left_out.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        if length_field != self.live.target.capabilities.length_field {
            said.push("max_tokens: max_completion_tokens is sent instead");
        }
        if let Some(refusal) = refusal.filter(|_| !said.is_empty()) {
            let text = format!(
                "{}: the server refuses some fields ({refusal}); left out: {}",
                self.live.label,
                said.join("; ")
            );
            (self.events)(SessionEvent::Warning { text });
        }
    }

    pub(super) fn sweep(&self) -> &Sweep {
        &self.context.sweep
    }

    pub(super) async fn send(
        &self,
        request: &WarmUpRequest,
        tokens: u32,
        number: usize,
        headers: Pins,
        target: &Destination,
    ) -> Result<Completion, SingleError> {
        let timeouts = self.sweep().timeouts;
        let single = Single {
            prompt: request.prompt.clone(),
            max_tokens: tokens.min(request.output_tokens.get()),
            id: format!("tb-{}-warm-{number}", self.nonce),
            headers,
            deadlines: Deadlines { first_token: timeouts.first_token, idle: timeouts.idle },
        };
        send_one(target, &single).await
    }

    pub(super) fn smoke(&self, what: String, error: &SingleError) -> SessionError {
        self.smoke_of(what, error.to_string(), error)
    }

    /// `detail`: what was said first, of several tries.
    fn smoke_of(&self, what: String, detail: String, error: &SingleError) -> SessionError {
        let hint = match self.live.fleet {
            Some(_) => format!("the engines' logs say more ({})", self.logs.display()),
            None => remedy(error).to_string(),
        };
        SessionError::Smoke { arm: self.live.label.clone(), what, detail, hint }
    }

    /// Decode instances count where prompt tokens came from. Engines that don't count are not accused.
    async fn prove_transfer(&self, before: &FleetSnapshot, requests: u32) -> Result<(), SessionError> {
        let now = self.live.scraper.settled().await;
        self.check_counters(&now)?;
        let window = engine::between(before, &now);
        if self.live.is_behind_a_front() {
            // Which prompts it hands over is its own affair, and told of each point.
            return Ok(());
        }
        self.report_missed_ranks(&window);
        if !self.live.is_prefill_decode() {
            return Ok(());
        }
        let counters = window.counters.unwrap_or_default();
        let nothing_came = |transferred, cached| matches!((transferred, cached), (Some(0.0), None | Some(0.0)));
        let who = if nothing_came(counters.external_kv_tokens, counters.decode_cache_hit_tokens) {
            "the decode instances".to_string()
        } else {
            let decode = |rank: &&RankCounters| self.live.of_role(Role::Decode).any(|e| e.name == rank.instance);
            let empty = window.ranks.iter().filter(decode).find(|rank| {
                rank.prompt_tokens > Some(0.0) && nothing_came(rank.external_kv_tokens, rank.cache_hit_tokens)
            });
            let Some(rank) = empty else { return Ok(()) };
            format!("rank {} of {}", rank.rank, rank.instance)
        };
        let logs = self.logs.display().to_string();
        Err(SessionError::NoKvTransfer { arm: self.live.label.clone(), requests, who, logs })
    }

    /// Counters that were asked for and are not there now would be missed when everything is measured. Of Ray's replicas, those
    /// that had no request yet have none.
    fn check_counters(&self, now: &FleetSnapshot) -> Result<(), SessionError> {
        let missing =
            now.engines.iter().filter_map(|e| e.metrics.as_ref().err()).find(|e| scrape::is_without_counters(e));
        match missing.filter(|_| !self.live.scraper.is_by_ray()) {
            Some(error) => Err(SessionError::Metrics {
                arm: self.live.label.clone(),
                url: error.url.clone(),
                detail: format!("{}, though requests were answered", error.detail),
            }),
            None => Ok(()),
        }
    }

    /// Engines that don't know the header that asks for a rank balance these requests as all others.
    fn report_missed_ranks(&self, window: &EngineWindow) {
        let missed = window.ranks.iter().filter(|rank| rank.prompt_tokens == Some(0.0));
        let names: Vec<String> = missed.map(|rank| format!("rank {} of {}", rank.rank, rank.instance)).collect();
        if !names.is_empty() {
            let text = format!(
                "{}: the warm-up asked for every data-parallel rank, and none of its requests reached {}: this engine may \
                 not know the header X-data-parallel-rank, and the first load may be that rank's first",
                self.live.label,
                names.join(", ")
            );
            (self.events)(SessionEvent::Warning { text });
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

/// Whether a refusal asks for `max_completion_tokens`, or doesn't know `max_tokens`.
fn wants_the_newer_field(refusal: &str) -> bool {
    let unknown = ["nsupported", "not supported", "nknown", "nrecognized", "not permitted", "nexpected"];
    refusal.contains("max_completion_tokens")
        || (refusal.contains("max_tokens") && unknown.iter().any(|word| refusal.contains(word)))
}

/// What helps against the failure of a request to a server whose logs are not ours.
fn remedy(error: &SingleError) -> &'static str {
    match error {
        SingleError::Failed(Failure::Status { code: 401 | 403, .. }) => {
            "it wants a key or a header: an API key comes from VLLM_API_KEY or OPENAI_API_KEY, others from --header NAME=VALUE or TOPOBENCH_HEADERS"
        }
        SingleError::Failed(Failure::Status { code: 404, .. }) => {
            "check the model's name (--served-model-name) and the API's path (--endpoint /v1/completions or /v1/chat/completions)"
        }
        SingleError::Failed(Failure::Status { code: 400..=499, .. }) => {
            "the server refuses what was asked: see --endpoint, --extra-body, --max-tokens-field and the lengths of the workload"
        }
        SingleError::Failed(Failure::Status { code: 300..=399, .. }) => {
            "redirects are not followed: name the server that answers, so that it is the one measured"
        }
        SingleError::Failed(Failure::Status { .. }) => "the server itself failed: its own log says more",
        SingleError::Failed(Failure::Shed { .. }) => "the server takes no more requests now: try again later",
        SingleError::Failed(Failure::Connect { .. }) | SingleError::Target(_) => {
            "check that the server runs there, and the URL"
        }
        SingleError::Failed(Failure::Stalled { .. }) => {
            "the server may be busy, or still loading: see --first-token-timeout"
        }
        SingleError::Failed(_) => "check that it is an OpenAI-compatible server that streams, and --endpoint",
    }
}
