//! Where engines can be started from here, and what a container or a cgroup makes of this machine's GPUs.

use crate::cli::launcher;
use crate::launch::slurm::Allocation;
use crate::observe::gpu::GpuInfo;
use serde::Serialize;
use std::path::Path;

/// One sentence for each launcher.
#[derive(Default, Serialize)]
pub(super) struct LauncherFacts {
    pub(super) local: String,
    pub(super) slurm: String,
    /// The nodes of the Slurm job that this is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) nodes: Vec<NodeShare>,
}

/// What a job has of a node.
#[derive(Serialize)]
pub(super) struct NodeShare {
    pub(super) name: String,
    pub(super) address: String,
    /// As engines on it will be given them.
    pub(super) gpus: Vec<String>,
    /// As its driver calls them; empty where none answers.
    pub(super) names: Vec<String>,
}

pub(super) fn launchers(gpus: &[GpuInfo]) -> LauncherFacts {
    let local = match gpus.len() {
        0 => "on this machine, without GPUs".to_string(),
        1 => "on this machine's GPU".to_string(),
        n => format!("on this machine's {n} GPUs"),
    };
    if which::which("srun").is_err() {
        return LauncherFacts { local, slurm: "no: srun is not on PATH".to_string(), nodes: Vec::new() };
    }
    let allocation = match Allocation::of_process() {
        Ok(allocation) => allocation,
        Err(_) if std::env::var_os("SLURM_JOB_ID").is_none() => {
            let slurm = "not from here, outside of a job: see salloc, and `topobench slurm submit --help`".to_string();
            return LauncherFacts { local, slurm, nodes: Vec::new() };
        }
        Err(error) => return LauncherFacts { local, slurm: format!("no: {error}"), nodes: Vec::new() },
    };
    match launcher::facts(&allocation) {
        Err(error) => LauncherFacts { local, slurm: format!("no: {}", error.message), nodes: Vec::new() },
        Ok(facts) => {
            let share = |node: crate::launch::slurm::NodeFacts| NodeShare {
                name: node.name,
                address: node.address,
                gpus: node.visible,
                names: node.gpus.into_iter().map(|gpu| gpu.name).collect(),
            };
            let nodes: Vec<NodeShare> = facts.into_iter().map(share).collect();
            let gpus: usize = nodes.iter().map(|node| node.gpus.len()).sum();
            let slurm =
                format!("in job {}, with --launcher slurm: {gpus} GPUs on {} nodes", allocation.id, nodes.len());
            LauncherFacts { local, slurm, nodes }
        }
    }
}

/// The container that this runs in, as far as it shows.
pub(super) fn container() -> Option<&'static str> {
    let set = |name: &str| std::env::var_os(name).is_some();
    let there = |path: &str| Path::new(path).exists();
    [
        (set("KUBERNETES_SERVICE_HOST"), "a pod of Kubernetes"),
        (set("APPTAINER_NAME") || set("SINGULARITY_NAME"), "an Apptainer container"),
        (there("/run/.containerenv"), "a Podman container"),
        (there("/.dockerenv"), "a Docker container"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// What is worth knowing of GPUs that are shared out, a sentence each.
pub(super) fn shares(gpus: &[GpuInfo], container: Option<&str>) -> Vec<String> {
    let mut said = Vec::new();
    let nodes = device_nodes("/dev");
    let nvidia = gpus.iter().any(|gpu| gpu.uuid.starts_with("GPU-"));
    if nvidia && which::which("nvidia-smi").is_err() {
        said.push("nvidia-smi is not here, and not needed: the driver's library answers".to_string());
    }
    if nvidia && nodes > gpus.len() {
        let by = container.map_or("its cgroup", |_| "its container");
        said.push(format!("{by} gives this process {} of the {nodes} GPUs; they are numbered from 0", gpus.len()));
    }
    if gpus.is_empty() && nodes > 0 {
        said.push(format!(
            "there are {nodes} NVIDIA devices, and no driver library answers: start the container with --gpus all (libnvidia-ml.so.1), or ask Slurm for GPUs"
        ));
    }
    for gpu in gpus.iter().filter(|gpu| gpu.mig == Some(true)) {
        said.push(format!(
            "GPU {} is split (MIG): name its slices in CUDA_VISIBLE_DEVICES, by the UUIDs that `nvidia-smi -L` shows (MIG-..)",
            gpu.index
        ));
    }
    said
}

/// `/dev/nvidia0` and its like.
fn device_nodes(dir: &str) -> usize {
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_gpus_are_told_how_to_name() {
        let split = GpuInfo { index: 3, mig: Some(true), ..GpuInfo::default() };
        let said = shares(&[split], None).join("\n");
        assert!(said.contains("GPU 3 is split (MIG)") && said.contains("nvidia-smi -L"), "{said}");
    }

    #[test]
    fn devices_are_counted_by_their_nodes() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"] {
            std::fs::write(dir.path().join(name), "").expect("writes");
        }
        assert_eq!(device_nodes(&dir.path().display().to_string()), 2);
    }
}
