//! What this runs in: a container, a cgroup, a machine whose GPUs are shared out, a cluster of Ray's.

use crate::observe::gpu::GpuInfo;
use crate::plan::environment::{CUDA_VISIBLE_DEVICES, Environment};
use std::path::{Path, PathBuf};

/// Everything that is looked at, so that recorded surroundings can be looked at too.
pub(super) struct Surroundings<'a> {
    pub(super) env: &'a Environment,
    /// `/`.
    pub(super) root: PathBuf,
    pub(super) gpus: &'a [GpuInfo],
    /// Which of the programs that are asked for are on PATH.
    pub(super) has_program: fn(&str) -> bool,
}

/// Signs of a container in what the kernel says of the first process' cgroup and of mounts, and whose they are.
const SIGNS: [(&str, &str); 6] = [
    ("kubepods", "a pod of Kubernetes"),
    ("/docker", "a Docker container"),
    ("libpod", "a Podman container"),
    ("/lxc", "an LXC container"),
    ("crio-", "a CRI-O container"),
    ("containerd", "a container of containerd's"),
];

impl Surroundings<'_> {
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    fn has_file(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The container that this runs in, as far as it shows.
    pub(super) fn container(&self) -> Option<&'static str> {
        let told = [
            (self.env.is_set("KUBERNETES_SERVICE_HOST"), "a pod of Kubernetes"),
            (self.env.is_set("APPTAINER_NAME") || self.env.is_set("SINGULARITY_NAME"), "an Apptainer container"),
            (self.has_file("run/.containerenv"), "a Podman container"),
            (self.has_file(".dockerenv"), "a Docker container"),
        ];
        // Under a cgroup namespace the path is `/`, and only the mounts of /etc/hosts and its like tell.
        let traces = self.read("proc/1/cgroup") + &self.read("proc/self/mountinfo");
        let of_kernel = || SIGNS.into_iter().find_map(|(sign, what)| traces.contains(sign).then_some(what));
        let of_init = || self.env.get("container").map(|_| "a container");
        told.into_iter().find_map(|(is, what)| is.then_some(what)).or_else(of_kernel).or_else(of_init)
    }

    /// What is worth knowing of what is shared out, a sentence each.
    pub(super) fn shares(&self) -> Vec<String> {
        self.limits().into_iter().chain(self.gpu_shares()).chain(self.slices()).collect()
    }

    /// What a cgroup leaves of CPUs and memory.
    fn limits(&self) -> Vec<String> {
        let cpu = self.read("sys/fs/cgroup/cpu.max");
        let quota = cpu.split_once(' ').and_then(|(quota, period)| {
            let cpus = quota.parse::<f64>().ok()? / period.trim().parse::<f64>().ok().filter(|period| *period > 0.0)?;
            Some(format!("its cgroup allows {cpus:.1} CPUs: more than that is held back, the load client included"))
        });
        let memory = self.read("sys/fs/cgroup/memory.max").trim().parse::<u64>().ok();
        let memory = memory.map(|bytes| format!("its cgroup allows {} of memory", crate::words::bytes(bytes)));
        quota.into_iter().chain(memory).collect()
    }

    fn gpu_shares(&self) -> Vec<String> {
        let mut said = Vec::new();
        let (found, nodes) = (self.gpus.len(), self.device_nodes());
        let nvidia = self.gpus.iter().any(|gpu| gpu.uuid.starts_with("GPU-"));
        if nvidia && !(self.has_program)("nvidia-smi") {
            said.push("nvidia-smi is not here, and not needed: the driver's library answers".to_string());
        }
        if nvidia && nodes > found {
            let by = self.container().map_or("its cgroup", |_| "its container");
            said.push(format!("{by} gives this process {found} of the {nodes} GPUs; they are numbered from 0"));
        }
        let given = self.env.get("NVIDIA_VISIBLE_DEVICES");
        if found == 0 && given.is_some_and(|given| matches!(given, "void" | "none")) {
            said.push(
                "the container was started without GPUs (NVIDIA_VISIBLE_DEVICES): --gpus all gives it some".to_string(),
            );
        } else if found == 0 && nodes > 0 {
            said.push(format!(
                "there are {nodes} NVIDIA devices, and no driver library answers: start the container with --gpus all (libnvidia-ml.so.1), or ask Slurm for GPUs"
            ));
        }
        let chosen = self.env.get(CUDA_VISIBLE_DEVICES).map(|ids| ids.split(',').count());
        if let Some(chosen) = chosen.filter(|chosen| nvidia && *chosen < found) {
            said.push(format!("{CUDA_VISIBLE_DEVICES} leaves {chosen} of the {found} GPUs to engines started here"));
        }
        said
    }

    fn slices(&self) -> Vec<String> {
        let named = self.env.get(CUDA_VISIBLE_DEVICES).is_some_and(|ids| ids.contains("MIG-"));
        let split = self.gpus.iter().filter(|gpu| gpu.mig == Some(true) && !named);
        split
            .map(|gpu| {
                format!(
                    "GPU {} is split (MIG): name its slices in {CUDA_VISIBLE_DEVICES}, by the UUIDs that `nvidia-smi -L` shows (MIG-..)",
                    gpu.index
                )
            })
            .collect()
    }

    /// `/dev/nvidia0` and its like.
    fn device_nodes(&self) -> usize {
        let is_gpu = |name: &str| {
            name.strip_prefix("nvidia").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        let entries = std::fs::read_dir(self.root.join("dev")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count()
    }

    /// What there is of Ray. It runs its own deployments: topobench measures them.
    pub(super) fn ray(&self) -> String {
        let measured =
            "not from here, it starts its own: `topobench nixl --attach URL --metrics-url ..` measures what it serves";
        match self.env.get("RAY_ADDRESS") {
            Some(address) => {
                format!("{measured}; RAY_ADDRESS names a cluster at {}", crate::plan::mask::masked_text(address))
            }
            None if self.has_file("tmp/ray/ray_current_cluster") => {
                let address = self.read("tmp/ray/ray_current_cluster");
                format!("{measured}; a cluster runs on this machine, at {}", address.trim())
            }
            None if (self.has_program)("ray") => format!("{measured}; `ray` is on PATH, and no cluster is named"),
            None => "no: ray is not on PATH".to_string(),
        }
    }

    pub(super) fn kubernetes(&self) -> String {
        let measured =
            "not from here, it starts its own: `topobench nixl --attach URL --metrics-url ..` measures what it serves";
        match (self.env.is_set("KUBERNETES_SERVICE_HOST"), (self.has_program)("kubectl")) {
            (true, _) => format!("{measured}; this pod reaches its Services"),
            (false, true) => format!("{measured}, best from a pod (`kubectl port-forward` adds its own delay)"),
            (false, false) => "no: this is no pod, and kubectl is not on PATH".to_string(),
        }
    }
}

/// Whether a program is on PATH.
pub(super) fn is_on_path(name: &str) -> bool {
    which::which(Path::new(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine as it was found: its files, its environment, its GPUs and its programs.
    fn look<T>(
        files: &[(&str, &str)],
        env: &Environment,
        gpus: &[GpuInfo],
        has_program: fn(&str) -> bool,
        at: impl Fn(&Surroundings<'_>) -> T,
    ) -> T {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        at(&Surroundings { env, root: dir.path().to_path_buf(), gpus, has_program })
    }

    fn gpu(index: u32, mig: bool) -> GpuInfo {
        GpuInfo { index, uuid: format!("GPU-{index}"), mig: Some(mig), ..GpuInfo::default() }
    }

    #[test]
    fn containers_are_known_by_what_they_leave_lying_about() {
        const DOCKER: &str = "1432 1419 252:1 /var/lib/docker/containers/0a/hosts /etc/hosts rw - ext4 /dev/vda1 rw\n";
        let bare =
            [("proc/1/cgroup", "0::/init.scope\n"), ("proc/self/mountinfo", "22 1 252:1 / / rw - ext4 /dev/vda1 rw\n")];
        let none = Environment::default();
        let kind =
            |files: &[(&str, &str)], env: &Environment| look(files, env, &[], |_| false, |here| here.container());
        assert_eq!(kind(&bare, &none), None);
        assert_eq!(kind(&[(".dockerenv", "")], &none), Some("a Docker container"));
        assert_eq!(
            kind(&[("proc/1/cgroup", "0::/\n"), ("proc/self/mountinfo", DOCKER)], &none),
            Some("a Docker container")
        );
        let pod = "12:cpu:/kubepods/burstable/pod5c/0a\n";
        assert_eq!(kind(&[("proc/1/cgroup", pod)], &none), Some("a pod of Kubernetes"));
        assert_eq!(kind(&[("run/.containerenv", "")], &none), Some("a Podman container"));
        assert_eq!(kind(&bare, &Environment::of([("SINGULARITY_NAME", "vllm.sif")])), Some("an Apptainer container"));
        assert_eq!(kind(&bare, &Environment::of([("container", "lxc")])), Some("a container"));
    }

    #[test]
    fn what_a_container_leaves_of_a_machine_is_said() {
        let devices = ["nvidia0", "nvidia1", "nvidia7", "nvidiactl", "nvidia-uvm"].map(|name| format!("dev/{name}"));
        let mut files: Vec<(&str, &str)> = devices.iter().map(|path| (path.as_str(), "")).collect();
        files.extend([(".dockerenv", ""), ("sys/fs/cgroup/cpu.max", "350000 100000\n")]);
        files.extend([("sys/fs/cgroup/memory.max", "17179869184\n")]);
        let env = Environment::of([(CUDA_VISIBLE_DEVICES, "1")]);
        let said = look(&files, &env, &[gpu(0, false), gpu(1, true)], |_| false, |here| here.shares());
        insta::assert_snapshot!(said.join("\n"), @r"
        its cgroup allows 3.5 CPUs: more than that is held back, the load client included
        its cgroup allows 16 GiB of memory
        nvidia-smi is not here, and not needed: the driver's library answers
        its container gives this process 2 of the 3 GPUs; they are numbered from 0
        CUDA_VISIBLE_DEVICES leaves 1 of the 2 GPUs to engines started here
        GPU 1 is split (MIG): name its slices in CUDA_VISIBLE_DEVICES, by the UUIDs that `nvidia-smi -L` shows (MIG-..)
        ");
        let unlimited = [("sys/fs/cgroup/cpu.max", "max 100000\n"), ("sys/fs/cgroup/memory.max", "max\n")];
        let slices = Environment::of([(CUDA_VISIBLE_DEVICES, "MIG-4a,MIG-4b")]);
        let said = look(&unlimited, &slices, &[gpu(0, true)], |_| true, |here| here.shares());
        assert_eq!(said, [] as [String; 0], "nothing is held back, and the slices are named");
    }

    #[test]
    fn a_container_without_gpus_says_what_is_missing() {
        let devices = [("dev/nvidia0", ""), (".dockerenv", "")];
        let without = |env: &Environment| look(&devices, env, &[], |_| false, |here| here.shares()).join("\n");
        assert!(without(&Environment::default()).contains("no driver library answers"));
        assert!(without(&Environment::of([("NVIDIA_VISIBLE_DEVICES", "void")])).contains("started without GPUs"));
    }

    #[test]
    fn clusters_that_start_their_own_engines_are_measured_and_named() {
        let ray = |files: &[(&str, &str)], env: &Environment, has| look(files, env, &[], has, |here| here.ray());
        let none = Environment::default();
        assert_eq!(ray(&[], &none, |_| false), "no: ray is not on PATH");
        let here = ray(&[("tmp/ray/ray_current_cluster", "10.0.0.7:6379\n")], &none, |_| true);
        assert!(here.contains("--attach URL") && here.ends_with("on this machine, at 10.0.0.7:6379"), "{here}");
        let far = ray(&[], &Environment::of([("RAY_ADDRESS", "ray://head:10001")]), |_| false);
        assert!(far.ends_with("RAY_ADDRESS names a cluster at ray://head:10001"), "{far}");
        let pods = |env: &Environment, has| look(&[], env, &[], has, |here| here.kubernetes());
        assert!(pods(&none, |_| false).starts_with("no: this is no pod"));
        assert!(pods(&none, |name| name == "kubectl").contains("port-forward"));
        assert!(pods(&Environment::of([("KUBERNETES_SERVICE_HOST", "10.0.0.1")]), |_| false).contains("this pod"));
    }
}
