//! Engine metrics over a point: two scrapes of every instance, their difference as [`EngineCounters`]; and a sampler
//! of gauges while the load runs.
//!
//! Roles matter. A prefill/decode pair processes a prompt once but counts it twice, so each counter is taken from the
//! role that tells: transfers and what was computed or found again on decode instances, expiry and prefill time on
//! prefill instances. A sum is given only if every instance of the role has the counter: part of a sum would look like
//! a measurement.

use super::fleet::{self, EngineSnapshot, FleetSnapshot};
use super::prometheus::Snapshot;
use super::ranks;
use super::scrape::Scraper;
use crate::outcome::{EngineCounters, KvTotals, RankCounters, TimeSum};
use crate::plan::topology::Role;
use crate::units::Offset;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the engines did between two snapshots.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EngineWindow {
    /// `None`: not one engine could be read at both ends.
    pub counters: Option<EngineCounters>,
    /// Engines that were started anew in between: their counters began again at zero.
    pub restarted: Vec<String>,
    /// Engines that were first seen at the end: they count from zero.
    pub joined: Vec<String>,
    /// Engines that could not be read at one of the ends, and why.
    pub unread: Vec<String>,
    /// Of engines with several data-parallel ranks.
    pub ranks: Vec<RankCounters>,
}

/// The difference of two snapshots of the same fleet. Engines may join one that is not ours, and leave it.
pub fn between(before: &FleetSnapshot, after: &FleetSnapshot) -> EngineWindow {
    let mut window = EngineWindow::default();
    let mut spans = Vec::new();
    for new in &after.engines {
        let old = before.engines.iter().find(|old| old.name == new.name);
        match (old.map(|old| &old.metrics), &new.metrics) {
            (Some(Ok(before)), Ok(after)) => {
                let restarted = is_restart(before, after);
                if restarted {
                    window.restarted.push(new.name.clone());
                }
                let before = (!restarted).then_some(before);
                window.ranks.extend(ranks::between(&new.name, before, after));
                spans.push(InstanceSpan { role: new.role, before, after });
            }
            (None, Ok(after)) => {
                window.joined.push(new.name.clone());
                spans.push(InstanceSpan { role: new.role, before: None, after });
            }
            (Some(Err(error)), _) | (_, Err(error)) => window.unread.push(error.to_string()),
        }
    }
    let gone = |old: &&EngineSnapshot| !after.engines.iter().any(|new| new.name == old.name);
    let gone: Vec<&EngineSnapshot> = before.engines.iter().filter(gone).collect();
    window.unread.extend(gone.iter().map(|old| format!("{}: it is there no more", old.name)));
    let complete = |role: Role| {
        let of_role = after.engines.iter().filter(|e| e.role == role).count();
        spans.iter().filter(|s| s.role == role).count() == of_role && !gone.iter().any(|old| old.role == role)
    };
    let spans: Vec<InstanceSpan<'_>> = spans.iter().filter(|s| complete(s.role)).copied().collect();
    window.counters = (!spans.is_empty()).then(|| counters(&spans));
    window
}

/// One engine at both ends; without a `before`, it was restarted and its counters count from zero.
#[derive(Clone, Copy)]
struct InstanceSpan<'a> {
    role: Role,
    before: Option<&'a Snapshot>,
    after: &'a Snapshot,
}

/// Grow with every request, so they fall only when the process is a new one.
const ALWAYS_GROWING: [&str; 3] =
    ["vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_queue_time_seconds_count"];

fn is_restart(before: &Snapshot, after: &Snapshot) -> bool {
    match (fleet::process_started(before), fleet::process_started(after)) {
        // A step of the wall clock doesn't move it: it is read once.
        (Some(old), Some(new)) if (new - old).abs() > 1.0 => true,
        _ => ALWAYS_GROWING.iter().any(|name| match (before.sum(name, &[]), after.sum(name, &[])) {
            (Some(old), Some(new)) => new < old,
            _ => false,
        }),
    }
}

