//! Topologies: which engines make up a deployment. Read from `topologies/*.toml` (or YAML); an unknown key is an error.

use super::engine_env::EngineEnv;
use super::mask::{serialize_masked_table, serialize_masked_words};
use super::parallelism::{Parallelism, is_off, is_one, one};
use super::settings::Settings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A deployment as its file describes it, flags and environment applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    pub name: String,
    /// Resolved on PATH, then beside topobench.
    pub program: String,
    /// For every instance, after topobench's own and before a group's.
    #[serde(serialize_with = "serialize_masked_words")]
    pub args: Vec<String>,
    pub env: EngineEnv,
    /// What the arm sets beside its sizes; part of `env`, `shape` and the groups' arguments.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// Virtual GPUs of an engine that needs no real ones.
    pub devices: Option<u32>,
    pub shape: Shape,
    pub proxy: ProxyPolicies,
    pub defaults: Defaults,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Shape {
    /// Replicas of one engine; driven directly when there is only one.
    Simple { group: EngineGroup },
    /// Prefill instances that hand their KV to decode instances.
    PrefillDecode { prefill: EngineGroup, decode: EngineGroup, kv: KvTransfer },
}

/// Instances of one role that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineGroup {
    #[serde(default = "one")]
    pub replicas: u32,
    #[serde(default = "one")]
    pub tensor_parallel: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub data_parallel: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub pipeline_parallel: u32,
    #[serde(default, skip_serializing_if = "is_off")]
    pub expert_parallel: bool,
    #[serde(default)]
    pub gpus: GpuChoice,
    #[serde(default, serialize_with = "serialize_masked_words")]
    pub args: Vec<String>,
    /// The arm's settings as arguments, which win over all others.
    #[serde(skip)]
    pub settings: Vec<String>,
}

impl Default for EngineGroup {
    fn default() -> Self {
        EngineGroup {
            replicas: 1,
            tensor_parallel: 1,
            data_parallel: 1,
            pipeline_parallel: 1,
            expert_parallel: false,
            gpus: GpuChoice::Auto,
            args: Vec::new(),
            settings: Vec::new(),
        }
    }
}

impl EngineGroup {
    pub fn gpu_count(&self) -> u32 {
        self.replicas.saturating_mul(self.parallelism().gpus())
    }

    /// Of each instance.
    pub fn parallelism(&self) -> Parallelism {
        Parallelism {
            tensor_parallel: self.tensor_parallel,
            data_parallel: self.data_parallel,
            pipeline_parallel: self.pipeline_parallel,
            expert_parallel: self.expert_parallel,
        }
    }
}

/// Which GPUs the instances of a group take: the next free ones, or a list for each instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GpuChoice {
    #[default]
    Auto,
    PerInstance(Vec<Vec<String>>),
}

