//! What can be known before anything is started: the program, its version, the GPUs and who sits on them, shared
//! memory. Ports are checked where they are chosen ([`super::ports`]).

use super::argv::EngineCommand;
use super::gpu_memory::GpuMemoryHeld;
use super::host::Host;
use super::hosts::Hosts;
use super::process::{EngineProcess, SpawnError};
use super::procs;
use super::program::{Program, ProgramNotFound};
use super::version::EngineVersion;
use crate::observe::gpu::GpuInfo;
use crate::plan::deployment::{FleetPlan, GpuAssignment, InstancePlan};
use crate::plan::parallelism::Parallelism;
use crate::plan::secrecy::EngineEnv;
use crate::words;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// `vllm --version` imports torch: 20 to 40 s on a small machine.
const VERSION_TIMEOUT: Duration = Duration::from_secs(120);
/// A driver needs a moment to free the memory of an engine that was just killed.
const GPU_PATIENCE: Duration = Duration::from_secs(15);
/// Held without a process to show: below this it is the driver's own bookkeeping.
const UNEXPLAINED_GPU_MEMORY: u64 = 2 << 30;
/// vLLM's queues between workers and NCCL's buffers lie in /dev/shm; Docker's default is 64 MiB.
const SHARED_MEMORY_PER_WORKER: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error(transparent)]
    Program(#[from] ProgramNotFound),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot create the directory for logs {}: {source}; check permissions and space", path.display())]
    LogDir { path: PathBuf, source: std::io::Error },
    #[error("{instance} wants {} GPUs ({size}) and got {}: list as many in gpus", .size.gpus(), .ids.len())]
    GpuCount { instance: String, size: Parallelism, ids: Vec<String> },
    #[error("{instance} wants GPU {id}, but no NVIDIA driver answers on {place}: check nvidia-smi")]
    NoDriver { instance: String, id: String, place: String },
    #[error("{instance} wants GPU {id}; {place} has {}: correct gpus or CUDA_VISIBLE_DEVICES", listed(present))]
    GpuMissing { instance: String, id: String, place: String, present: Vec<String> },
    #[error("GPU {gpu} is in use by {}: end that, or choose another GPU", listed(holders))]
    GpuBusy { gpu: String, holders: Vec<String> },
    #[error("{} of GPU {gpu} are held by processes that this user can't see: end them, or choose another GPU", words::bytes(*bytes))]
    GpuMemoryHeld { gpu: String, bytes: u64 },
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "none".to_string() } else { items.join(", ") }
}

/// Worth saying, no reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The newest version is assumed.
    VersionUnknown {
        program: String,
        detail: String,
    },
    LittleSharedMemory {
        free_bytes: u64,
        wanted_bytes: u64,
    },
    /// Left by a launch that failed.
    GpuMemoryHeld(GpuMemoryHeld),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::VersionUnknown { program, detail } => {
                write!(f, "{program} --version: {detail}; arguments are those of the newest vLLM known")
            }
            Warning::LittleSharedMemory { free_bytes, wanted_bytes } => write!(
                f,
                "/dev/shm has {} free, {} are advised: enlarge it (docker run --shm-size 16g or --ipc=host)",
                words::bytes(*free_bytes),
                words::bytes(*wanted_bytes)
            ),
            Warning::GpuMemoryHeld(held) => held.fmt(f),
        }
    }
}

/// Runs `PROGRAM --version` behind a guardian. What it cannot tell is a warning.
pub async fn probe_version(
    program: &Program,
    env: &EngineEnv,
    guardian: &Path,
) -> Result<Result<EngineVersion, Warning>, PreflightError> {
    probe_version_on(&Host::This, program, env, guardian).await
}

