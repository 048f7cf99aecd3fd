//! From a planned instance and its ports to the command that starts it. Pure: nothing here looks at the machine.
//!
//! The API key travels in the environment and never in argv, which every user of the host can read.

use super::ports::Ports;
use super::version::EngineVersion;
use crate::plan::connector::{self, KvDirection};
use crate::plan::deployment::{FleetPlan, GpuAssignment, InstancePlan};
use crate::plan::mask::{masked_words, serialize_masked_words};
use crate::plan::parallelism::Parallelism;
pub use crate::plan::secrecy::EnvValue;
use crate::plan::secrecy::MASK;
use crate::plan::topology::{KvTransfer, Role};
use crate::words;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Flags that topobench decides: given by the user too, two values would fight.
const OURS: [(&str, &str); 14] = [
    ("--host", "engines listen on 127.0.0.1, or on the address of their Slurm node"),
    ("--port", "topobench chooses the ports"),
    ("--uds", "topobench needs a TCP port"),
    ("--tensor-parallel-size", "give --tp, or tensor_parallel in the topology file"),
    ("-tp", "give --tp, or tensor_parallel in the topology file"),
    ("--master-addr", OVER_NODES),
    ("--master-port", OVER_NODES),
    ("--api-server-count", "one API server counts what an engine does; more would count apart"),
    ("-asc", "one API server counts what an engine does; more would count apart"),
    ("--served-model-name", "give topobench's own --served-model-name"),
    ("--model", "give topobench's own --model"),
    ("--kv-transfer-config", "use the [kv] table of the topology file"),
    ("--api-key", "put the key into the environment as VLLM_API_KEY: everybody on the machine can read arguments"),
    ("--hf-token", "put the token into the environment as HF_TOKEN: everybody on the machine can read arguments"),
];

const OVER_NODES: &str = "with --launcher slurm, topobench lays engines over nodes itself";

/// Variables that topobench sets for each instance.
const OUR_VARIABLES: [(&str, &str); 4] = [
    ("CUDA_VISIBLE_DEVICES", "use gpus in the topology file, or set it for topobench itself"),
    ("HIP_VISIBLE_DEVICES", "use gpus in the topology file, or set it for topobench itself"),
    ("ROCR_VISIBLE_DEVICES", "use gpus in the topology file, or set it for topobench itself"),
    ("VLLM_API_KEY", "set it for topobench itself"),
];

/// Where the torch profiler of vLLM before 0.13 puts its traces.
pub const PROFILER_DIR: &str = "VLLM_TORCH_PROFILER_DIR";
pub(super) const SIDE_CHANNEL_HOST: &str = "VLLM_NIXL_SIDE_CHANNEL_HOST";
pub(super) const SIDE_CHANNEL_PORT: &str = "VLLM_NIXL_SIDE_CHANNEL_PORT";
pub(super) const INTERNAL_PORT: &str = "VLLM_PORT";

/// vLLM tells the others of an engine that this is where a node is; without it, it guesses by a route to the internet.
const HOST_IP: &str = "VLLM_HOST_IP";

/// The part of an instance that one node runs; most instances have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOf {
    /// From 0, which answers requests.
    pub number: usize,
    pub ports: Ports,
    /// Of number 0, where all of them meet.
    pub first: Ports,
}

impl PartOf {
    /// The only one.
    pub fn whole(ports: Ports) -> Self {
        PartOf { number: 0, ports, first: ports }
    }

    fn serves(self) -> bool {
        self.number == 0
    }
}

/// A command with its environment, secrets masked wherever it is printed or serialised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineCommand {
    pub program: String,
    #[serde(serialize_with = "serialize_masked_words")]
    pub args: Vec<String>,
    /// Merged over the inherited environment.
    pub env: BTreeMap<String, EnvValue>,
    /// Taken out of the inherited environment.
    pub env_removed: Vec<String>,
}

