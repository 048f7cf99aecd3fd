//! An instance of a fleet as others see it, and its death.

use super::argv::EngineCommand;
use super::diagnose::Cause;
use super::ports::Ports;
use super::process::ExitStatus;
use crate::plan::deployment::GpuAssignment;
use crate::plan::parallelism::Parallelism;
use crate::plan::topology::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// An instance that proved itself, for the manifest and for whoever sends it load.
#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    /// `prefill-0`.
    pub name: String,
    pub role: Role,
    pub index: u32,
    #[serde(flatten)]
    pub parallelism: Parallelism,
    pub gpus: GpuAssignment,
    /// The node of a Slurm job that it runs on; `None`: this machine.
    pub node: Option<String>,
    /// `http://127.0.0.1:PORT`, or with the node's address.
    pub base_url: String,
    pub ports: Ports,
    /// Of the engine's first process, leader of its group.
    pub pid: i32,
    /// As its `/version` says.
    pub version: Option<String>,
    pub model: String,
    /// Tokens of prompt and output together, as its `/v1/models` says.
    pub max_model_len: Option<u32>,
    /// Secrets are masked when it is serialised.
    pub command: EngineCommand,
    pub log: PathBuf,
    /// From its start to its first token.
    pub ready_after: Duration,
    /// On further nodes, where it is larger than one.
    pub more_parts: Vec<InstancePart>,
}

/// What one further node runs of an instance.
#[derive(Debug, Clone, Serialize)]
pub struct InstancePart {
    /// `replica-0@n2`, as its step and its log are called.
    pub name: String,
    pub node: String,
    pub pid: i32,
    pub command: EngineCommand,
    pub log: PathBuf,
}

/// An engine that ended although nobody had asked it to.
#[derive(Debug, Clone)]
pub struct Death {
    pub instance: String,
    /// Where, if it is one of several that had a part of it.
    pub node: Option<String>,
    pub status: ExitStatus,
    pub log: PathBuf,
    pub cause: Option<Cause>,
    /// The log's last lines, oldest first.
    pub log_tail: Vec<String>,
}
