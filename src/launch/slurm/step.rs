//! The command line of a step.

use crate::launch::program;
use std::ffi::OsStr;
use std::path::Path;
use tokio::process::Command;

/// One task on one node of a job.
pub(super) struct SlurmStep<'a> {
    pub(super) job: &'a str,
    pub(super) node: &'a str,
    /// As `squeue --steps` shows it.
    pub(super) name: &'a str,
}

/// Variables of Slurm that are no options of srun. All others are: what somebody asked for a whole batch script
/// (`SLURM_GPUS_PER_TASK`, `SLURM_CPUS_PER_TASK` ..) would cut a step down to a share of its node.
const NO_OPTIONS: [&str; 8] = [
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_JWT",
    "SLURM_JOB_ID",
    "SLURM_JOBID",
    "SLURM_CLUSTERS",
    "SLURM_CLUSTER_NAME",
    "SLURM_WORKING_CLUSTER",
];

/// Runs `program` with one argument as this step. Steps overlap, so that each has all that the job has on its node.
pub(super) fn command(step: &SlurmStep<'_>, program: &Path, arg: &str) -> Command {
    let mut srun = Command::new("srun");
    srun.args(options(step)).arg(program::elsewhere(program)).arg(arg);
    for (name, _) in std::env::vars_os() {
        if is_option(&name) {
            srun.env_remove(name);
        }
    }
    // Ctrl-C is topobench's to hear.
    srun.process_group(0);
    srun
}

fn options(step: &SlurmStep<'_>) -> Vec<String> {
    let same = ["--overlap", "--nodes=1", "--ntasks=1", "--cpu-bind=none", "--export=ALL", "--kill-on-bad-exit=0"];
    let own = [("jobid", step.job), ("nodelist", step.node), ("job-name", step.name)];
    let own = own.map(|(option, value)| format!("--{option}={value}"));
    same.into_iter().map(str::to_string).chain(own).collect()
}

fn is_option(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    (name.starts_with("SLURM_") || name.starts_with("SRUN_")) && !NO_OPTIONS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_all_of_its_node() {
        let step = SlurmStep { job: "12", node: "gpu-3", name: "decode-0" };
        insta::assert_snapshot!(options(&step).join(" "), @"--overlap --nodes=1 --ntasks=1 --cpu-bind=none --export=ALL --kill-on-bad-exit=0 --jobid=12 --nodelist=gpu-3 --job-name=decode-0");
        for (name, option) in [("SLURM_GPUS_PER_TASK", true), ("SRUN_CPUS_PER_TASK", true), ("SLURM_CONF", false)] {
            assert_eq!(is_option(OsStr::new(name)), option, "{name}");
        }
        assert!(!is_option(OsStr::new("PATH")));
    }
}
