//! A point in vLLM's detailed result format (`vllm bench serve --save-result --save-detailed`), for whoever has tools
//! that read it. An export: requests.jsonl stays the source of truth.
//!
//! `ttfts` and the TTFT statistics count from sent, as vLLM means TTFT; `ttfts_due` beside them counts from due. What is
//! not defined is null: a failed request has no TTFT, a request with one token no TPOT.

use super::error::RecordError;
use super::manifest::Manifest;
use super::{dir, journal};
use crate::analyse::PointAttainment;
use crate::analyse::latencies::Latencies;
use crate::analyse::percentiles::Distribution;
use crate::analyse::samples::SamplesBuilder;
use crate::analyse::summary::PointSummary;
use crate::outcome::{Outcome, PointFacts, PointKey, RequestRecord};
use crate::plan::load::{Arrivals, Endpoint};
use crate::plan::topology::Role;
use crate::units::{RequestRate, TokenCount};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Points of more requests are not exported: the format wants everything in memory at once, and no tool that reads it
/// could.
pub const MOST_REQUESTS: u32 = 100_000;
/// Nor points of more chunks: each is a number in `itls`.
const MOST_CHUNKS: usize = 2_500_000;

/// Columns of the format, one entry a request.
#[derive(Default, Serialize)]
struct Columns {
    #[serde(skip)]
    index: Vec<u32>,
    #[serde(skip)]
    chunks: usize,
    input_lens: Vec<u32>,
    output_lens: Vec<Option<u32>>,
    ttfts: Vec<Option<f64>>,
    ttfts_due: Vec<Option<f64>>,
    tpots: Vec<Option<f64>>,
    itls: Vec<Vec<f64>>,
    latencies: Vec<Option<f64>>,
    start_times: Vec<Option<f64>>,
    queue_times: Vec<f64>,
    generated_texts: Vec<String>,
    errors: Vec<String>,
}

impl Columns {
    fn push(&mut self, record: &RequestRecord) {
        let line = &record.timeline;
        self.index.push(record.index);
        self.chunks += line.chunks.len();
        self.input_lens.push(record.counted_prompt().get());
        let output_len = line.output_tokens.map(TokenCount::get);
        self.output_lens.push(if record.completed() { output_len } else { Some(0) });
        self.ttfts.push(record.ttft_from_sent().map(|t| t.as_secs()));
        self.ttfts_due.push(record.ttft().map(|t| t.as_secs()));
        self.tpots.push(record.tpot().map(|t| t.as_secs()));
        let gaps = line.chunks.windows(2).map(|pair| pair[1].at.secs_since(pair[0].at));
        self.itls.push(if record.completed() { gaps.collect() } else { Vec::new() });
        let latency = line.last_token.zip(line.sent).map(|(last, sent)| last.secs_since(sent));
        self.latencies.push(latency.filter(|_| record.completed()));
        self.start_times.push(line.sent.map(|t| t.as_secs()));
        self.queue_times.push(line.slot.secs_since(line.due));
        self.generated_texts.push(record.text.clone().unwrap_or_default());
        self.errors.push(match &record.outcome {
            Outcome::Completed => String::new(),
            Outcome::Failed(failure) => failure.to_string(),
            Outcome::Unfinished => "unfinished: cut off by the end of the point".to_string(),
        });
    }

    /// From the order of outcomes to that of the schedule.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.index.len()).collect();
        order.sort_unstable_by_key(|&i| self.index[i]);
        fn pick<T: Default>(column: &mut Vec<T>, order: &[usize]) {
            *column = order.iter().map(|&i| std::mem::take(&mut column[i])).collect();
        }
        pick(&mut self.input_lens, &order);
        pick(&mut self.output_lens, &order);
        for column in
            [&mut self.ttfts, &mut self.ttfts_due, &mut self.tpots, &mut self.latencies, &mut self.start_times]
        {
            pick(column, &order);
        }
        pick(&mut self.itls, &order);
        pick(&mut self.queue_times, &order);
        pick(&mut self.generated_texts, &order);
        pick(&mut self.errors, &order);
    }
}

/// The file: what is known of the point, the columns, and their statistics.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    head: Map<String, Value>,
    #[serde(flatten)]
    columns: &'a Columns,
    #[serde(flatten)]
    statistics: Map<String, Value>,
}

