//! From runs as recorded to arms as `analyse` takes them, and what a run says of itself in words.

use crate::analyse::{ArmInput, ArmKind, Identity, Samples};
use crate::outcome::PointKey;
use crate::plan::deployment::{AttachPlan, AttachedServers, Deployment, GpuAssignment};
use crate::plan::goodput_unit::GoodputUnit;
use crate::plan::labels::{self, Unnamed};
use crate::plan::load::{Arrivals, Extent};
use crate::plan::topology::{Role, Shape};
use crate::plan::{ArmPlan, Sweep};
use crate::record::RecordedRun;
use crate::record::manifest::Manifest;
use crate::record::read::ImportedFacts;
use crate::words;
use std::collections::BTreeSet;

/// A run as an arm of a comparison; `label` instead of the run's mode.
pub fn arm(run: &RecordedRun, label: Option<String>) -> ArmInput {
    let mut arm = ArmInput {
        label: label.unwrap_or_else(|| run.mode.clone()),
        size: size(run),
        dir: run.dir.display().to_string(),
        kind: kind(run),
        instances: instances(run),
        gpus: run.gpus().filter(|&n| n > 0),
        topology: topology(run),
        identity: identity(run),
        points: Vec::new(),
        stopped: Vec::new(),
        pilots: Vec::new(),
    };
    run.points.iter().for_each(|point| arm.add(point.input()));
    arm
}

/// A unique name for each run: its mode, with what tells it from the others.
pub fn labels(runs: &[RecordedRun]) -> Vec<String> {
    let settings = |run: &RecordedRun| run.manifest.as_ref()?.arm.topology.as_ref().map(|t| t.settings.shown());
    let unnamed = |run: &RecordedRun| Unnamed {
        name: run.mode.clone(),
        size: size(run),
        settings: settings(run).unwrap_or_default(),
    };
    labels::unique(&runs.iter().map(unnamed).collect::<Vec<_>>())
}

/// The short form of a deployment's size: `TP2`, `2xTP2`, `1P1D`; `None` where nothing tells.
pub fn size(run: &RecordedRun) -> Option<String> {
    match (&run.manifest, &run.imported) {
        (Some(manifest), _) => planned_size(&manifest.arm),
        (None, Some(facts)) => imported_size(facts),
        (None, None) => None,
    }
}

fn planned_size(arm: &ArmPlan) -> Option<String> {
    match (&arm.topology, &arm.deployment) {
        (Some(topology), _) => Some(topology.size_label()),
        (None, Deployment::Attach(AttachPlan { servers: AttachedServers::PrefillDecode { prefill, decode }, .. })) => {
            Some(format!("{}P{}D", prefill.len(), decode.len()))
        }
        (None, _) => None,
    }
}

fn imported_size(facts: &ImportedFacts) -> Option<String> {
    let tp = facts.tensor_parallel;
    match (facts.prefill.filter(|&n| n > 0), facts.decode.filter(|&n| n > 0)) {
        (Some(p), Some(d)) => {
            let size = format!("{p}P{d}D");
            Some(match (facts.prefill_tp.or(tp), facts.decode_tp.or(tp)) {
                (Some(p), Some(d)) if (p, d) != (1, 1) => format!("{size} TP{p}/TP{d}"),
                _ => size,
            })
        }
        _ => tp.map(|n| format!("TP{n}")),
    }
}

