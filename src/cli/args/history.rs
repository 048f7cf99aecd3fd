//! Flags of the commands that read runs.

use crate::cli::when;
use crate::outcome::RunStatus;
use crate::plan::options::SloOptions;
use crate::plan::typed::{number, whole_number};
use crate::units::RequestRate;
use chrono::{DateTime, Local};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Run directories, unique prefixes of their names, or `latest`; the first is what the others are compared with
    #[arg(value_name = "DIR")]
    pub dirs: Vec<String>,
    /// The `simple` run, beside --nixl-dir
    #[arg(long, value_name = "DIR", conflicts_with = "dirs", requires = "nixl_dir")]
    pub simple_dir: Option<String>,
    /// The `nixl` run
    #[arg(long, value_name = "DIR", conflicts_with = "dirs", requires = "simple_dir")]
    pub nixl_dir: Option<String>,
    #[command(flatten)]
    pub slo: SloOptions,
    /// Rate of the SLO-scale panel [default: the highest common rate at which the first arm meets the target]
    #[arg(long, value_name = "RATE")]
    pub scale_rate: Option<RequestRate>,
    /// GPUs of each arm, where the runs don't know
    #[arg(long, value_delimiter = ',', value_name = "N,N", value_parser = whole_number::<u32>)]
    pub gpus: Vec<u32>,
    /// Where the figures and the report go [default: RESULT_DIR/comparisons/<stamp>] [env: PLOT_OUTPUT_DIR]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Exit with 5 if any point's attainment lies below this, percent
    #[arg(long, value_name = "PERCENT", value_parser = number)]
    pub gate: Option<f64>,
    /// Also the requests as a table, requests.parquet: one row each, for pandas, polars and duckdb
    #[arg(long)]
    pub parquet: bool,
    /// The comparison as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlotArgs {
    /// A run directory, a unique prefix of its name, or `latest`
    #[arg(value_name = "RUN")]
    pub run: String,
    #[command(flatten)]
    pub slo: SloOptions,
    /// Where the figures go [default: the run's plots/] [env: PLOT_OUTPUT_DIR]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Also the requests as a table, requests.parquet: one row each, for pandas, polars and duckdb
    #[arg(long)]
    pub parquet: bool,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A run directory, a unique prefix of its name, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,
    #[command(flatten)]
    pub slo: SloOptions,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Only runs of this topology, e.g. nixl
    #[arg(long)]
    pub mode: Option<String>,
    /// Only runs whose model's name contains this
    #[arg(long)]
    pub model: Option<String>,
    /// Only runs of this dataset
    #[arg(long)]
    pub dataset: Option<String>,
    /// Only runs that ended so
    #[arg(long, value_enum)]
    pub status: Option<StatusName>,
    /// Only runs from this moment on: 2026-11-21, "2026-11-21 15:30", or an age such as 30d, 12h, 45m
    #[arg(long, value_name = "WHEN", value_parser = when::since)]
    pub since: Option<DateTime<Local>>,
    /// Only runs up to this moment; a day counts as a whole
    #[arg(long, value_name = "WHEN", value_parser = when::until)]
    pub until: Option<DateTime<Local>>,
    /// Also size, status and directory of each run
    #[arg(long, conflicts_with = "json")]
    pub long: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// Removing old runs. Only runs of this program that have ended, and nothing below `curated`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prune (asks first)")]
pub struct PruneArgs {
    /// Of the runs listed, remove all but the newest N
    #[arg(long, value_name = "N", value_parser = whole_number::<usize>, conflicts_with = "json")]
    pub keep: Option<usize>,
    /// Of the runs listed, remove those older than this: 30d, 12h, 45m, or a date
    #[arg(long, value_name = "AGE", value_parser = when::since, conflicts_with = "json")]
    pub older_than: Option<DateTime<Local>>,
    /// Remove without asking
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusName {
    Completed,
    Incomplete,
    Cancelled,
    Failed,
}

impl StatusName {
    pub fn status(self) -> RunStatus {
        match self {
            StatusName::Completed => RunStatus::Completed,
            StatusName::Incomplete => RunStatus::Incomplete,
            StatusName::Cancelled => RunStatus::Cancelled,
            StatusName::Failed => RunStatus::Failed,
        }
    }
}
