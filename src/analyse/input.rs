//! What is compared, and what is asked: the nouns that every part of the room takes.

use super::samples::Samples;
use crate::outcome::{EarlyStop, PointFacts, PointKey};
use crate::plan::labels::Flags;
use crate::plan::slo::{Slo, Target};
use crate::units::{E2el, RequestRate, Tpot, Ttft};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One measured point: a rate, an attempt at it, its requests, and what is known beside them.
#[derive(Debug, Clone)]
pub struct PointInput {
    pub rate: RequestRate,
    /// Repeats of a rate differ in it, from 1.
    pub attempt: u32,
    /// Which launch of the arm's fleet it was measured on, from 1; 1 where nothing tells.
    pub launch: u32,
    /// Where that fleet ran, as far as it is known.
    pub host: Option<String>,
    /// `None` for imported files: then validity can't be judged.
    pub facts: Option<PointFacts>,
    /// Seconds from the first due to the last outcome, where somebody measured them.
    pub duration_secs: Option<f64>,
    /// Shared with the run it was read from.
    pub samples: Arc<Samples>,
}

impl PointInput {
    pub(super) fn key(&self) -> PointKey {
        PointKey { rate: self.rate, attempt: self.attempt }
    }
}

/// Which way an arm's requests went, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArmKind {
    Simple,
    PrefillDecode,
    /// Prefill and decode behind a front of somebody else's, as whoever measured it says; no counters tell them apart.
    HiddenPair,
    #[default]
    Unknown,
}

/// What must agree between arms before their numbers may be compared. `None`: not recorded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity {
    pub model: Option<String>,
    /// Program and version as the engine states it, e.g. `vllm 0.32.1`.
    pub engine: Option<String>,
    pub dataset: Option<String>,
    /// The hash of what each point was sent.
    pub traces: Vec<(PointKey, String)>,
    /// The slowest link between its GPUs, bytes per second, where it was measured.
    pub kv_link: Option<f64>,
}

/// What is known of the way that KV takes from prefill to decode.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KvWay {
    /// The topology sends it through the host's memory although there are GPUs.
    pub staged: bool,
    /// The slowest link between the GPUs, bytes per second, where `doctor --kv` measured it.
    pub link: Option<f64>,
}

/// One deployment's run.
#[derive(Debug, Clone, Default)]
pub struct ArmInput {
    /// `simple`, `nixl`, or the topology's name.
    pub label: String,
    /// The short form of its size, for sentences: `TP2`, `1P1D`.
    pub size: Option<String>,
    pub dir: String,
    pub kind: ArmKind,
    /// Prefill and decode instances, where there are such.
    pub instances: Option<(u32, u32)>,
    /// All GPUs of the deployment; 0: it has none.
    pub gpus: Option<u32>,
    pub topology: serde_json::Value,
    pub identity: Identity,
    pub points: Vec<PointInput>,
    /// Points that ended early because they could no longer meet the target. They have no attainment.
    pub stopped: Vec<StoppedPoint>,
    /// What was measured only to choose rates by. Never judged.
    pub pilots: Vec<PointInput>,
}

/// A point that was ended early: all that is known is that it lies below the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoppedPoint {
    pub rate: RequestRate,
    pub attempt: u32,
    pub launch: u32,
    #[serde(skip)]
    pub host: Option<String>,
    #[serde(flatten)]
    pub stop: EarlyStop,
}

impl ArmInput {
    /// Puts a point where it belongs: to those that are judged, those that ended early, or the pilots.
    pub fn add(&mut self, point: PointInput) {
        let facts = point.facts.as_ref();
        if facts.is_some_and(|f| f.pilot) {
            return self.pilots.push(point);
        }
        let Some(stop) = facts.and_then(|f| f.stopped) else { return self.points.push(point) };
        let PointInput { rate, attempt, launch, host, .. } = point;
        self.stopped.push(StoppedPoint { rate, attempt, launch, host, stop });
    }

