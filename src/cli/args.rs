//! The command line: `topobench COMMAND`, and the groups of flags that several commands share.

use crate::plan::OnFailure;
use crate::plan::options::{LoadOptions, SloOptions, WorkloadOptions};
use crate::plan::strategy::Order;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Which serves a model better on these GPUs: one tensor-parallel vLLM, or prefill and decode instances joined by NIXL?
///
/// Brings each topology up, proves that it is what it claims, sends both the same trace in an open loop, and says who
/// wins at which SLO, by how much and how surely.
#[derive(Debug, Parser)]
#[command(name = "topobench", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 good; 1 internal; 2 usage or invalid plan; 3 launch failed; 4 a point failed, is degraded or invalid \
(the data is still written and printed); 5 gate missed; 130 interrupted.\n\n\
Environment: TENSOR_PARALLEL_SIZE, GPU_MEMORY_UTILIZATION, NUM_PREFILL_INSTANCES, NUM_DECODE_INSTANCES, PREFILLER_TP_SIZE, DECODER_TP_SIZE, \
TTFT_SLO, TPOT_SLO, TARGET_ATTAINMENT, PLOT_OUTPUT_DIR, CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, VLLM_API_KEY or OPENAI_API_KEY, NO_COLOR. \
A flag wins over the environment, the environment over the topology file.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure one deployment that serves requests whole
    Simple(SimpleArgs),
    /// Measure prefill and decode instances joined by NIXL
    Nixl(NixlArgs),
    /// Measure any topology file
    Run(RunArgs),
    /// Measure several arms on the same trace, then compare them
    Ab(AbArgs),
    /// Compare runs: who meets the SLO up to which rate
    Compare(CompareArgs),
    /// Draw one run's figures again, with other SLOs if given
    Plot(PlotArgs),
    /// History of runs, newest first
    List(ListArgs),
    /// Everything recorded about one run
    Show(ShowArgs),
    /// What this machine can run, and what is missing
    Doctor(DoctorArgs),
    /// The routing proxy alone
    Proxy(ProxyArgs),
}