pub(super) async fn probe_version_on(
    host: &Host,
    program: &Program,
    env: &EngineEnv,
    guardian: &Path,
) -> Result<Result<EngineVersion, Warning>, PreflightError> {
    let command = EngineCommand {
        program: program.to_string(),
        args: vec!["--version".into()],
        env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        env_removed: vec![],
    };
    let process = EngineProcess::spawn(host, "version", &command, guardian, None).await?;
    let ended = timeout(VERSION_TIMEOUT, process.ended()).await;
    process.stop(Duration::ZERO).await;
    process.log().finished().await;
    let output = process.log().tail().join("\n");
    Ok(EngineVersion::find(&output).ok_or_else(|| Warning::VersionUnknown {
        program: command.program,
        detail: match ended {
            Ok(status) => format!("no version in its output ({status})"),
            Err(_) => format!("no answer within {} s", VERSION_TIMEOUT.as_secs()),
        },
    }))
}

/// Refuses GPUs that are missing or in use. What a fleet before this one held may still be on its way out, so a busy
/// GPU gets a while.
pub(super) async fn check_gpus(fleet: &FleetPlan, hosts: &Hosts, allow_busy: bool) -> Result<(), PreflightError> {
    let patience = Instant::now() + GPU_PATIENCE;
    loop {
        match judge_gpus(&fleet.instances, &hosts.gpus().await) {
            Err(PreflightError::GpuBusy { .. } | PreflightError::GpuMemoryHeld { .. }) if allow_busy => return Ok(()),
            Err(PreflightError::GpuBusy { .. } | PreflightError::GpuMemoryHeld { .. }) if Instant::now() < patience => {
                sleep(Duration::from_millis(500)).await;
            }
            verdict => return verdict,
        }
    }
}

fn judge_gpus(instances: &[InstancePlan], present: &[GpuInfo]) -> Result<(), PreflightError> {
    for instance in instances {
        let ids = instance.gpus.ids();
        if instance.gpus != GpuAssignment::None && ids.len() != instance.parallelism.gpus() as usize {
            let (ids, size) = (ids.to_vec(), instance.parallelism);
            return Err(PreflightError::GpuCount { instance: instance.name(), size, ids });
        }
        let comparable = match instance.gpus {
            GpuAssignment::Cuda(_) => true,
            GpuAssignment::Hip(_) => !present.is_empty(),
            GpuAssignment::Virtual(_) | GpuAssignment::None => false,
        };
        // A slice of a MIG GPU is not in NVML's list of devices.
        for id in ids.iter().filter(|id| comparable && !id.starts_with("MIG-")) {
            let gpu = find_gpu(instance, id, present)?;
            refuse_busy(gpu)?;
        }
    }
    Ok(())
}

fn find_gpu<'a>(instance: &InstancePlan, id: &str, present: &'a [GpuInfo]) -> Result<&'a GpuInfo, PreflightError> {
    let node = instance.node.as_ref().and_then(|_| id.split_once(':')).map(|(node, _)| node);
    let place = node.map_or_else(|| "this machine".to_string(), |node| format!("node {node}"));
    let (there, id): (Vec<&GpuInfo>, _) = (present.iter().filter(|gpu| gpu.is_on(node)).collect(), id.to_string());
    let instance = instance.name();
    if there.is_empty() {
        return Err(PreflightError::NoDriver { instance, id, place });
    }
    there.iter().copied().find(|gpu| gpu.is_called(&id)).ok_or_else(|| PreflightError::GpuMissing {
        instance,
        id,
        place,
        present: there.iter().map(|gpu| gpu.called()).collect(),
    })
}

fn refuse_busy(gpu: &GpuInfo) -> Result<(), PreflightError> {
    if !gpu.processes.is_empty() {
        let holders = gpu
            .processes
            .iter()
            .map(|process| procs::described_on(gpu.on_node.as_ref().map(|(node, _)| node.as_str()), process.pid))
            .collect();
        return Err(PreflightError::GpuBusy { gpu: gpu.called(), holders });
    }
    match gpu.memory_used_bytes {
        Some(bytes) if bytes > UNEXPLAINED_GPU_MEMORY => {
            Err(PreflightError::GpuMemoryHeld { gpu: gpu.called(), bytes })
        }
        _ => Ok(()),
    }
}

