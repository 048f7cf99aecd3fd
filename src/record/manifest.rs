//! manifest.json: who measured what, with which programs, on which machine, and how it ended.

use super::error::RecordError;
use super::{dir, host::HostFacts};
use crate::files;
use crate::outcome::{PointFacts, PointKey, RunStatus};
use crate::plan::load::Extent;
use crate::plan::mask::serialize_masked_words;
use crate::plan::strategy::Order;
use crate::plan::workload::PrepareContext;
use crate::plan::{ArmPlan, Sweep};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

pub const VERSION: u32 = 1;
/// More requests of a point than a plan allows. Those without a record are counted one by one.
const MOST_OFFERED: u32 = 50_000_000;
/// Bytes of a manifest. A point takes a few kilobytes.
const LARGEST: u64 = 256 << 20;

/// Written first as incomplete, replaced atomically whenever it changes. Secrets are masked before they get here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub status: RunStatus,
    /// Why the run failed or was cancelled.
    #[serde(default)]
    pub reason: Option<String>,
    /// RFC 3339, local time.
    pub created_at: String,
    #[serde(default)]
    pub finished_at: Option<String>,
    /// Version of topobench.
    pub topobench: String,
    /// The command line that made this run.
    pub command: Vec<String>,
    pub arm: ArmPlan,
    pub sweep: Sweep,
    pub order: Order,
    #[serde(default)]
    pub warnings: Vec<String>,
    pub host: HostFacts,
    /// As the driver describes them.
    #[serde(default)]
    pub gpus: Vec<serde_json::Value>,
    #[serde(default)]
    pub instances: Vec<InstanceRecord>,
    /// One hash for each point: arms whose hashes agree were sent the same trace.
    #[serde(default)]
    pub traces: Vec<TraceRecord>,
    #[serde(default)]
    pub points: Vec<PointFacts>,
    /// Seconds of wall time with any engine of the session up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_secs: Option<f64>,
    /// Names of all run directories of the session, this one among them, in the order of its arms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub session: Vec<String>,
    /// What the servers' limits turned out to be, which prompts were made to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted_to: Option<PrepareContext>,
    /// What the engines of the latest launch answered to some prompts of the warm-up without sampling, for candidates of a
    /// race: settings that should only change speed must not change it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub greedy_answers: Vec<String>,
}

/// One engine process, or one server that was attached to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceRecord {
    pub name: String,
    /// Which bring-up of the fleet it belonged to, from 1.
    pub launch: u32,
    pub url: String,
    pub pid: Option<u32>,
    /// The node of a Slurm job that it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub gpus: Vec<String>,
    /// As it was started, without its secrets.
    #[serde(serialize_with = "serialize_masked_words")]
    pub argv: Vec<String>,
    /// What was set for it, secrets masked.
    pub env: BTreeMap<String, String>,
    /// What /version said.
    pub engine_version: Option<String>,
    pub max_model_len: Option<u32>,
    /// Whether only its counters were read: requests reach it through a front.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub watched: bool,
    /// When its process started, seconds since the epoch, where its metrics tell; for servers that were attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_started: Option<f64>,
    /// `not told` of a server that lists no models; `None`: it was asked and named the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Seconds from its spawn until it had proved itself.
    pub ready_secs: Option<f64>,
    /// How it ended, in words; `None` while it runs or was not ours.
    pub exit: Option<String>,
    /// On further nodes, where it is larger than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_parts: Vec<PartRecord>,
}

/// What one further node runs of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartRecord {
    /// `replica-0@n2`, as its log is called.
    pub name: String,
    pub node: String,
    pub pid: Option<u32>,
    #[serde(serialize_with = "serialize_masked_words")]
    pub argv: Vec<String>,
    /// What was set for it, secrets masked.
    pub env: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceRecord {
    #[serde(flatten)]
    pub key: PointKey,
    pub sha256: String,
    pub requests: u32,
    /// How long the point was planned to be; `None`: as the sweep says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extent: Option<Extent>,
    /// Requests of each of the session's points before it, where those have used up a part of the dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<u64>,
}

impl Manifest {
    pub fn read(run: &Path) -> Result<Manifest, RecordError> {
        let path = run.join(dir::MANIFEST);
        let bytes = files::read(&path, LARGEST).map_err(RecordError::read(&path))?;
        let mut manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| RecordError::Manifest { path: path.clone(), detail: e.to_string() })?;
        if manifest.version != VERSION {
            let detail = format!("it has version {}, and this program reads version {VERSION}", manifest.version);
            return Err(RecordError::Manifest { path, detail });
        }
        if let Some(point) = manifest.points.iter().find(|point| point.offered > MOST_OFFERED) {
            let detail = format!("a point of {} requests is more than any has", point.offered);
            return Err(RecordError::Manifest { path, detail });
        }
        manifest.complete_launches();
        Ok(manifest)
    }

    /// Runs of earlier versions did not record launches. There and back started a fleet for every attempt; what else
    /// started one is not known, and counts as one launch.
    fn complete_launches(&mut self) {
        let there_and_back = self.order == Order::Abba;
        let load = &mut self.sweep.load;
        if load.launches == 0 {
            (load.launches, load.attempts) = if there_and_back { (2 * load.attempts, 1) } else { (1, load.attempts) };
        }
        for point in self.points.iter_mut().filter(|p| p.launch == 0) {
            point.launch = if there_and_back { point.key.attempt } else { 1 };
        }
    }

    pub fn write(&self, run: &Path) -> Result<(), RecordError> {
        let path = run.join(dir::MANIFEST);
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| RecordError::Manifest { path: path.clone(), detail: e.to_string() })?;
        bytes.push(b'\n');
        dir::write_atomically(&path, &bytes)
    }

    pub fn point(&self, key: PointKey) -> Option<&PointFacts> {
        self.points.iter().find(|p| p.key == key)
    }

    /// Versions that the engines told, each once.
    pub fn engine_versions(&self) -> Vec<String> {
        let mut versions: Vec<String> = self.instances.iter().filter_map(|i| i.engine_version.clone()).collect();
        versions.sort();
        versions.dedup();
        versions
    }
}