#[derive(Debug, Args)]
pub struct SimpleArgs {
    /// Tensor-parallel size: GPUs of one instance [default: 1] [env: TENSOR_PARALLEL_SIZE]
    #[arg(long, visible_alias = "tensor-parallel-size")]
    pub tp: Option<u32>,
    /// Instances; more than one are balanced by the proxy [default: 1]
    #[arg(long)]
    pub replicas: Option<u32>,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub struct NixlArgs {
    /// Prefill instances [default: 1] [env: NUM_PREFILL_INSTANCES]
    #[arg(long)]
    pub prefill: Option<u32>,
    /// Decode instances [default: 1] [env: NUM_DECODE_INSTANCES]
    #[arg(long)]
    pub decode: Option<u32>,
    /// GPUs of one prefill instance [default: 1] [env: PREFILLER_TP_SIZE]
    #[arg(long)]
    pub prefill_tp: Option<u32>,
    /// GPUs of one decode instance [default: 1] [env: DECODER_TP_SIZE]
    #[arg(long)]
    pub decode_tp: Option<u32>,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A topology file (.toml or .yaml), or a topology's name
    #[arg(required_unless_present = "resume")]
    pub topology: Option<String>,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub struct AbArgs {
    /// name[:key=value,...] or a file, e.g. simple:tp=2 nixl:prefill=1,decode=1; an arm without sizes takes as many GPUs as the largest
    #[arg(required = true, num_args = 2.., value_name = "ARM")]
    pub arms: Vec<String>,
    /// Order of the arms' sweeps [default: all up and interleaved on disjoint GPUs, else ABBA]
    #[arg(long, value_enum)]
    pub order: Option<Order>,
    /// Directory of the comparison [default: RESULT_DIR/comparisons/<stamp>] [env: PLOT_OUTPUT_DIR]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Rate of the SLO-scale panel [default: the highest common rate at which the first arm meets the target]
    #[arg(long, value_name = "RATE")]
    pub scale_rate: Option<crate::units::RequestRate>,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

/// What every measuring command takes.
#[derive(Debug, Args)]
pub struct SweepArgs {
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
pub struct AttachArgs {
    /// Base URL of a server that somebody else runs; nothing is started
    #[arg(long, value_name = "URL", conflicts_with_all = ["prefill_url", "decode_url"])]
    pub attach: Option<String>,
    /// Prefill engines that somebody else runs; our proxy goes in front
    #[arg(long, value_name = "URL", num_args = 1.., requires = "decode_url")]
    pub prefill_url: Vec<String>,
    /// Decode engines that somebody else runs
    #[arg(long, value_name = "URL", num_args = 1.., requires = "prefill_url")]
    pub decode_url: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunFlags {
    /// Engine: loads topologies/<name>-<ENGINE>.toml (sim: the simulated engine, cpu: vLLM without GPUs)
    #[arg(long, default_value = crate::plan::topology_file::DEFAULT_ENGINE)]
    pub engine: String,
    /// One more argument of `vllm serve`; repeats
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub engine_arg: Vec<String>,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Exit with 5 if any point's attainment lies below this, percent
    #[arg(long, value_name = "PERCENT")]
    pub gate: Option<f64>,
    /// After an engine's death
    #[arg(long, value_enum, default_value = "restart")]
    pub on_failure: OnFailure,
    /// Copied into the result files; repeats or takes several words
    #[arg(long, value_name = "K=V", num_args = 1..)]
    pub metadata: Vec<String>,
    /// Metrics of the console summary
    #[arg(long, value_delimiter = ',', default_value = "ttft,tpot,itl,e2el", value_parser = ["ttft", "tpot", "itl", "e2el"])]
    pub percentile_metrics: Vec<String>,
    /// Their percentiles
    #[arg(long, value_delimiter = ',', default_value = "50,90,99", value_parser = percentile)]
    pub metric_percentiles: Vec<f64>,
    /// Drive even a single replica through the proxy, to measure the proxy's own cost
    #[arg(long)]
    pub through_proxy: bool,
    /// Name of the run's directory and label, when attached
    #[arg(long)]
    pub name: Option<String>,
    /// Seconds without progress in its log after which a starting engine counts as stuck
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    pub ready_timeout: f64,
    /// Seconds without a first token after which a request counts as stalled
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    pub first_token_timeout: f64,
    /// Seconds without a byte after which a stream counts as stalled
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    pub idle_timeout: f64,
    /// Seconds after the last send at which requests still running count as unfinished
    #[arg(long, default_value_t = 180.0, value_name = "SECONDS")]
    pub drain_timeout: f64,
    /// Print every command, environment, port and GPU and the schedule's summary, and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Machine-readable: results as JSON on stdout, progress as JSON lines on stderr
    #[arg(long)]
    pub json: bool,
    /// Go on with an interrupted run: finished points are kept, the unfinished one is measured again
    #[arg(long, value_name = "RUN")]
    pub resume: Option<String>,
}

fn percentile(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|p| (0.0..=100.0).contains(p))
        .ok_or_else(|| format!("`{text}` is no percentile from 0 to 100"))
}

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
    pub scale_rate: Option<crate::units::RequestRate>,
    /// GPUs of each arm, where the runs don't know
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub gpus: Vec<u32>,
    /// Where the figures and the report go [default: RESULT_DIR/comparisons/<stamp>] [env: PLOT_OUTPUT_DIR]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
    /// Exit with 5 if any point's attainment lies below this, percent
    #[arg(long, value_name = "PERCENT")]
    pub gate: Option<f64>,
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
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub result_dir: PathBuf,
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
    /// Only runs that ended so: completed, incomplete, cancelled, failed
    #[arg(long)]
    pub status: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
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
pub struct DoctorArgs {
    /// Skip measuring what this machine's client can carry, which takes about ten seconds
    #[arg(long)]
    pub quick: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Prefill engines
    #[arg(long, value_name = "URL", num_args = 1.., requires = "decode", conflicts_with = "backend")]
    pub prefill: Vec<String>,
    /// Decode engines
    #[arg(long, value_name = "URL", num_args = 1.., requires = "prefill", conflicts_with = "backend")]
    pub decode: Vec<String>,
    /// Engines that serve requests whole
    #[arg(long, value_name = "URL", num_args = 1.., required_unless_present = "prefill")]
    pub backend: Vec<String>,
    /// Address to listen on; loopback unless told
    #[arg(long, default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Choice of the prefill engine
    #[arg(long, default_value = "least-tokens")]
    pub prefill_policy: String,
    /// Choice of the decode engine, or of the replica
    #[arg(long, default_value = "least-requests")]
    pub decode_policy: String,
    /// Requests in flight at most; more are answered with 429
    #[arg(long)]
    pub max_in_flight: Option<usize>,
}
