//! What to do: topology, workload, arrivals, SLO; files, environment and flags to one validated [`Plan`].
//!
//! Nothing here starts a process or opens a socket. GPUs are told by the caller, so that plans can be tested anywhere.

pub mod access;
pub mod arm;
pub mod arrivals;
pub mod attach_gpus;
pub mod build;
pub mod candidates;
pub mod combos;
pub mod connector;
pub mod context;
pub mod dataset;
pub mod dataset_file;
pub mod deployment;
mod engine_args;
mod engine_env;
pub mod environment;
pub mod error;
pub mod goodput_unit;
mod gpu_flags;
pub mod gpus;
pub mod job;
pub mod labels;
pub mod lengths;
pub mod load;
pub mod mask;
pub mod metadata;
pub mod metrics_url;
pub mod options;
pub mod parallelism;
pub mod placement;
pub mod presets;
pub mod secrecy;
mod secret;
pub mod settings;
mod sizes;
pub mod slo;
pub mod slo_words;
pub mod strategy;
pub mod threshold;
pub mod topology;
pub mod topology_file;
mod tuned;
pub mod typed;
pub mod window;
pub mod workload;

pub use error::PlanError;

use crate::units::Percent;
use deployment::Deployment;
use goodput_unit::GoodputUnit;
use load::{Load, Workload};
use serde::{Deserialize, Serialize};
use slo::{Slo, Target};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use strategy::{Order, StrategyPlan};
use topology::Topology;
use window::Window;

/// Everything decided before anything starts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub arms: Vec<ArmPlan>,
    pub sweep: Sweep,
    pub order: Order,
    pub result_dir: PathBuf,
    /// Said to the user, and kept in the manifest.
    pub warnings: Vec<String>,
}

/// One deployment to be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmPlan {
    /// Unique among the arms: `simple`, or with its size where two arms share a name.
    pub label: String,
    /// Names the run directory and `deployment_mode`.
    pub name: String,
    /// `None` when attached to servers that somebody else runs.
    pub topology: Option<Topology>,
    pub deployment: Deployment,
    /// GPUs of the whole deployment; 0 where there are none or nobody knows.
    pub gpus: u32,
    /// Put our proxy in front even of a single replica.
    pub through_proxy: bool,
}

/// The same for every arm: what is sent, at which rates, judged by which SLO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    pub model: String,
    pub served_model_name: String,
    pub workload: Workload,
    pub load: Load,
    /// How it is decided what to measure.
    #[serde(default)]
    pub strategy: StrategyPlan,
    pub slo: Slo,
    pub target: Target,
    /// Which requests are judged, unless somebody asks otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What has to keep the SLO, unless somebody asks otherwise.
    #[serde(default, skip_serializing_if = "GoodputUnit::is_request")]
    pub goodput_per: GoodputUnit,
    /// A miss of this attainment at any point makes exit code 5.
    pub gate: Option<Percent>,
    pub timeouts: Timeouts,
    pub on_failure: OnFailure,
    /// Run the engines' profiler at every point; their traces go into the run, and the points are not judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profile: bool,
    /// `--metadata K=V`, copied into every result file.
    pub metadata: BTreeMap<String, String>,
    pub metrics: MetricChoice,
}

impl Sweep {
    /// Whether nothing that is sent was masked when the sweep was stored.
    pub fn secrets_are_whole(&self) -> bool {
        !self.workload.extra_body.values().any(mask::holds_mask)
    }
}

/// Deadlines of a request and of a point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// No first token for this long: stalled.
    pub first_token: Duration,
    /// No byte for this long after it: stalled.
    pub idle: Duration,
    /// Requests still in flight this long after the last send are cut off as unfinished.
    pub drain: Duration,
}

/// What follows an engine's death in the middle of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Keep what was measured and end the run.
    Stop,
    /// Bring the fleet up again and continue with the next point.
    Skip,
    /// Bring the fleet up again once and go on; stop at the second death.
    #[default]
    Restart,
}

/// `--percentile-metrics` and `--metric-percentiles`, as vLLM takes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricChoice {
    pub metrics: Vec<String>,
    pub percentiles: Vec<f64>,
}

impl Default for MetricChoice {
    fn default() -> Self {
        MetricChoice {
            metrics: ["ttft", "tpot", "itl", "e2el"].map(String::from).to_vec(),
            percentiles: vec![50.0, 90.0, 99.0],
        }
    }
}