impl EngineCommand {
    /// One line for a shell, secrets masked.
    pub fn shell_line(&self) -> String {
        let mut line = String::new();
        for (name, value) in &self.env {
            // A mask is for reading: nothing is to be run with it.
            let shown = value.masked();
            let shown = if shown == MASK { shown.to_string() } else { words::shell(&[shown]) };
            let _ = write!(line, "{name}={shown} ");
        }
        let args = masked_words(&self.args);
        let command: Vec<&str> = [self.program.as_str()].into_iter().chain(args.iter().map(AsRef::as_ref)).collect();
        line + &words::shell(&command)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgvError {
    #[error("{instance}: {flag} is set by topobench: leave it out of the engine's arguments; {remedy}")]
    FlagIsOurs { instance: String, flag: String, remedy: &'static str },
    #[error("environment {name} is set by topobench for each instance: leave it out of env; {remedy}")]
    VariableIsOurs { name: String, remedy: &'static str },
    #[error(
        "the connector {connector} pushes KV, which came with vLLM 0.26, and this is {version}: upgrade, or use NixlConnector"
    )]
    NoPush { connector: String, version: EngineVersion },
    #[error("environment {name}={value}: not a port (1 to 65535)")]
    NotAPort { name: &'static str, value: String },
}

/// The command of one instance, or of its part on one of several nodes. An unknown version counts as the newest.
pub fn command(
    fleet: &FleetPlan,
    instance: &InstancePlan,
    part: PartOf,
    version: Option<EngineVersion>,
) -> Result<EngineCommand, ArgvError> {
    refuse_our_flags(instance)?;
    refuse_our_variables(fleet)?;
    refuse_old_push(fleet, version)?;
    let mut env: BTreeMap<String, EnvValue> =
        fleet.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut env_removed = Vec::new();
    // Data-parallel ranks scan from it at the same time and find the same port; without it the kernel gives each its own.
    if instance.parallelism.data_parallel > 1 && fleet.env.get(INTERNAL_PORT).is_none() {
        env_removed.push(INTERNAL_PORT.to_string());
    } else {
        env.insert(INTERNAL_PORT.to_string(), EnvValue::Plain(part.ports.internal.to_string()));
    }
    let mut set = |name: &str, value: String| env.insert(name.to_string(), EnvValue::Plain(value));
    if fleet.kv.is_some() {
        set(SIDE_CHANNEL_PORT, part.ports.side_channel.to_string());
    }
    let address = instance.node_of_part(part.number).map_or_else(|| instance.address(), |node| &node.address);
    if instance.parts() > 1 {
        set(HOST_IP, address.to_string());
    }
    let gpus = instance.gpus_of_part(part.number);
    match &gpus {
        GpuAssignment::Cuda(_) => drop(set("CUDA_VISIBLE_DEVICES", gpus.local_ids().join(","))),
        // ROCm obeys all three; more than one set gives an intersection of renumbered devices.
        GpuAssignment::Hip(_) => {
            set("HIP_VISIBLE_DEVICES", gpus.local_ids().join(","));
            env_removed.extend(["CUDA_VISIBLE_DEVICES".to_string(), "ROCR_VISIBLE_DEVICES".to_string()]);
        }
        GpuAssignment::Virtual(_) | GpuAssignment::None => {}
    }
    if matches!(gpus, GpuAssignment::Cuda(_)) {
        // CUDA's own default numbers the fastest GPU first; NVML, nvidia-smi and topobench go by bus.
        env.entry("CUDA_DEVICE_ORDER".to_string()).or_insert_with(|| EnvValue::Plain("PCI_BUS_ID".to_string()));
    }
    if fleet.kv.is_some() {
        // The default, localhost, may resolve to ::1 on one side of the handshake only.
        env.entry(SIDE_CHANNEL_HOST.to_string()).or_insert_with(|| EnvValue::Plain(address.to_string()));
    }
    if let Some(key) = &fleet.api_key {
        env.insert("VLLM_API_KEY".to_string(), EnvValue::Secret(key.clone()));
    }
    Ok(EngineCommand { program: fleet.program.clone(), args: args(fleet, instance, part, version), env, env_removed })
}

fn args(fleet: &FleetPlan, instance: &InstancePlan, part: PartOf, version: Option<EngineVersion>) -> Vec<String> {
    let mut args: Vec<String> = vec!["serve".into(), fleet.model.clone()];
    let mut flag = |name: &str, value: String| args.extend([name.to_string(), value]);
    if part.serves() {
        flag("--host", instance.address().to_string());
        flag("--port", part.ports.http.to_string());
    }
    let Parallelism { tensor_parallel, data_parallel, pipeline_parallel, expert_parallel } = instance.parallelism;
    flag("--tensor-parallel-size", tensor_parallel.to_string());
    if pipeline_parallel > 1 {
        flag("--pipeline-parallel-size", pipeline_parallel.to_string());
    }
    if data_parallel > 1 {
        flag("--data-parallel-size", data_parallel.to_string());
    }
    if data_parallel > 1 && part.serves() {
        // One process sees all ranks: it balances them, and counts each under its `engine` label.
        flag("--api-server-count", "1".into());
    }
    if instance.parts() > 1 {
        over_nodes(instance, part).into_iter().for_each(|(name, value)| flag(name, value));
    }
    if fleet.served_model_name != fleet.model {
        flag("--served-model-name", fleet.served_model_name.clone());
    }
    if let Some(kv) = &fleet.kv {
        flag("--kv-transfer-config", kv_transfer_config(kv, instance.role, version));
    }
    if expert_parallel {
        args.push("--enable-expert-parallel".to_string());
    }
    args.extend(profiler_config(fleet, instance, version));
    if !part.serves() {
        args.push("--headless".to_string());
    }
    args.extend(instance.args.iter().cloned());
    args
}

/// Where the torch profiler's traces go, for an engine that doesn't take it from the environment.
fn profiler_config(fleet: &FleetPlan, instance: &InstancePlan, version: Option<EngineVersion>) -> Vec<String> {
    const FLAG: &str = "--profiler-config";
    let is_given = instance.args.iter().any(|arg| arg.replace('_', "-").starts_with(FLAG));
    match fleet.env.get(PROFILER_DIR).filter(|_| !is_given && version.is_none_or(EngineVersion::has_profiler_config)) {
        Some(traces) => {
            let config = serde_json::json!({ "profiler": "torch", "torch_profiler_dir": traces.expose() });
            vec![FLAG.to_string(), config.to_string()]
        }
        None => Vec::new(),
    }
}

/// How a node finds the others. Where it has whole data-parallel ranks, as vLLM deploys ranks over nodes; else ranks lie over
/// nodes, which torch.distributed joins.
fn over_nodes(instance: &InstancePlan, part: PartOf) -> Vec<(&'static str, String)> {
    let size = instance.parallelism;
    let ranks = size.gpus() / instance.parts() as u32 / size.gpus_of_rank();
    let mut flags = Vec::new();
    if size.data_parallel == 1 || ranks == 0 {
        flags.extend([
            ("--nnodes", instance.parts().to_string()),
            ("--node-rank", part.number.to_string()),
            ("--master-addr", instance.address().to_string()),
            ("--master-port", part.first.master().to_string()),
        ]);
    } else {
        flags.push(("--data-parallel-size-local", ranks.to_string()));
        if !part.serves() {
            flags.push(("--data-parallel-start-rank", (part.number as u32 * ranks).to_string()));
        }
    }
    if size.data_parallel > 1 {
        flags.extend([
            ("--data-parallel-address", instance.address().to_string()),
            ("--data-parallel-rpc-port", part.first.data_parallel_rpc().to_string()),
        ]);
    }
    flags
}

/// vLLM's `KVTransferConfig` (`vllm/config/kv_transfer.py`) as JSON.
fn kv_transfer_config(kv: &KvTransfer, role: Role, version: Option<EngineVersion>) -> String {
    #[derive(Serialize)]
    struct Config<'a> {
        kv_connector: &'a str,
        kv_role: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        kv_buffer_device: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kv_load_failure_policy: Option<&'a str>,
        #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
        kv_connector_extra_config: serde_json::Map<String, serde_json::Value>,
    }
    let split = version.is_none_or(EngineVersion::has_split_kv_roles);
    let policy = version.is_none_or(EngineVersion::has_load_failure_policy);
    let kv_role = match role {
        Role::Prefill if split => "kv_producer",
        Role::Decode if split => "kv_consumer",
        Role::Prefill | Role::Decode | Role::Replica => "kv_both",
    };
    let config = Config {
        kv_connector: &kv.connector,
        kv_role,
        kv_buffer_device: kv.buffer_device.as_deref(),
        kv_load_failure_policy: kv.load_failure_policy.as_deref().filter(|_| policy),
        kv_connector_extra_config: connector::options_for(kv, kv_role),
    };
    serde_json::to_string(&config).unwrap_or_else(|_| unreachable!("strings and JSON values serialise"))
}

/// vLLM takes `--tensor_parallel_size` and `--flag=value` too.
fn refuse_our_flags(instance: &InstancePlan) -> Result<(), ArgvError> {
    for arg in &instance.args {
        let name = arg.split('=').next().unwrap_or(arg).replace('_', "-");
        if let Some((flag, remedy)) = OURS.iter().find(|(flag, _)| *flag == name) {
            return Err(ArgvError::FlagIsOurs { instance: instance.name(), flag: (*flag).to_string(), remedy });
        }
    }
    Ok(())
}

fn refuse_old_push(fleet: &FleetPlan, version: Option<EngineVersion>) -> Result<(), ArgvError> {
    let pushing = fleet.kv.as_ref().filter(|kv| connector::direction(kv) == Ok(KvDirection::Push));
    match (pushing, version) {
        (Some(kv), Some(version)) if !version.has_push_connector() => {
            Err(ArgvError::NoPush { connector: kv.connector.clone(), version })
        }
        _ => Ok(()),
    }
}

fn refuse_our_variables(fleet: &FleetPlan) -> Result<(), ArgvError> {
    match OUR_VARIABLES.iter().find(|(name, _)| fleet.env.get(name).is_some()) {
        Some((name, remedy)) => Err(ArgvError::VariableIsOurs { name: (*name).to_string(), remedy }),
        None => Ok(()),
    }
}

/// A port that the plan's environment asks for; the first instance gets it, the others follow.
pub(super) fn requested_port(fleet: &FleetPlan, name: &'static str) -> Result<Option<u16>, ArgvError> {
    let Some(value) = fleet.env.get(name) else { return Ok(None) };
    match value.expose().trim().parse().ok().filter(|&port: &u16| port > 0) {
        Some(port) => Ok(Some(port)),
        None => Err(ArgvError::NotAPort { name, value: value.masked().to_string() }),
    }
}

#[cfg(test)]
mod tests;
