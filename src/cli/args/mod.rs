//! The command line: `topobench COMMAND`, and what each command takes.

mod best;
mod help;
mod history;
mod predict;
mod sizes;
mod slurm;
mod sweep;

pub(super) use best::BestArgs;
pub(super) use history::{AggregateArgs, CompareArgs, ListArgs, LiveArgs, PlotArgs, PruneArgs, ShowArgs, StatusName};
pub(super) use predict::{CalibrateArgs, PredictArgs};
pub(super) use sizes::SizeArgs;
pub(super) use slurm::{SlurmArgs, SlurmCommand, SubmitArgs};
pub(super) use sweep::{AttachArgs, SweepArgs};

use crate::plan::strategy::Order;
use crate::plan::typed::whole_number;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// What `--version` tells; `-V` leaves out the commit and the features. build.rs finds them.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("TOPOBENCH_BUILD"), ")\nfeatures: ", env!("TOPOBENCH_FEATURES"));

/// Which serves a model better on these GPUs: one tensor-parallel vLLM, or prefill and decode instances joined by NIXL?
///
/// Brings each topology up, proves that it is what it claims, sends both the same trace in an open loop, and says who
/// wins at which SLO, by how much and how surely.
#[derive(Debug, Parser)]
#[command(name = "topobench", version, long_version = VERSION, propagate_version = true, after_help = help::PROGRAM)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure one deployment that serves requests whole
    #[command(after_help = help::SIMPLE)]
    Simple(SimpleArgs),
    /// Measure prefill and decode instances joined by NIXL
    #[command(after_help = help::NIXL)]
    Nixl(NixlArgs),
    /// Measure any topology file
    #[command(after_help = help::RUN)]
    Run(RunArgs),
    /// Find the deployment of these GPUs that carries the most at an SLO, and say how to run it
    #[command(after_help = help::BEST)]
    Best(BestArgs),
    /// Measure several arms on the same trace, then compare them
    #[command(after_help = help::AB)]
    Ab(AbArgs),
    /// Measure a grid of lengths and loads; of two arms, say where which of them wins
    #[command(after_help = help::AB)]
    Sweep(GridArgs),
    /// Measure on the nodes of a Slurm cluster
    Slurm(SlurmArgs),
    /// A command line of `vllm bench serve`, carried out on the server that it names
    #[command(after_help = help::SIMPLE)]
    Bench(BenchArgs),
    /// Presets of grids and workloads, for --preset
    Presets(PresetsArgs),
    /// Compare runs: who meets the SLO up to which rate
    #[command(after_help = help::COMPARE)]
    Compare(CompareArgs),
    /// Draw one run's figures again, with other SLOs if given
    #[command(after_help = help::PLOT)]
    Plot(PlotArgs),
    /// Points of many runs, ours or others', as one table
    #[command(after_help = help::COMPARE)]
    Aggregate(AggregateArgs),
    /// History of runs, newest first
    #[command(after_help = help::LIST)]
    List(ListArgs),
    /// Everything recorded about one run
    #[command(after_help = help::SHOW)]
    Show(ShowArgs),
    /// Show a run of another process, or of the past, as a page that grows with it
    #[command(after_help = help::LIVE)]
    Live(LiveArgs),
    /// What this machine can run, and what is missing
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// What a model of the engines expects of the ways to spend GPUs; measures nothing
    #[command(after_help = help::COMPARE)]
    Predict(PredictArgs),
    /// Fit that model to measured runs, and check it against others
    #[command(after_help = help::COMPARE)]
    Calibrate(CalibrateArgs),
    /// The routing proxy alone
    #[command(after_help = help::PROXY)]
    Proxy(ProxyArgs),
    /// A shell's completions, e.g. `topobench completions bash > /etc/bash_completion.d/topobench`
    Completions(CompletionsArgs),
    /// Write manual pages, one a command, e.g. `topobench man ~/.local/share/man/man1`
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(super) struct SimpleArgs {
    #[command(flatten)]
    pub engine: SizeArgs,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub(super) struct GridArgs {
    /// The grid, a YAML file: input_len, output_len, concurrency, prompt, request_rate (lists), input_output and concurrency_prompts (pairs), model, base_url, tokenizer
    #[arg(value_name = "COMBOS.YAML")]
    pub combos: Option<PathBuf>,
    /// Deployments to measure, as `ab` takes them [default: simple]
    #[arg(long, num_args = 1.., value_name = "ARM", conflicts_with_all = ["tp", "dp", "pp", "ep", "replicas"])]
    pub arms: Vec<String>,
    #[command(flatten)]
    pub engine: SizeArgs,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Flags of `vllm bench serve`: --backend, --base-url, --model, --num-prompts, --save-result ..; others are those of `topobench simple`
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PresetsArgs {
    /// Show one as the YAML that it is
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct NixlArgs {
    /// Prefill instances [default: 1] [env: NUM_PREFILL_INSTANCES]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub prefill: Option<u32>,
    /// Decode instances [default: 1] [env: NUM_DECODE_INSTANCES]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub decode: Option<u32>,
    /// Tensor-parallel size of a prefill instance [default: 1] [env: PREFILLER_TP_SIZE]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub prefill_tp: Option<u32>,
    /// Data-parallel size of a prefill instance: ranks with queues of their own [default: 1]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub prefill_dp: Option<u32>,
    /// Pipeline-parallel size of a prefill instance [default: 1]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub prefill_pp: Option<u32>,
    /// Whole experts on each GPU of a prefill instance
    #[arg(long)]
    pub prefill_ep: bool,
    /// Tensor-parallel size of a decode instance [default: 1] [env: DECODER_TP_SIZE]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub decode_tp: Option<u32>,
    /// Data-parallel size of a decode instance: ranks with queues of their own [default: 1]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub decode_dp: Option<u32>,
    /// Pipeline-parallel size of a decode instance [default: 1]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub decode_pp: Option<u32>,
    /// Whole experts on each GPU of a decode instance
    #[arg(long)]
    pub decode_ep: bool,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A topology file (.toml or .yaml), or a topology's name
    #[arg(required_unless_present_any = ["resume", "attach", "prefill_url"])]
    pub topology: Option<String>,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub(super) struct AbArgs {
    /// name[:key=value,...] or a file, e.g. simple:tp=2 nixl:prefill=1,decode=1; an arm without sizes takes as many GPUs as the largest
    #[arg(required_unless_present = "resume", value_name = "ARM")]
    pub arms: Vec<String>,
    /// Order of the arms' sweeps [default: all up and interleaved on disjoint GPUs, else ABBA]
    #[arg(long, value_enum)]
    pub order: Option<Order>,
    /// Directory of the comparison [default: RESULT_DIR/comparisons/<stamp>] [env: PLOT_OUTPUT_DIR]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Rate of the SLO-scale panel [default: the highest common rate at which any arm meets the target]
    #[arg(long, value_name = "RATE")]
    pub scale_rate: Option<crate::units::RequestRate>,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Skip measuring what this machine's client can carry, which takes about ten seconds
    #[arg(long)]
    pub quick: bool,
    /// Measure the links between GPUs, and a hand-over of KV between a prefill and a decode instance started for it
    #[arg(long)]
    pub kv: bool,
    /// Engine of these instances: vllm, cpu or sim
    #[arg(long, default_value = "vllm", requires = "kv")]
    pub engine: String,
    /// Their model [default: the topology file's]
    #[arg(long, requires = "kv")]
    pub model: Option<String>,
    /// Tokens of each prompt that is handed over
    #[arg(long, default_value = "1024", requires = "kv", value_parser = whole_number::<u32>)]
    pub kv_tokens: u32,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ProxyArgs {
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
    /// Don't check the certificates of engines behind https
    #[arg(long)]
    pub insecure: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Shell to complete for
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Directory for the pages; made if it isn't there
    pub dir: PathBuf,
}
