//! Flags of the commands that read runs.

use crate::cli::when;
use crate::outcome::RunStatus;
use crate::plan::options::SloOptions;
use crate::plan::typed::{number, whole_number};
use crate::report::aggregate::Ratings;
use crate::units::RequestRate;
use chrono::{DateTime, Local};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
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
    /// Rate of the SLO-scale panel [default: the highest common rate at which any arm meets the target]
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
pub(crate) struct AggregateArgs {
    /// Runs, or directories with runs below them; also of `vllm bench serve` and `vllm bench sweep`
    #[arg(value_name = "DIR", required_unless_present = "columns")]
    pub dirs: Vec<String>,
    /// The table [default: aggregate_results.csv]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Tell what each column is
    #[arg(long)]
    pub columns: bool,
    #[command(flatten)]
    pub slo: SloOptions,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
}

/// Figures and reports by name, of one run, of a tree of runs, or of a table.
#[derive(Debug, Args)]
#[command(next_help_heading = "Figures by name")]
pub(crate) struct NamedFigures {
    /// Requests and tokens a second over the load
    #[arg(long)]
    pub throughput: bool,
    /// TTFT, TPOT and whole requests over the load
    #[arg(long)]
    pub latency: bool,
    /// A page that draws any column over any other
    #[arg(long)]
    pub interactive: bool,
    /// The performance report: report.html of a run, and performance_report.md
    #[arg(long)]
    pub report: bool,
    /// All four
    #[arg(long)]
    pub all: bool,
    /// Draw a table of `topobench aggregate` instead of a run
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub csv: Option<PathBuf>,
    /// Rate points in the report by mean TTFT/TPOT, ms: bounds of excellent, good and acceptable
    #[arg(long, value_name = "T/T,T/T,T/T", num_args = 0..=1, default_missing_value = "100/20,200/40,500/80")]
    pub ratings: Option<Ratings>,
}

impl NamedFigures {
    pub(crate) fn any(&self) -> bool {
        self.throughput || self.latency || self.interactive || self.report || self.all || self.csv.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// A run directory, a unique prefix of its name, or `latest`; with a figure's name also a directory of runs
    #[arg(value_name = "RUN", required_unless_present = "csv")]
    pub run: Option<String>,
    #[command(flatten)]
    pub named: NamedFigures,
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
pub(crate) struct ShowArgs {
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
pub(crate) struct LiveArgs {
    /// A run directory, that of a race or of a grid, a unique prefix of a name, or `latest`; with a run those of its session
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,
    /// Port of the page on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
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
pub(crate) struct PruneArgs {
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
pub(crate) enum StatusName {
    Completed,
    Incomplete,
    Cancelled,
    Failed,
}

impl StatusName {
    pub(crate) fn status(self) -> RunStatus {
        match self {
            StatusName::Completed => RunStatus::Completed,
            StatusName::Incomplete => RunStatus::Incomplete,
            StatusName::Cancelled => RunStatus::Cancelled,
            StatusName::Failed => RunStatus::Failed,
        }
    }
}