    /// What the arm sets beside its sizes.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let settings = self.topology.get("settings").and_then(serde_json::Value::as_object);
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        settings.into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
    }

    /// Flags that its engines were given, by settings or otherwise.
    pub fn flags(&self) -> Flags {
        let places = ["/args", "/shape/group/args", "/shape/prefill/args", "/shape/decode/args"];
        let lists = places.iter().filter_map(|place| self.topology.pointer(place)?.as_array());
        let args = lists.flatten().filter_map(|arg| arg.as_str().map(str::to_string));
        Flags::new(&self.settings(), args.collect())
    }

    /// What is known of the way that KV takes.
    pub fn kv_way(&self) -> KvWay {
        let device = self.topology.pointer("/shape/kv/buffer_device").and_then(serde_json::Value::as_str);
        KvWay { staged: self.gpus.is_some_and(|n| n > 0) && device == Some("cpu"), link: self.identity.kv_link }
    }

    /// What the arm set, by key and value.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.topology.pointer("/settings")?.get(key)?.as_str()
    }

    /// Whether the topology asks the connector to keep all layers of a KV block together, which makes one piece of each.
    pub fn joins_layers(&self) -> bool {
        let option = self.topology.pointer("/shape/kv/extra_config/enable_cross_layers_blocks");
        let on = |text: &str| text.eq_ignore_ascii_case("true");
        option.is_some_and(|value| value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(on)))
    }

    /// Instances that share the prompts to be computed, as far as it is known.
    pub fn computing_instances(&self) -> Option<u32> {
        let replicas = || u32::try_from(self.topology.pointer("/shape/group/replicas")?.as_u64()?).ok();
        self.instances.map(|(prefill, _)| prefill).or_else(replicas)
    }

    /// Whether the proxy sends prompts that begin alike to the same one of them.
    pub fn is_prefix_aware(&self) -> bool {
        let place = if self.kind == ArmKind::PrefillDecode { "/proxy/prefill_policy" } else { "/proxy/decode_policy" };
        let policy = self.topology.pointer(place).and_then(serde_json::Value::as_str);
        policy.is_some_and(|name| name.starts_with("prefix-aware"))
    }

    /// Whether turns of sessions waited for each other.
    pub fn is_causal(&self) -> bool {
        self.points.iter().any(|point| point.samples.is_causal())
    }

    /// The hash of what a point was sent, where it was recorded.
    pub fn trace(&self, key: PointKey) -> Option<&str> {
        self.identity.traces.iter().find(|(of, _)| *of == key).map(|(_, hash)| hash.as_str())
    }
}

/// What is asked of the arms.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub slo: Slo,
    pub target: Target,
    /// Rate of the scale panel; `None`: the highest common rate at which any arm meets the target, else the lowest.
    pub scale_rate: Option<RequestRate>,
    /// Overrides the arms' GPUs in their order; shorter lists leave the rest alone.
    pub gpus: Vec<u32>,
    /// What a GPU costs an hour, in whatever money.
    pub gpu_hour_price: Option<f64>,
}

/// The SLO in milliseconds, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SloMillis {
    pub ttft_ms: f64,
    pub tpot_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2el_ms: Option<f64>,
}

impl From<Slo> for SloMillis {
    fn from(slo: Slo) -> Self {
        // 57.5 ms must not print as 57.50000000000001.
        let tidy = |ms: f64| (ms * 1e9).round() / 1e9;
        SloMillis {
            ttft_ms: tidy(slo.ttft.as_millis()),
            tpot_ms: tidy(slo.tpot.as_millis()),
            e2el_ms: slo.e2el.map(|limit| tidy(limit.as_millis())),
        }
    }
}

impl From<SloMillis> for Slo {
    fn from(slo: SloMillis) -> Self {
        Slo {
            ttft: Ttft::from_millis(slo.ttft_ms),
            tpot: Tpot::from_millis(slo.tpot_ms),
            e2el: slo.e2el_ms.map(E2el::from_millis),
        }
    }
}

/// Why a value is missing: it lies outside of what was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Censored {
    AboveTested,
    BelowTested,
}