/// Writes what a kill between a point's facts and its export kept from being written.
pub fn write_missing(run: &Path, manifest: &Manifest) -> Result<(), RecordError> {
    let missing = manifest.points.iter().filter(|facts| !run.join(file_name(manifest, facts)).exists());
    missing.map(|facts| facts.key).try_for_each(|key| write(run, manifest, key, 0).map(|_| ()))
}

/// Writes the export of one recorded point, whose lines begin at byte `start` of the journal or later. `None` when the
/// point is too large for the format.
pub fn write(run: &Path, manifest: &Manifest, key: PointKey, start: u64) -> Result<Option<PathBuf>, RecordError> {
    let Some(facts) = manifest.point(key) else { return Ok(None) };
    if facts.offered > MOST_REQUESTS {
        return Ok(None);
    }
    let (mut columns, mut samples) = (Columns::default(), SamplesBuilder::default());
    journal::read_from(&run.join(dir::JOURNAL), start, |entry| {
        if entry.key == key && columns.chunks <= MOST_CHUNKS {
            columns.push(&entry.record);
            samples.push(&entry.record);
        }
    })?;
    if columns.chunks > MOST_CHUNKS {
        return Ok(None);
    }
    columns.sort();
    let percentiles = &manifest.sweep.metrics.percentiles;
    let samples = samples.finish(None);
    let summary = PointSummary::of(&samples, Some(facts.duration_secs), percentiles);
    let mut head = head(manifest, facts);
    totals(&mut head, &columns, facts, &summary);
    let met = PointAttainment::of(&samples, &manifest.sweep.slo).map(|found| f64::from(found.both.met));
    let goodput = met.filter(|_| facts.duration_secs > 0.0).map(|met| met / facts.duration_secs);
    head.insert("request_goodput".to_string(), json!(goodput));
    let document = Document { head, columns: &columns, statistics: statistics(&summary.latencies) };
    let path = run.join(file_name(manifest, facts));
    dir::replace_atomically(&path, |file| {
        let mut out = BufWriter::with_capacity(1 << 16, file);
        serde_json::to_writer(&mut out, &document)?;
        out.flush()
    })?;
    Ok(Some(path))
}

/// `vllm-<rate>qps[-attempt<n>]-<model>-<stamp>.json`, of a closed loop `vllm-infqps-concurrency<n>-..` as vLLM has it; the stamp is the point's own, so writing it again replaces it.
fn file_name(manifest: &Manifest, facts: &PointFacts) -> String {
    let model = manifest.sweep.model.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let attempt = if facts.key.attempt == 1 { String::new() } else { format!("-attempt{}", facts.key.attempt) };
    let load = match facts.key.rate.in_flight() {
        Some(n) => format!("infqps-concurrency{n}"),
        None => format!("{}qps", facts.key.rate),
    };
    format!("vllm-{load}{attempt}-{}-{}.json", dir::safe_name(model), stamp(facts))
}

fn stamp(facts: &PointFacts) -> String {
    let parsed = chrono::DateTime::parse_from_rfc3339(&facts.started_at);
    parsed.map_or_else(|_| "undated".to_string(), |t| t.format("%Y%m%d-%H%M%S").to_string())
}

fn head(manifest: &Manifest, facts: &PointFacts) -> Map<String, Value> {
    let sweep = &manifest.sweep;
    let backend = match sweep.workload.endpoint {
        Endpoint::Completions => "openai",
        Endpoint::Chat => "openai-chat",
    };
    let burstiness = match sweep.load.arrivals {
        Arrivals::Gamma { burstiness } => json!(burstiness),
        Arrivals::Constant => json!("inf"),
        Arrivals::Trace | Arrivals::Recorded => Value::Null,
    };
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| out.insert(name.to_string(), value);
    set("date", json!(stamp(facts)));
    set("endpoint_type", json!(backend));
    set("backend", json!("vllm"));
    set("label", Value::Null);
    set("model_id", json!(sweep.model));
    set("model_name", json!(sweep.model));
    set("tokenizer_id", json!(sweep.workload.tokenizer));
    set("dataset_name", json!(sweep.workload.dataset.name()));
    set("num_prompts", json!(facts.offered));
    set("deployment_mode", json!(manifest.arm.name));
    for (name, value) in sizes(manifest) {
        set(&name, json!(value));
    }
    for (key, value) in &sweep.metadata {
        set(key, json!(value));
    }
    // vLLM's own name for a closed loop: all at once, with a limit.
    let closed = facts.key.rate.in_flight();
    let rate = if closed.is_some() { RequestRate::INFINITE } else { facts.key.rate };
    set("request_rate", serde_json::to_value(rate).unwrap_or(Value::Null));
    set("attempt", json!(facts.key.attempt));
    set("launch", json!(facts.launch));
    set("host", json!(facts.host));
    set("burstiness", burstiness);
    set("max_concurrency", json!(closed.or(sweep.load.max_concurrency)));
    out
}

