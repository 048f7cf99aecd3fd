//! The Slurm job that this process runs in.

use super::set;
use std::process::Command;

/// A job, and its nodes in Slurm's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub id: String,
    pub nodes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    #[error(
        "--launcher slurm wants to run inside a Slurm job, and SLURM_JOB_ID is not set\nhint: run it in a batch script or in a shell of salloc, or have the script written and submitted: topobench slurm submit -- COMMAND"
    )]
    Outside,
    #[error("cannot run {program}: {source}\nhint: Slurm's commands must be on PATH where topobench runs")]
    NoSlurm { program: &'static str, source: std::io::Error },
    #[error(
        "the nodes of job {job} are not known: {detail}\nhint: `scontrol show hostnames` must work where topobench runs"
    )]
    Nodes { job: String, detail: String },
}

impl Allocation {
    /// Of the job that this process belongs to; empty outside of one, which `of_process` told when the plan was made.
    pub(in crate::launch) fn id_of_process() -> String {
        std::env::var("SLURM_JOB_ID").unwrap_or_default()
    }

    /// Of the job that this process belongs to.
    ///
    /// # Errors
    /// Outside of a job, or where Slurm doesn't answer.
    pub fn of_process() -> Result<Allocation, AllocationError> {
        let id = set("SLURM_JOB_ID").ok_or(AllocationError::Outside)?;
        let nodes = |detail: &str| AllocationError::Nodes { job: id.clone(), detail: detail.to_string() };
        let list = set("SLURM_JOB_NODELIST").ok_or_else(|| nodes("SLURM_JOB_NODELIST is not set"))?;
        let asked = Command::new("scontrol").args(["show", "hostnames", &list]).output();
        let told = asked.map_err(|source| AllocationError::NoSlurm { program: "scontrol", source })?;
        if !told.status.success() {
            return Err(nodes(String::from_utf8_lossy(&told.stderr).trim()));
        }
        let names: Vec<String> = String::from_utf8_lossy(&told.stdout).split_whitespace().map(str::to_string).collect();
        match names.is_empty() {
            true => Err(nodes(&format!("`{list}` names none"))),
            false => Ok(Allocation { id, nodes: names }),
        }
    }
}
