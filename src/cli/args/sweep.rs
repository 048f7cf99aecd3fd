//! Flags of every measuring command, beside those that describe the measurement itself (`plan::options`).

use crate::cli::launcher::Launcher;
use crate::plan::OnFailure;
use crate::plan::access::HeaderWord;
use crate::plan::attach_gpus::AttachGpus;
use crate::plan::metrics_url::MetricsUrl;
use crate::plan::options::{LoadOptions, SloOptions, WorkloadOptions};
use crate::plan::typed::{KeyValue, number, percentile};
use clap::Args;
use std::path::PathBuf;

/// What every measuring command takes.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub workload: WorkloadOptions,
    #[command(flatten)]
    pub load: LoadOptions,
    #[command(flatten)]
    pub slo: SloOptions,
    #[command(flatten)]
    pub attach: AttachArgs,
    #[command(flatten)]
    pub run: RunFlags,
    /// Further arguments of `vllm serve`
    #[arg(last = true, value_name = "ARGS")]
    pub engine_tail: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Attach to running servers")]
pub(crate) struct AttachArgs {
    /// Base URL of a server that somebody else runs; nothing is started
    #[arg(long, value_name = "URL", conflicts_with_all = ["prefill_url", "decode_url"])]
    pub attach: Option<String>,
    /// Prefill engines that somebody else runs; our proxy goes in front
    #[arg(long, value_name = "URL", num_args = 1.., requires = "decode_url")]
    pub prefill_url: Vec<String>,
    /// Decode engines that somebody else runs
    #[arg(long, value_name = "URL", num_args = 1.., requires = "prefill_url")]
    pub decode_url: Vec<String>,
    /// GPUs that the attached servers use together, for rates per GPU, or prefill=N,decode=N [default: unknown, rates stay per deployment]
    #[arg(long, value_name = "N")]
    pub attach_gpus: Option<AttachGpus>,
    /// Where the counters of engines behind a front are read; repeats. ROLE is prefill or decode; URL a page of metrics, or
    /// prometheus+http://HOST:PORT; both may end in {label="value",..} as PromQL has it
    #[arg(long, value_name = "[ROLE=]URL")]
    pub metrics_url: Vec<MetricsUrl>,
    /// Seconds until what engines did can be read there [default: 0; of Ray's pages 10]. Prometheus is asked until it has scraped since
    #[arg(long, value_name = "SECONDS", value_parser = number, requires = "metrics_url")]
    pub metrics_lag: Option<f64>,
    /// Header of every request to them; repeats. Secrets are better kept in TOPOBENCH_HEADERS, one NAME=VALUE a line
    #[arg(long, value_name = "NAME=VALUE")]
    pub header: Vec<HeaderWord>,
    /// Do not check their TLS certificates; the results say so
    #[arg(long)]
    pub insecure: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunFlags {
    /// Engine: loads topologies/<name>-<ENGINE>.toml (sim: the simulated engine, cpu: vLLM without GPUs)
    #[arg(long, default_value = crate::plan::topology_file::DEFAULT_ENGINE)]
    pub engine: String,
    /// Lengths, loads and SLO of a preset, unless a flag names them; `topobench presets` lists them
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// One more argument of `vllm serve`; repeats
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub engine_arg: Vec<String>,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Exit with 5 if any point's attainment lies below this, percent
    #[arg(long, value_name = "PERCENT", value_parser = number)]
    pub gate: Option<f64>,
    /// After an engine died or hung in mid-sweep: end the run, bring the fleet up again each time, or once and then end
    #[arg(long, value_enum, default_value = "restart")]
    pub on_failure: OnFailure,
    /// Run the engines' torch profiler at every point: traces go into the run's profile/, and the points are not judged
    #[arg(long)]
    pub profile: bool,
    /// Copied into the result files; repeats or takes several words
    #[arg(long, value_name = "K=V", num_args = 1..)]
    pub metadata: Vec<KeyValue>,
    /// Metrics of the console summary
    #[arg(long, value_delimiter = ',', default_value = "ttft,tpot,itl,e2el", value_parser = ["ttft", "tpot", "itl", "e2el"])]
    pub percentile_metrics: Vec<String>,
    /// Their percentiles
    #[arg(long, value_delimiter = ',', default_value = "50,90,99", value_parser = percentile)]
    pub metric_percentiles: Vec<f64>,
    /// Where engines are started: on this machine, or as steps of the Slurm job that topobench runs in
    #[arg(long, value_enum, default_value = "local", conflicts_with_all = ["attach", "prefill_url", "decode_url"])]
    pub launcher: Launcher,
    /// Drive even a single replica through the proxy, to measure the proxy's own cost
    #[arg(long)]
    pub through_proxy: bool,
    /// Name of the run's directory and label [default: the topology's]
    #[arg(long)]
    pub name: Option<String>,
    /// Seconds without progress in its log after which a starting engine counts as stuck
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS", value_parser = number)]
    pub ready_timeout: f64,
    /// Seconds without a first token after which a request counts as stalled
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS", value_parser = number)]
    pub first_token_timeout: f64,
    /// Seconds without a byte after which a stream counts as stalled
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS", value_parser = number)]
    pub idle_timeout: f64,
    /// Seconds after the last send at which requests still running count as unfinished
    #[arg(long, default_value_t = 180.0, value_name = "SECONDS", value_parser = number)]
    pub drain_timeout: f64,
    /// Print every command, environment, port and GPU and the schedule's summary, and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Machine-readable: results as JSON on stdout, progress as JSON lines on stderr
    #[arg(long)]
    pub json: bool,
    /// Show the run on a page while it is measured, on this port of 127.0.0.1 [default: a free one]; its address is printed once
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0")]
    pub live: Option<u16>,
    /// Continue an interrupted run (the latest, if none is named): finished points are kept, the unfinished one is measured again
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "latest")]
    pub resume: Option<String>,
}