fn kind(run: &RecordedRun) -> ArmKind {
    match (&run.manifest, &run.imported) {
        (Some(manifest), _) => match (&manifest.arm.topology, &manifest.arm.deployment) {
            (Some(topology), _) if matches!(topology.shape, Shape::Simple { .. }) => ArmKind::Simple,
            (Some(_), _) => ArmKind::PrefillDecode,
            (None, Deployment::Attach(plan)) if plan.watches_decode() => ArmKind::PrefillDecode,
            (None, Deployment::Attach(plan)) if plan.hands_over() => ArmKind::HiddenPair,
            // One endpoint of somebody else's: an engine or a router, nobody knows.
            (None, _) => ArmKind::Unknown,
        },
        (None, Some(facts)) => match (facts.prefill, facts.decode, run.mode.as_str()) {
            (Some(1..), Some(1..), _) | (_, _, "nixl") => ArmKind::PrefillDecode,
            (_, _, "simple") => ArmKind::Simple,
            (Some(0), Some(0), _) => ArmKind::Simple,
            _ => ArmKind::Unknown,
        },
        (None, None) => ArmKind::Unknown,
    }
}

fn instances(run: &RecordedRun) -> Option<(u32, u32)> {
    let Some(manifest) = &run.manifest else {
        let facts = run.imported.as_ref()?;
        return facts.prefill.zip(facts.decode);
    };
    match (&manifest.arm.topology, &manifest.arm.deployment) {
        (Some(topology), _) => match &topology.shape {
            Shape::PrefillDecode { prefill, decode, .. } => Some((prefill.replicas, decode.replicas)),
            Shape::Simple { .. } => None,
        },
        (None, Deployment::Attach(AttachPlan { servers: AttachedServers::PrefillDecode { prefill, decode }, .. })) => {
            Some((u32::try_from(prefill.len()).ok()?, u32::try_from(decode.len()).ok()?))
        }
        (None, Deployment::Attach(_)) => watched(manifest),
        (None, _) => None,
    }
}

/// Engines behind a front, whose counters were read.
fn watched(manifest: &Manifest) -> Option<(u32, u32)> {
    let of_role = |role: Role| {
        let prefix = format!("{}-", role.name());
        let of_role = manifest.instances.iter().filter(|i| i.watched && i.name.starts_with(&prefix));
        let names: BTreeSet<&str> = of_role.map(|i| i.name.as_str()).collect();
        u32::try_from(names.len()).ok().filter(|n| *n > 0)
    };
    of_role(Role::Prefill).zip(of_role(Role::Decode))
}

fn topology(run: &RecordedRun) -> serde_json::Value {
    match (&run.manifest, &run.imported) {
        (Some(manifest), _) => match &manifest.arm.topology {
            Some(topology) => serde_json::to_value(topology).unwrap_or_default(),
            None => serde_json::to_value(&manifest.arm.deployment).unwrap_or_default(),
        },
        (None, Some(facts)) => serde_json::json!({
            "prefill": facts.prefill,
            "decode": facts.decode,
            "tensor_parallel": facts.tensor_parallel,
            "prefill_tensor_parallel": facts.prefill_tp,
            "decode_tensor_parallel": facts.decode_tp,
        }),
        (None, None) => serde_json::Value::Null,
    }
}

fn identity(run: &RecordedRun) -> Identity {
    Identity {
        // The same model lies in other directories on other machines.
        model: run.model().map(|m| words::short_model(m).to_string()),
        engine: engine(run),
        dataset: dataset(run),
        traces: run.manifest.as_ref().map(traces).unwrap_or_default(),
        kv_link: run.manifest.as_ref().and_then(|m| m.host.kv_link_bytes_per_sec),
    }
}

fn traces(manifest: &Manifest) -> Vec<(PointKey, String)> {
    manifest.traces.iter().map(|trace| (trace.key, trace.sha256.clone())).collect()
}

/// Program and version as the engines told it: `vllm 0.32.1`, `0.1.0+enginesim`.
pub fn engine(run: &RecordedRun) -> Option<String> {
    let manifest = run.manifest.as_ref()?;
    let versions = manifest.engine_versions();
    let program = manifest.arm.topology.as_ref().map(|t| words::short_model(&t.program));
    let named = |version: &String| match program {
        // A version that names its program needs no second name.
        Some(program) if !version.contains(program) => format!("{program} {version}"),
        // Nobody told what was attached to, but only vLLM and its stand-in, which names itself, tell a version.
        None if !version.contains("enginesim") => format!("vllm {version}"),
        _ => version.clone(),
    };
    (!versions.is_empty()).then(|| versions.iter().map(named).collect::<Vec<_>>().join(", "))
}