/// The seed's names, and beside them what isn't one.
fn sizes(manifest: &Manifest) -> Vec<(String, u32)> {
    let mut sizes: Vec<(String, u32)> = Vec::new();
    let mut add = |name: &str, size: u32| sizes.push((name.to_string(), size));
    if manifest.arm.gpus > 0 {
        add("num_gpus", manifest.arm.gpus);
    }
    let Some(topology) = &manifest.arm.topology else { return sizes };
    for (role, group) in topology.groups() {
        let (instances, prefix) = match role {
            Role::Replica => ("num_instances", ""),
            Role::Prefill => ("num_prefill_instances", "prefill_"),
            Role::Decode => ("num_decode_instances", "decode_"),
        };
        add(instances, group.replicas);
        if role == Role::Prefill {
            add("tensor_parallel_size", group.tensor_parallel);
        }
        add(&format!("{prefix}tensor_parallel_size"), group.tensor_parallel);
        let others = [("data_parallel_size", group.data_parallel), ("pipeline_parallel_size", group.pipeline_parallel)];
        for (name, size) in others.into_iter().filter(|(_, size)| *size > 1) {
            add(&format!("{prefix}{name}"), size);
        }
        if group.expert_parallel {
            add(&format!("{prefix}expert_parallel"), 1);
        }
    }
    sizes
}

fn totals(out: &mut Map<String, Value>, columns: &Columns, facts: &PointFacts, summary: &PointSummary) {
    let served = columns.input_lens.iter().zip(&columns.output_lens).filter(|(_, out)| **out != Some(0));
    let input: u64 = served.map(|(n, _)| u64::from(*n)).sum();
    let output: Option<u64> = columns.output_lens.iter().map(|n| n.map(u64::from)).sum();
    let values = [
        ("duration", json!(facts.duration_secs)),
        ("completed", json!(summary.served)),
        ("failed", json!(summary.offered - summary.served)),
        ("total_input_tokens", json!(input)),
        ("total_output_tokens", json!(output)),
        ("request_throughput", json!(summary.request_throughput)),
        ("output_throughput", json!(summary.output_throughput)),
        ("total_token_throughput", json!(summary.total_throughput)),
        ("max_output_tokens_per_s", json!(summary.max_output_tokens_per_s)),
        ("max_concurrent_requests", json!(summary.peak_concurrency)),
    ];
    out.extend(values.map(|(name, value)| (name.to_string(), value)));
    let drafts = facts.engines.and_then(|e| Some((e.acceptance_percent()?, e.acceptance_length()?)));
    if let Some((percent, length)) = drafts {
        out.insert("spec_decode_acceptance_rate".to_string(), json!(percent));
        out.insert("spec_decode_acceptance_length".to_string(), json!(length));
    }
}

/// `{mean,median,std,pNN}_{ttft,tpot,itl,e2el}_ms`; null where nothing was served.
fn statistics(latencies: &Latencies) -> Map<String, Value> {
    let mut out = Map::new();
    let metrics = [
        ("ttft", &latencies.ttft_from_sent),
        ("tpot", &latencies.tpot),
        ("itl", &latencies.itl),
        ("e2el", &latencies.e2el_from_sent),
    ];
    for (metric, distribution) in metrics {
        let ms = |f: fn(&Distribution) -> f64| json!(distribution.as_ref().map(|d| f(d) * 1e3));
        out.insert(format!("mean_{metric}_ms"), ms(|d| d.mean));
        out.insert(format!("median_{metric}_ms"), ms(|d| d.median));
        out.insert(format!("std_{metric}_ms"), ms(|d| d.std));
        for (p, value) in distribution.iter().flat_map(|d| &d.percentiles) {
            out.insert(format!("p{p}_{metric}_ms"), json!(value * 1e3));
        }
    }
    out
}
