//! What is shown of an arm's setup: a name, and where the value lies. `None`: not recorded.

use super::input::ArmPage;
use super::words;
use crate::plan::ArmPlan;
use crate::plan::deployment::{AttachPlan, AttachedServers, Deployment, GpuAssignment};
use crate::plan::load::{Arrivals, Extent, Load, Workload};
use crate::plan::slo::Slo;
use crate::plan::strategy::Order;
use crate::plan::topology::{Shape, Topology};
use crate::record::Manifest;
use crate::record::manifest::InstanceRecord;
use crate::record::read::ImportedFacts;
use crate::words::{bytes, distinct, listed, number, rate};
use chrono::DateTime;
use std::collections::BTreeMap;

pub(super) type SetupRow = (&'static str, fn(&ArmPage<'_>) -> Option<String>);

pub(super) const DEPLOYMENT: [SetupRow; 13] = [
    ("Kind", |arm| manifest(arm).map(|m| kind(&m.arm))),
    ("Size", |arm| arm.input.size.clone()),
    ("GPUs", |arm| arm.input.gpus.map(|n| n.to_string())),
    ("GPUs of each instance", |arm| manifest(arm).and_then(|m| assignments(&m.arm))),
    ("Program", |arm| topology(arm).map(|t| t.program.clone())),
    ("Engine version", |arm| manifest(arm).map(|m| m.engine_versions().join(", "))),
    ("Context length", |arm| manifest(arm).and_then(context)),
    ("KV transfer", |arm| topology(arm).and_then(kv)),
    ("Prefill tensor parallel", |arm| {
        imported(arm).and_then(|i| i.prefill_tp.or(i.tensor_parallel)).map(|n| n.to_string())
    }),
    ("Decode tensor parallel", |arm| {
        imported(arm).and_then(|i| i.decode_tp.or(i.tensor_parallel)).map(|n| n.to_string())
    }),
    ("Proxy", |arm| manifest(arm).map(|m| proxy(&m.arm))),
    ("Environment of the engines", |arm| manifest(arm).map(environment)),
    ("Ready after", |arm| manifest(arm).and_then(ready)),
];

pub(super) const WORKLOAD: [SetupRow; 16] = [
    ("Model", |arm| arm.run.model().map(str::to_string)),
    ("Served as", |arm| manifest(arm).map(|m| m.sweep.served_model_name.clone())),
    ("Tokenizer", |arm| workload(arm).and_then(|w| w.tokenizer.clone())),
    ("Dataset", |arm| {
        workload(arm).map(|w| w.dataset.description()).or_else(|| imported(arm).and_then(|i| i.dataset.clone()))
    }),
    ("Endpoint", |arm| workload(arm).map(|w| w.endpoint.path().to_string())),
    ("Answers end", |arm| workload(arm).map(|w| ending(w.ignore_eos))),
    ("Temperature", |arm| workload(arm).and_then(|w| w.temperature).map(number)),
    ("Extra fields", |arm| workload(arm).and_then(extra)),
    ("Rates (req/s)", |arm| Some(rates(arm))),
    ("A point lasts", |arm| load(arm).map(extent)),
    ("Arrivals", |arm| load(arm).map(arrivals)),
    ("In flight at most", |arm| load(arm).map(|l| l.max_concurrency.map_or("no limit".to_string(), |n| n.to_string()))),
    ("Warm-up requests", |arm| load(arm).map(|l| l.warmups.to_string())),
    ("Attempts", |arm| load(arm).map(|l| l.attempts.to_string())),
    ("Seed", |arm| load(arm).map(|l| l.seed.to_string())),
    ("Metadata", |arm| manifest(arm).and_then(|m| pairs(&m.sweep.metadata))),
];

/// A time of a manifest to the second: `2026-11-28 14:11:50 +00:00`.
fn moment(text: &str) -> String {
    let read = DateTime::parse_from_rfc3339(text);
    read.map_or_else(|_| text.to_string(), |at| at.format("%Y-%m-%d %H:%M:%S %:z").to_string())
}

pub(super) const RUN: [SetupRow; 7] = [
    ("Measured", |arm| {
        let own = manifest(arm).map(|m| match &m.finished_at {
            Some(end) => format!("{} to {}", moment(&m.created_at), moment(end)),
            None => moment(&m.created_at),
        });
        own.or_else(|| imported(arm).and_then(|i| i.date.clone()))
    }),
    ("Status", |arm| manifest(arm).map(status)),
    ("Order of the arms", |arm| manifest(arm).map(|m| order(m.order).to_string())),
    ("Run for the SLO", |arm| manifest(arm).map(|m| slo(&m.sweep.slo))),
    ("Run for the target", |arm| manifest(arm).map(|m| m.sweep.target.percent().to_string())),
    ("topobench", |arm| manifest(arm).map(|m| m.topobench.clone())),
    ("Warnings", |arm| manifest(arm).map(|m| m.warnings.join("\n")).filter(|w| !w.is_empty())),
];

