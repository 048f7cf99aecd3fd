//! What the doctor finds out.

use super::client::ClientFacts;
use super::hand_over::KvFacts;
use super::launchers::LauncherFacts;
use super::python::PythonFacts;
use crate::observe::gpu::GpuInfo;
use crate::record::host::HostFacts;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Default, Serialize)]
pub(super) struct DoctorReport {
    pub(super) topobench: &'static str,
    pub(super) host: HostFacts,
    pub(super) gpus: Vec<GpuInfo>,
    pub(super) visible_devices: BTreeMap<&'static str, String>,
    pub(super) programs: Vec<ProgramFacts>,
    pub(super) shared_memory_free_bytes: Option<u64>,
    pub(super) open_files: Option<(u64, u64)>,
    /// Whether an API key is set; never the key.
    pub(super) api_key: bool,
    pub(super) launchers: LauncherFacts,
    /// The container that this runs in, as far as it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<&'static str>,
    /// What is worth knowing of GPUs that are shared out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) shares: Vec<String>,
    pub(super) can_run: Vec<String>,
    pub(super) missing: Vec<String>,
    /// `None`: not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<ClientFacts>,
    /// `None`: not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kv: Option<KvFacts>,
}

/// An engine's program as it would be started.
#[derive(Serialize)]
pub(super) struct ProgramFacts {
    pub(super) name: &'static str,
    /// Its file: topobench's own, if topobench carries it.
    pub(super) path: Option<String>,
    pub(super) version: Option<String>,
    pub(super) python: Option<PythonFacts>,
}
