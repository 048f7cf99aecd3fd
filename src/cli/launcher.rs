//! `--launcher`: where engines are started, and what the Slurm job has where that is one.

use super::exit::{CliError, Exit};
use crate::launch::program;
use crate::launch::slurm::{self, Allocation, NodeFacts};
use crate::plan::ArmPlan;
use crate::plan::deployment::{Deployment, JobNode};
use crate::plan::gpus::Vendor;
use crate::plan::job::{NodeGpus, SlurmJob};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Launcher {
    /// On this machine
    #[default]
    Local,
    /// As steps of the Slurm job that topobench runs in
    Slurm,
}

/// The job whose nodes engines are started on; `None` for this machine. Its nodes are asked once in a process.
///
/// # Errors
/// Outside of a job, and where a node isn't reached.
pub(super) fn job(launcher: Launcher) -> Result<Option<SlurmJob>, CliError> {
    static ASKED: OnceLock<SlurmJob> = OnceLock::new();
    match (launcher, ASKED.get()) {
        (Launcher::Local, _) => Ok(None),
        (Launcher::Slurm, Some(job)) => Ok(Some(job.clone())),
        (Launcher::Slurm, None) => {
            let job = of_process()?;
            Ok(Some(ASKED.get_or_init(|| job).clone()))
        }
    }
}

fn of_process() -> Result<SlurmJob, CliError> {
    let allocation = Allocation::of_process().map_err(CliError::usage)?;
    let nodes = facts(&allocation)?;
    let amd = nodes.iter().flat_map(|node| &node.gpus).any(|gpu| gpu.name.to_uppercase().contains("AMD"));
    let names: BTreeSet<&String> = nodes.iter().flat_map(|node| &node.gpus).map(|gpu| &gpu.name).collect();
    let gpu_names = names.into_iter().cloned().collect();
    let of_node =
        |facts: NodeFacts| NodeGpus { node: JobNode { name: facts.name, address: facts.address }, ids: facts.visible };
    Ok(SlurmJob {
        id: allocation.id,
        vendor: if amd { Vendor::Hip } else { Vendor::Cuda },
        gpu_names,
        nodes: nodes.into_iter().map(of_node).collect(),
    })
}

/// Whether the job that topobench runs in has the nodes that an arm was planned for.
///
/// # Errors
/// Names those that it lacks.
pub(super) fn check_nodes(arm: &ArmPlan) -> Result<(), CliError> {
    let Deployment::Spawn(fleet) = &arm.deployment else { return Ok(()) };
    let planned: BTreeSet<&String> = fleet.instances.iter().filter_map(|i| Some(&i.node.as_ref()?.name)).collect();
    if planned.is_empty() {
        return Ok(());
    }
    let job = Allocation::of_process().map_err(CliError::usage)?;
    let missing: Vec<_> = planned.into_iter().filter(|name| !job.nodes.contains(name)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{}: the run was measured on {}, which Slurm job {} doesn't have\nhint: ask for the same nodes (--nodelist), or start a new run",
        arm.label,
        missing.join(", "),
        job.id
    )))
}

/// What the nodes of a job say of themselves.
pub(super) fn facts(allocation: &Allocation) -> Result<Vec<NodeFacts>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::new(Exit::Internal, format!("cannot start the runtime: {e}")))?;
    let asked = runtime.block_on(slurm::survey(allocation, Path::new(program::THIS)));
    asked.map_err(|error| CliError::new(Exit::LaunchFailed, error))
}