/// A warning if workers that talk over /dev/shm would find it small on one of the hosts.
pub(super) async fn check_shared_memory(fleet: &FleetPlan, hosts: &Hosts) -> Option<Warning> {
    let ranks = fleet.instances.iter().map(|i| i.parallelism.gpus());
    let workers: u64 = ranks.filter(|ranks| *ranks > 1).map(u64::from).sum();
    let simulated = fleet.instances.iter().all(|i| matches!(i.gpus, GpuAssignment::Virtual(_)));
    if simulated {
        return None;
    }
    let free_bytes = hosts.least_shared_memory().await?;
    let wanted_bytes = workers * SHARED_MEMORY_PER_WORKER;
    (free_bytes < wanted_bytes).then_some(Warning::LittleSharedMemory { free_bytes, wanted_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::gpu::GpuProcess;
    use crate::plan::topology::Role;

    fn instance(gpus: GpuAssignment, ranks: u32) -> InstancePlan {
        InstancePlan {
            role: Role::Prefill,
            index: 0,
            parallelism: Parallelism::tensor(ranks),
            gpus,
            args: vec![],
            node: None,
            more_nodes: Vec::new(),
        }
    }

    fn cuda(ids: &[&str]) -> InstancePlan {
        instance(GpuAssignment::Cuda(ids.iter().map(|id| (*id).to_string()).collect()), ids.len() as u32)
    }

    fn gpu(index: u32) -> GpuInfo {
        GpuInfo {
            index,
            uuid: format!("GPU-{index}aaaa-bbbb"),
            memory_used_bytes: Some(600 << 20),
            ..GpuInfo::default()
        }
    }

    fn verdict(instance: InstancePlan, present: &[GpuInfo]) -> Result<(), String> {
        judge_gpus(&[instance], present).map_err(|error| error.to_string())
    }

    #[test]
    fn gpus_are_found_by_index_and_by_the_beginning_of_a_uuid() {
        let present = [gpu(0), gpu(1)];
        assert_eq!(verdict(cuda(&["0", "GPU-1aa"]), &present), Ok(()));
        assert_eq!(verdict(cuda(&["MIG-5d2a"]), &present), Ok(()));
        insta::assert_snapshot!(verdict(cuda(&["2"]), &present).expect_err("missing"), @"prefill-0 wants GPU 2; this machine has 0, 1: correct gpus or CUDA_VISIBLE_DEVICES");
        insta::assert_snapshot!(verdict(cuda(&["0"]), &[]).expect_err("no driver"), @"prefill-0 wants GPU 0, but no NVIDIA driver answers on this machine: check nvidia-smi");
    }

    #[test]
    fn a_gpu_with_a_process_or_unexplained_memory_is_refused() {
        let me = std::process::id();
        let used = GpuInfo { processes: vec![GpuProcess { pid: me, memory_bytes: None }], ..gpu(0) };
        let said = verdict(cuda(&["0"]), &[used]).expect_err("in use");
        assert!(said.starts_with(&format!("GPU 0 is in use by pid {me} (")), "{said}");
        let held = GpuInfo { memory_used_bytes: Some(60 << 30), ..gpu(0) };
        insta::assert_snapshot!(verdict(cuda(&["0"]), &[held]).expect_err("held"), @"60 GiB of GPU 0 are held by processes that this user can't see: end them, or choose another GPU");
    }

    #[test]
    fn as_many_gpus_as_ranks() {
        let short = instance(GpuAssignment::Virtual(vec!["0".into()]), 2);
        insta::assert_snapshot!(verdict(short, &[]).expect_err("too few"), @"prefill-0 wants 2 GPUs (TP2) and got 1: list as many in gpus");
        assert_eq!(verdict(instance(GpuAssignment::None, 2), &[]), Ok(()));
    }
}