/// The dataset with its lengths: `random 1024 in, 128 out`.
pub fn dataset(run: &RecordedRun) -> Option<String> {
    match &run.manifest {
        Some(manifest) => Some(manifest.sweep.workload.dataset.summary()),
        None => run.imported.as_ref()?.dataset.clone(),
    }
}

/// What titles say of arms whose turns waited for each other, and of those that were judged by session; nothing of others.
pub fn loop_words<'a>(samples: impl IntoIterator<Item = &'a Samples>) -> &'static str {
    let causal: Vec<&Samples> = samples.into_iter().filter(|samples| samples.is_causal()).collect();
    match causal.as_slice() {
        [] => "",
        all if all.iter().all(|samples| samples.judged_per() == GoodputUnit::LastTurn) => {
            ", closed within a session, open between sessions, judged per session by its last turn"
        }
        all if all.iter().all(|samples| !samples.judged_per().is_request()) => {
            ", closed within a session, open between sessions, judged per session"
        }
        _ => ", closed within a session, open between sessions",
    }
}

/// How requests arrive: `Poisson arrivals`, `300 requests a point`, `seed 0`; empty for imported files.
pub fn load_words(run: &RecordedRun) -> Vec<String> {
    let Some(Sweep { load, .. }) = run.manifest.as_ref().map(|m| &m.sweep) else { return Vec::new() };
    let arrivals = match load.arrivals {
        _ if load.is_closed() => "closed loop".to_string(),
        Arrivals::Gamma { burstiness: 1.0 } => "Poisson arrivals".to_string(),
        Arrivals::Gamma { burstiness } => format!("gamma arrivals of burstiness {}", words::number(burstiness)),
        Arrivals::Constant => "evenly spaced arrivals".to_string(),
        Arrivals::Trace => "recorded arrivals, rescaled".to_string(),
        Arrivals::Recorded => "recorded arrivals".to_string(),
    };
    let extent = match (load.requests.iter().min().zip(load.requests.iter().max()), load.extent) {
        (Some((least, most)), _) if least < most => format!("{least} to {most} requests a point"),
        (Some((n, _)), _) => format!("{n} requests a point"),
        (None, Extent::Requests(n)) => format!("{n} requests a point"),
        (None, Extent::Duration(d)) => format!("{} s a point", words::number(d.as_secs_f64())),
    };
    let waits = load.causal.map(|causal| {
        format!("turns wait for the answer before them and {} s of think time", words::number(causal.think_secs))
    });
    let limit = load.max_concurrency.map(|n| format!("at most {n} in flight"));
    [Some(arrivals), waits, Some(extent), limit, Some(format!("seed {}", load.seed))].into_iter().flatten().collect()
}

/// `2 × H100 80GB HBM3`, from what the driver said, or `2 virtual GPUs`; `None` where no GPU is recorded.
pub fn hardware(run: &RecordedRun) -> Option<String> {
    let manifest = run.manifest.as_ref()?;
    let count = run.gpus().filter(|&n| n > 0)?;
    if let Deployment::Spawn(fleet) = &manifest.arm.deployment
        && fleet.instances.iter().any(|i| matches!(i.gpus, GpuAssignment::Virtual(_)))
    {
        return Some(format!("{count} virtual GPUs"));
    }
    let names = words::distinct(manifest.gpus.iter().filter_map(|gpu| gpu.get("name")?.as_str()));
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("{count} × {}", one.trim_start_matches("NVIDIA "))),
        many => Some(format!("{count} GPUs ({})", many.join(", "))),
    }
}

#[cfg(test)]
mod tests;
