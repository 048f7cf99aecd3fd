//! What `slurm` takes.

use crate::plan::typed::whole_number;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(in crate::cli) struct SlurmArgs {
    #[command(subcommand)]
    pub command: SlurmCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SlurmCommand {
    /// Write the batch script of a command that measures, and submit it with sbatch
    Submit(SubmitArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SubmitArgs {
    /// Nodes of the job
    #[arg(long, default_value = "1", value_parser = whole_number::<u32>)]
    pub nodes: u32,
    /// GPUs of each node; 0 asks for none
    #[arg(long, default_value_t = 0)]
    pub gpus_per_node: u32,
    /// One more option of sbatch, e.g. --sbatch time=2:00:00 --sbatch partition=gpu --sbatch exclusive; repeats
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Where the script and the job's output are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Print the script and submit nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The command with its flags, e.g. -- nixl --prefill 2 --decode 2
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