/// `"auto"`, or `[[0], [1]]` with indices or UUIDs.
impl Serialize for GpuChoice {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            GpuChoice::Auto => s.serialize_str("auto"),
            GpuChoice::PerInstance(lists) => lists.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for GpuChoice {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Id {
            Index(u32),
            Uuid(String),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Word(String),
            Lists(Vec<Vec<Id>>),
        }
        let id = |id| match id {
            Id::Index(n) => n.to_string(),
            Id::Uuid(u) => u,
        };
        match Raw::deserialize(d)? {
            Raw::Word(w) if w == "auto" => Ok(GpuChoice::Auto),
            Raw::Word(w) => Err(serde::de::Error::custom(format!(
                "gpus = \"{w}\": give \"auto\", or one list of GPUs for each instance, e.g. [[0], [1]]"
            ))),
            Raw::Lists(lists) => {
                Ok(GpuChoice::PerInstance(lists.into_iter().map(|l| l.into_iter().map(id).collect()).collect()))
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KvTransfer {
    pub connector: String,
    /// `cuda` or `cpu`: where NIXL's buffers lie.
    pub buffer_device: Option<String>,
    /// `fail` or `recompute`; not sent to versions that don't know it.
    pub load_failure_policy: Option<String>,
    /// Further keys of `--kv-transfer-config`'s `kv_connector_extra_config`.
    #[serde(serialize_with = "serialize_masked_table")]
    pub extra_config: BTreeMap<String, serde_json::Value>,
}

impl Default for KvTransfer {
    fn default() -> Self {
        KvTransfer {
            connector: "NixlConnector".to_string(),
            buffer_device: None,
            load_failure_policy: Some("fail".to_string()),
            extra_config: BTreeMap::new(),
        }
    }
}

/// How the proxy chooses an instance, by the names the proxy crate parses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyPolicies {
    pub prefill_policy: String,
    pub decode_policy: String,
}

impl Default for ProxyPolicies {
    fn default() -> Self {
        ProxyPolicies { prefill_policy: "least-tokens".to_string(), decode_policy: "least-requests".to_string() }
    }
}

/// What holds when neither a flag nor the environment says otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    pub model: Option<String>,
    pub tokenizer: Option<String>,
    /// Requests per second, one point each.
    pub request_rate: Option<Vec<crate::units::RequestRate>>,
    pub num_prompts: Option<u32>,
    /// Seconds a point lasts, instead of `num_prompts`.
    pub duration: Option<f64>,
    pub random_input_len: Option<u32>,
    pub random_output_len: Option<u32>,
    pub num_warmups: Option<u32>,
    /// Seconds the warm-up may go on until the hand-over is steady.
    pub max_warmup: Option<f64>,
    /// Of `--strategy search`.
    pub search: SearchDefaults,
}

/// How long a search takes, and where it begins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchDefaults {
    /// Requests per second of the first pilot.
    pub first_rate: Option<crate::units::RequestRate>,
    /// Seconds that a point lasts at the least, and a pilot.
    pub point: Option<f64>,
    pub pilot: Option<f64>,
    /// Seconds with any engine up, at the most.
    pub budget: Option<f64>,
}

/// Which part an instance plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves requests whole.
    Replica,
    Prefill,
    Decode,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Replica => "replica",
            Role::Prefill => "prefill",
            Role::Decode => "decode",
        }
    }
}

impl Topology {
    /// All GPUs of the deployment, prefill and decode together.
    pub fn gpu_count(&self) -> u32 {
        self.groups().map(|(_, g)| g.gpu_count()).sum()
    }

    /// Groups in launch order with their role.
    pub fn groups(&self) -> impl Iterator<Item = (Role, &EngineGroup)> {
        let pair = match &self.shape {
            Shape::Simple { group } => [Some((Role::Replica, group)), None],
            Shape::PrefillDecode { prefill, decode, .. } => {
                [Some((Role::Prefill, prefill)), Some((Role::Decode, decode))]
            }
        };
        pair.into_iter().flatten()
    }

    /// The short form people say: `TP2`, `2xTP2`, `2P2D`, `2P2D TP2/TP1`, `1P(TP2)+1D(DP4,EP)`.
    pub fn size_label(&self) -> String {
        match &self.shape {
            Shape::Simple { group } => replicas_label(group.replicas, group.parallelism()),
            Shape::PrefillDecode { prefill, decode, .. } => {
                pair_label((prefill.replicas, prefill.parallelism()), (decode.replicas, decode.parallelism()))
            }
        }
    }
}

/// Of engines that serve requests whole.
pub fn replicas_label(replicas: u32, each: Parallelism) -> String {
    match (replicas, each.to_string()) {
        (1, each) => each,
        (n, each) if each.contains(',') => format!("{n}x({each})"),
        (n, each) => format!("{n}x{each}"),
    }
}

/// Of prefill and decode instances.
pub fn pair_label(prefill: (u32, Parallelism), decode: (u32, Parallelism)) -> String {
    let ((p, of_prefill), (d, of_decode)) = (prefill, decode);
    if of_prefill.is_tensor_only() && of_decode.is_tensor_only() {
        return match (of_prefill.tensor_parallel, of_decode.tensor_parallel) {
            (1, 1) => format!("{p}P{d}D"),
            (prefill_tp, decode_tp) => format!("{p}P{d}D TP{prefill_tp}/TP{decode_tp}"),
        };
    }
    let side = |count: u32, role: char, each: Parallelism| match each == Parallelism::tensor(1) {
        true => format!("{count}{role}"),
        false => format!("{count}{role}({each})"),
    };
    format!("{}+{}", side(p, 'P', of_prefill), side(d, 'D', of_decode))
}
