//! What `topobench best` takes.

use crate::cli::launcher::Launcher;
use crate::plan::candidates::{LayoutKind, Tune};
use crate::plan::options::{SloOptions, WorkloadOptions};
use crate::plan::typed::{number, time, whole_number};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct BestArgs {
    /// GPUs to spend: every candidate takes all of them
    #[arg(long, value_name = "N", required_unless_present_any = ["resume", "judge"], value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gpus: Option<u32>,
    #[command(flatten)]
    pub workload: WorkloadOptions,
    #[command(flatten)]
    pub slo: SloOptions,
    #[command(flatten)]
    pub race: RaceFlags,
    /// Further arguments of `vllm serve`, for every candidate
    #[arg(last = true, value_name = "ARGS")]
    pub engine_tail: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Race")]
pub(crate) struct RaceFlags {
    /// Race for at most this long, counting the time in which any engine is up: 60m, 90s, 2h
    #[arg(long, value_name = "TIME", default_value = "60m", value_parser = time)]
    pub budget: Duration,
    /// Kinds of deployments to try
    #[arg(long, value_enum, value_delimiter = ',', default_value = "simple,nixl")]
    pub shapes: Vec<LayoutKind>,
    /// Settings to try beside the engine's defaults: a file like topologies/tuning.toml, or `off` [default: a curated list]
    #[arg(long, value_name = "FILE|off")]
    pub tune: Option<Tune>,
    /// Also try settings under which answers may differ from the defaults'
    #[arg(long)]
    pub allow_other_answers: bool,
    /// GPU whose model predicts; `enginesim serve --help` lists them [default: by this machine's GPUs]
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Seconds that a point lasts [default: 30, or the topology file's]
    #[arg(long, value_name = "SECONDS", value_parser = number)]
    pub point: Option<f64>,
    /// How many of these GPUs this many requests a second need, and in which shape: an extrapolation
    #[arg(long, value_name = "RATE", value_parser = number)]
    pub need: Option<f64>,
    /// Engine: loads topologies/<name>-<ENGINE>.toml (sim: the simulated engine)
    #[arg(long, default_value = crate::plan::topology_file::DEFAULT_ENGINE)]
    pub engine: String,
    /// Where engines are started: on this machine, or as steps of the Slurm job that topobench runs in
    #[arg(long, value_enum, default_value = "local")]
    pub launcher: Launcher,
    /// One more argument of `vllm serve`, for every candidate; repeats
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub engine_arg: Vec<String>,
    /// Of arrivals, lengths and prompts: the same seed gives the same trace
    #[arg(long, default_value_t = 0, value_parser = whole_number::<u64>)]
    pub seed: u64,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Seconds without progress in its log after which a starting engine counts as stuck
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS", value_parser = number)]
    pub ready_timeout: f64,
    /// Print the candidates, what they are predicted to do, launches, time and GPU-minutes, and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Machine-readable: the answer as JSON on stdout, progress as JSON lines on stderr
    #[arg(long)]
    pub json: bool,
    /// Show the race on a page while it is measured, on this port of 127.0.0.1 [default: a free one]; its address is printed once
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0")]
    pub live: Option<u16>,
    /// Continue an interrupted race: its directory, a unique prefix of its name, or `latest`
    #[arg(long, value_name = "RACE")]
    pub resume: Option<String>,
    /// Answer again from a race's runs, with another SLO or target if given; measures nothing
    #[arg(long, value_name = "RACE", conflicts_with_all = ["resume", "dry_run"])]
    pub judge: Option<String>,
}