pub(super) const MACHINE: [SetupRow; 8] = [
    ("Host", |arm| manifest(arm).and_then(|m| m.host.hostname.clone())),
    ("System", |arm| manifest(arm).and_then(|m| m.host.os.clone())),
    ("Kernel", |arm| manifest(arm).and_then(|m| m.host.kernel.clone())),
    ("CPU", |arm| manifest(arm).and_then(|m| m.host.cpu.clone())),
    ("Processors", |arm| manifest(arm).and_then(|m| m.host.cpus).map(|n| n.to_string())),
    ("Memory", |arm| manifest(arm).and_then(|m| m.host.memory_bytes).map(bytes)),
    ("GPUs", |arm| manifest(arm).and_then(gpus)),
    ("GPU driver", |arm| manifest(arm).and_then(driver)),
];

pub(super) fn manifest<'a>(arm: &ArmPage<'a>) -> Option<&'a Manifest> {
    arm.run.manifest.as_ref()
}

fn imported<'a>(arm: &ArmPage<'a>) -> Option<&'a ImportedFacts> {
    arm.run.imported.as_ref()
}

fn topology<'a>(arm: &ArmPage<'a>) -> Option<&'a Topology> {
    manifest(arm)?.arm.topology.as_ref()
}

fn workload<'a>(arm: &ArmPage<'a>) -> Option<&'a Workload> {
    Some(&manifest(arm)?.sweep.workload)
}

fn load<'a>(arm: &ArmPage<'a>) -> Option<&'a Load> {
    Some(&manifest(arm)?.sweep.load)
}

fn kind(arm: &ArmPlan) -> String {
    match (&arm.topology.as_ref().map(|t| &t.shape), &arm.deployment) {
        (_, Deployment::Attach(plan)) => attached(plan),
        (Some(Shape::PrefillDecode { .. }), _) => "prefill and decode instances".to_string(),
        _ => "whole requests on one kind of instance".to_string(),
    }
}

fn attached(plan: &AttachPlan) -> String {
    let servers = match &plan.servers {
        AttachedServers::Endpoint { url, hands_over: true } => {
            format!("prefill and decode behind an attached front at {url}")
        }
        AttachedServers::Endpoint { url, .. } => format!("an attached server at {url}"),
        AttachedServers::PrefillDecode { prefill, decode } => {
            format!("attached engines: prefill {}, decode {}", prefill.join(", "), decode.join(", "))
        }
    };
    let counters = plan.metrics.iter().map(|url| format!("counters of {url}"));
    std::iter::once(servers).chain(counters).collect::<Vec<_>>().join("\n")
}

fn assignments(arm: &ArmPlan) -> Option<String> {
    let Deployment::Spawn(fleet) = &arm.deployment else { return None };
    let one = |gpus: &GpuAssignment| match gpus {
        GpuAssignment::None => "none".to_string(),
        GpuAssignment::Virtual(ids) => format!("{} (virtual)", ids.join(", ")),
        GpuAssignment::Cuda(ids) | GpuAssignment::Hip(ids) => ids.join(", "),
    };
    Some(fleet.instances.iter().map(|i| format!("{}: {}", i.name(), one(&i.gpus))).collect::<Vec<_>>().join("\n"))
}

fn context(manifest: &Manifest) -> Option<String> {
    let all = distinct(manifest.instances.iter().filter_map(|i| i.max_model_len).map(|n| format!("{n} tokens")));
    (!all.is_empty()).then(|| all.join(", "))
}

fn kv(topology: &Topology) -> Option<String> {
    let Shape::PrefillDecode { kv, .. } = &topology.shape else { return None };
    let buffer = kv.buffer_device.as_ref().map(|device| format!("buffer on {device}"));
    let policy = kv.load_failure_policy.as_ref().map(|policy| format!("failed loads: {policy}"));
    let extra = kv.extra_config.iter().map(|(key, value)| format!("{key}={value}"));
    Some([Some(kv.connector.clone()), buffer, policy].into_iter().flatten().chain(extra).collect::<Vec<_>>().join(", "))
}

fn proxy(arm: &ArmPlan) -> String {
    let Some(topology) = &arm.topology else { return "as attached".to_string() };
    let policies = &topology.proxy;
    match &topology.shape {
        Shape::PrefillDecode { .. } => {
            format!("prefill {}, decode {}", policies.prefill_policy, policies.decode_policy)
        }
        Shape::Simple { group } if group.replicas > 1 || arm.through_proxy => policies.decode_policy.clone(),
        Shape::Simple { .. } => "none: driven directly".to_string(),
    }
}