/// Engines whose answer reaches the client.
const ANSWERING: [Role; 2] = [Role::Replica, Role::Decode];
/// Engines that process prompts by design.
const PREFILLING: [Role; 2] = [Role::Replica, Role::Prefill];
const PREFIX_HITS: [&str; 2] = ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"];
const PREFIX_QUERIES: [&str; 2] = ["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"];

fn counters(spans: &[InstanceSpan<'_>]) -> EngineCounters {
    // Counters that no clock reaches come to infinity, which JSON can't hold: they are not known.
    let total = |roles: &[Role], names: &[&str]| growth(spans, roles, names, &[]).filter(|n| n.is_finite());
    let by_source =
        |roles: &[Role], source| growth(spans, roles, &["vllm:prompt_tokens_by_source_total"], &[("source", source)]);
    let time = |roles: &[Role], histogram: &str| {
        Some(TimeSum {
            secs: total(roles, &[&format!("{histogram}_sum")])?,
            count: total(roles, &[&format!("{histogram}_count")])?,
        })
    };
    const D: [Role; 1] = [Role::Decode];
    const P: [Role; 1] = [Role::Prefill];
    // Decode instances count what they pull, prefill instances what they push; both have all the counters.
    let moved = |name: &str| match (total(&P, &[name]), total(&D, &[name])) {
        (pushed, Some(pulled)) => Some(pushed.unwrap_or(0.0) + pulled),
        (pushed, None) => pushed.filter(|n| *n > 0.0),
    };
    EngineCounters {
        local_compute_tokens: by_source(&ANSWERING, "local_compute"),
        cached_prompt_tokens: total(&PREFILLING, &PREFIX_HITS),
        cache_queries: total(&PREFILLING, &PREFIX_QUERIES),
        decode_cache_hits: total(&D, &PREFIX_HITS),
        decode_cache_queries: total(&D, &PREFIX_QUERIES),
        busiest_share: busiest_share(spans, &PREFILLING),
        decode_busiest_share: busiest_share(spans, &D),
        decode_cache_hit_tokens: by_source(&D, "local_cache_hit").or_else(|| total(&D, &PREFIX_HITS)),
        external_kv_tokens: by_source(&D, "external_kv_transfer")
            .or_else(|| total(&D, &["vllm:external_prefix_cache_hits_total"])),
        prompt_tokens: total(&ANSWERING, &["vllm:prompt_tokens_total"]),
        generation_tokens: total(&ANSWERING, &["vllm:generation_tokens_total"]),
        preemptions: total(&[Role::Replica, Role::Prefill, Role::Decode], &["vllm:num_preemptions_total"]),
        kv_failed_transfers: moved("vllm:nixl_num_failed_transfers_total"),
        kv_failed_notifications: moved("vllm:nixl_num_failed_notifications_total"),
        kv_expired: total(&P, &["vllm:nixl_num_kv_expired_reqs_total"]),
        kv_notifications_after_expiry: total(&P, &["vllm:nixl_num_notifications_after_expiry_total"]),
        kv_transfers: moved("vllm:nixl_xfer_time_seconds_count"),
        kv_pushed: total(&P, &["vllm:nixl_xfer_time_seconds_count"]),
        kv_transfer_secs: moved("vllm:nixl_xfer_time_seconds_sum"),
        kv_transfer_bytes: moved("vllm:nixl_bytes_transferred_sum"),
        kv_descriptors: moved("vllm:nixl_num_descriptors_sum"),
        kv_post_secs: moved("vllm:nixl_post_time_seconds_sum"),
        spec_drafts: total(&ANSWERING, &["vllm:spec_decode_num_drafts_total"]),
        spec_draft_tokens: total(&ANSWERING, &["vllm:spec_decode_num_draft_tokens_total"]),
        spec_accepted_tokens: total(&ANSWERING, &["vllm:spec_decode_num_accepted_tokens_total"]),
        prefill_queue: time(&PREFILLING, "vllm:request_queue_time_seconds"),
        prefill_time: time(&PREFILLING, "vllm:request_prefill_time_seconds"),
        decode_queue: time(&D, "vllm:request_queue_time_seconds"),
        decode_time: time(&ANSWERING, "vllm:request_decode_time_seconds"),
    }
}

/// The largest part of the prompt tokens that one of several engines got.
fn busiest_share(spans: &[InstanceSpan<'_>], roles: &[Role]) -> Option<f64> {
    let of_role = spans.iter().filter(|span| roles.contains(&span.role));
    let each: Vec<f64> =
        of_role.map(|span| span.growth("vllm:prompt_tokens_total", &[])).collect::<Option<Vec<f64>>>()?;
    let all: f64 = each.iter().sum();
    let most = each.iter().copied().fold(0.0, f64::max);
    (each.len() > 1 && all > 0.0 && all.is_finite()).then(|| most / all)
}

/// Growth of the first name that occurs, summed over the engines of these roles; `None` unless all of them have it.
fn growth(spans: &[InstanceSpan<'_>], roles: &[Role], names: &[&str], labels: &[(&str, &str)]) -> Option<f64> {
    let mut of_role = spans.iter().filter(|span| roles.contains(&span.role)).peekable();
    of_role.peek()?;
    of_role.map(|span| names.iter().find_map(|name| span.growth(name, labels))).sum()
}

impl InstanceSpan<'_> {
    fn growth(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let after = self.after.sum(name, labels)?;
        // A series appears with its first event: not there before means nothing had happened.
        let before = self.before.and_then(|snapshot| snapshot.sum(name, labels)).unwrap_or(0.0);
        Some((after - before).max(0.0))
    }
}

/// Gauges of one engine at one moment: a line of engine-metrics.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineSample {
    /// Since the epoch given to the sampler.
    pub at: Offset,
    pub instance: String,
    /// False: the engine did not answer, and everything below is absent.
    pub answered: bool,
    pub running: Option<f64>,
    pub waiting: Option<f64>,
    /// Share of KV cache blocks in use, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Since the engine's start.
    pub prompt_tokens: Option<f64>,
    /// Since the engine's start: an engine is alive while this grows.
    pub generation_tokens: Option<f64>,
    pub preemptions: Option<f64>,
    /// Hand-overs since the engine's start, counted by the side that moves the KV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvTotals>,
}

impl EngineSample {
    fn of(engine: &EngineSnapshot, at: Offset) -> Self {
        let read = |names: &[&str]| engine.metrics.as_ref().ok().and_then(|m| m.sum_of_any(names));
        EngineSample {
            at,
            instance: engine.name.clone(),
            answered: engine.metrics.is_ok(),
            running: read(&["vllm:num_requests_running"]),
            waiting: read(&["vllm:num_requests_waiting"]),
            // Each data-parallel rank has KV memory of its own.
            kv_usage: ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]
                .iter()
                .find_map(|name| engine.metrics.as_ref().ok()?.mean(name)),
            prompt_tokens: read(&["vllm:prompt_tokens_total"]),
            generation_tokens: read(&["vllm:generation_tokens_total"]),
            preemptions: read(&["vllm:num_preemptions_total"]),
            kv: engine.hand_over(),
        }
    }
}

/// Samples a fleet's gauges until it is dropped.
#[derive(Debug)]
pub struct EngineSampler {
    task: JoinHandle<()>,
}

impl EngineSampler {
    /// One sample of every engine each `period`, with offsets since `epoch`. A slow receiver makes it skip samples,
    /// never queue them.
    pub fn start(scraper: Scraper, epoch: Instant, period: Duration) -> (Self, mpsc::Receiver<EngineSample>) {
        let (send, receive) = mpsc::channel(256);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let at = Offset::from(epoch.elapsed());
                for engine in &scraper.snapshot().await.engines {
                    if let Err(mpsc::error::TrySendError::Closed(_)) = send.try_send(EngineSample::of(engine, at)) {
                        return;
                    }
                }
            }
        });
        (EngineSampler { task }, receive)
    }
}

impl Drop for EngineSampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
