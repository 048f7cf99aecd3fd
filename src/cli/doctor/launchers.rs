//! Where engines can be started from here.

use super::surroundings::{self, Surroundings};
use crate::cli::launcher;
use crate::launch::slurm::Allocation;
use serde::Serialize;

/// One sentence for each launcher.
#[derive(Default, Serialize)]
pub(super) struct LauncherFacts {
    pub(super) local: String,
    pub(super) slurm: String,
    pub(super) ray: String,
    pub(super) kubernetes: String,
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

pub(super) fn launchers(here: &Surroundings<'_>) -> LauncherFacts {
    let local = match here.gpus.len() {
        0 => "on this machine, without GPUs".to_string(),
        1 => "on this machine's GPU".to_string(),
        n => format!("on this machine's {n} GPUs"),
    };
    let (slurm, nodes) = slurm();
    LauncherFacts { local, slurm, ray: here.ray(), kubernetes: here.kubernetes(), nodes }
}

fn slurm() -> (String, Vec<NodeShare>) {
    if !surroundings::is_on_path("srun") {
        return ("no: srun is not on PATH".to_string(), Vec::new());
    }
    let allocation = match Allocation::of_process() {
        Ok(allocation) => allocation,
        Err(_) if std::env::var_os("SLURM_JOB_ID").is_none() => {
            let slurm = "not from here, outside of a job: see salloc, and `topobench slurm submit --help`".to_string();
            return (slurm, Vec::new());
        }
        Err(error) => return (format!("no: {error}"), Vec::new()),
    };
    match launcher::facts(&allocation) {
        Err(error) => (format!("no: {}", error.message), Vec::new()),
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
            (slurm, nodes)
        }
    }
}
