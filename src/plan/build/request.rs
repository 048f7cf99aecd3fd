//! What a plan is made of, flags still as typed.

use crate::plan::access::HeaderWord;
use crate::plan::arm::ArmSpec;
use crate::plan::attach_gpus::AttachGpus;
use crate::plan::goodput_unit::GoodputUnit;
use crate::plan::job::SlurmJob;
use crate::plan::metrics_url::MetricsUrl;
use crate::plan::options::{LoadOptions, WorkloadOptions};
use crate::plan::slo::{Slo, Target};
use crate::plan::strategy::Order;
use crate::plan::window::Window;
use crate::plan::{MetricChoice, OnFailure, Timeouts};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the user wants, flags still as typed.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    pub arms: Arms,
    pub workload: WorkloadOptions,
    pub load: LoadOptions,
    pub slo: Slo,
    pub target: Target,
    pub run: RunOptions,
}

/// Where the arms come from.
#[derive(Debug, Clone)]
pub enum Arms {
    /// Topologies for an engine, by name or file.
    Spawn { specs: Vec<ArmSpec>, engine: String },
    /// Ways to spend the same GPUs, one at a time.
    Candidates { specs: Vec<ArmSpec>, engine: String, gpus: u32 },
    /// Running servers, measured as one arm of this name.
    Attach(AttachRequest),
}

/// Running servers, what reaches them, and what is known of them.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    pub servers: Servers,
    pub name: String,
    pub gpus: Option<AttachGpus>,
    pub headers: Vec<HeaderWord>,
    pub insecure: bool,
    pub metrics: Vec<MetricsUrl>,
    pub metrics_lag: Option<f64>,
}

/// Servers that somebody else runs, as base URLs.
#[derive(Debug, Clone)]
pub enum Servers {
    Endpoint {
        url: String,
        /// Prefill and decode engines are behind it.
        hands_over: bool,
    },
    PrefillDecode {
        prefill: Vec<String>,
        decode: Vec<String>,
    },
}

/// What concerns the run rather than the requests.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub order: Option<Order>,
    pub result_dir: PathBuf,
    /// Name of the run's directory, instead of the topology's.
    pub name: Option<String>,
    pub gate: Option<f64>,
    pub window: Option<Window>,
    pub goodput_per: GoodputUnit,
    pub on_failure: OnFailure,
    pub profile: bool,
    pub metadata: BTreeMap<String, String>,
    pub metrics: MetricChoice,
    pub engine_args: Vec<String>,
    pub through_proxy: bool,
    /// Start engines on the nodes of this Slurm job instead of this machine.
    pub job: Option<SlurmJob>,
    pub ready_timeout: Duration,
    pub timeouts: Timeouts,
}