/// What is common to the instances is said once.
fn environment(manifest: &Manifest) -> String {
    let each: Vec<(&str, String)> = launched_once(manifest).map(|i| (i.name.as_str(), masked(&i.env))).collect();
    match each.split_first() {
        None => String::new(),
        Some(((_, first), others)) if others.iter().all(|(_, env)| env == first) => first.clone(),
        _ => each.iter().map(|(name, env)| format!("{name}:\n{env}")).collect::<Vec<_>>().join("\n"),
    }
}

/// A report travels further than a run directory: whatever sounds like a secret is masked once more.
fn masked(env: &BTreeMap<String, String>) -> String {
    let secret =
        |key: &str| ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| key.to_uppercase().contains(word));
    let one = |(key, value): (&String, &String)| format!("{key}={}", if secret(key) { "***" } else { value });
    env.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The first bring-up of every instance: later ones differ in ports and process ids only.
pub(super) fn launched_once(manifest: &Manifest) -> impl Iterator<Item = &InstanceRecord> {
    let all = &manifest.instances;
    all.iter().enumerate().filter(|(i, one)| !all[..*i].iter().any(|earlier| earlier.name == one.name)).map(|(_, i)| i)
}

fn ready(manifest: &Manifest) -> Option<String> {
    let slowest = manifest.instances.iter().filter_map(|i| i.ready_secs).max_by(f64::total_cmp)?;
    Some(format!("{} s at most", number(slowest)))
}

fn ending(ignore_eos: bool) -> String {
    if ignore_eos { "at the length asked for" } else { "where the model ends them" }.to_string()
}

fn extra(workload: &Workload) -> Option<String> {
    (!workload.extra_body.is_empty()).then(|| serde_json::Value::Object(workload.extra_body.clone()).to_string())
}

fn rates(arm: &ArmPage<'_>) -> String {
    distinct(arm.run.points.iter().map(|p| rate(p.key.rate))).join(", ")
}

fn extent(load: &Load) -> String {
    if !load.requests.is_empty() {
        return format!("{} requests", listed(&load.requests.iter().map(u32::to_string).collect::<Vec<_>>()));
    }
    match load.extent {
        Extent::Requests(n) => format!("{n} requests"),
        Extent::Duration(d) => format!("{} s", number(d.as_secs_f64())),
    }
}

fn arrivals(load: &Load) -> String {
    if load.is_closed() {
        return "closed loop: the end of one request sends the next".to_string();
    }
    let pattern = match load.arrivals {
        Arrivals::Gamma { burstiness: 1.0 } => "Poisson".to_string(),
        Arrivals::Gamma { burstiness } => format!("gamma gaps, burstiness {}", number(burstiness)),
        Arrivals::Constant => "equal gaps".to_string(),
        Arrivals::Trace => "as recorded in the trace, rescaled to each rate".to_string(),
        Arrivals::Recorded => "as recorded in the trace, second for second".to_string(),
    };
    let pattern = match load.causal {
        Some(causal) => format!(
            "sessions begin: {pattern}; their turns wait for the answer before them and {} s of think time in the mean",
            number(causal.think_secs)
        ),
        None => pattern,
    };
    match load.ramp_up {
        Some(ramp) => {
            format!("{pattern}, ramped from {} to {} req/s", number(ramp.start), number(ramp.end))
        }
        None => pattern,
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Option<String> {
    (!map.is_empty()).then(|| map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("\n"))
}

fn status(manifest: &Manifest) -> String {
    let status = manifest.status.word();
    match &manifest.reason {
        Some(reason) => format!("{status}: {reason}"),
        None => status.to_string(),
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Interleaved => "in turns at every rate, all up at once",
        Order::Ab => "one after the other",
        Order::Abba => "there and back, torn down in between",
    }
}

fn slo(slo: &Slo) -> String {
    words::slo(&(*slo).into())
}

fn gpus(manifest: &Manifest) -> Option<String> {
    let one = |gpu: &serde_json::Value| {
        let name = gpu.get("name")?.as_str()?;
        let memory = gpu.get("memory_total_bytes").and_then(serde_json::Value::as_u64).map(bytes);
        Some(memory.map_or_else(|| name.to_string(), |m| format!("{name}, {m}")))
    };
    let each: Vec<String> = manifest.gpus.iter().filter_map(one).collect();
    let lines = distinct(each.iter()).into_iter().map(|name| match each.iter().filter(|n| *n == name).count() {
        1 => name.clone(),
        n => format!("{n} × {name}"),
    });
    (!each.is_empty()).then(|| lines.collect::<Vec<_>>().join("\n"))
}

fn driver(manifest: &Manifest) -> Option<String> {
    let field = |gpu: &serde_json::Value, key: &str| gpu.get(key)?.as_str().map(str::to_string);
    let one = |gpu| {
        let cuda = field(gpu, "cuda").map(|v| format!(", CUDA {v}")).unwrap_or_default();
        Some(format!("{}{cuda}", field(gpu, "driver")?))
    };
    let all = distinct(manifest.gpus.iter().filter_map(one));
    (!all.is_empty()).then(|| all.join(", "))
}
