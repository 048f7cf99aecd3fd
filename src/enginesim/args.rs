//! The command line: the part of `vllm serve`'s argv that harnesses use, and `--sim-*` of our own.
//!
//! Flags that have no meaning without a GPU (`--dtype`, `--load-format` ...) are accepted and
//! logged among the non-default arguments, as vLLM logs them. Anything else unknown exits 2 with
//! argparse's words, so that a typo in a topology fails here as it would with vLLM.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};
use serde::Deserialize;

use crate::enginesim::faults::Fault;

/// The vLLM whose behaviour is simulated, told apart from it by its local part, as PEP 440 has it.
const VERSION: &str = concat!("0.32.0+enginesim.", env!("CARGO_PKG_VERSION"), " (simulated vLLM)");

#[derive(Debug, Parser)]
#[command(name = "enginesim", version = VERSION, about = "A simulated vLLM: its command line, HTTP surface, KV hand-off and timing, without a GPU")]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve a simulated model on vLLM's HTTP surface.
    Serve(Box<ServeArgs>),
    /// Sleep for ever: the stray process that some faults leave behind.
    #[command(hide = true)]
    Linger {
        /// Leave the parent's session first.
        #[arg(long)]
        own_session: bool,
    },
}

#[derive(Debug, Args)]
#[command(args_override_self = true, after_long_help = crate::enginesim::faults::HELP)]
pub(super) struct ServeArgs {
    /// Model preset, Hugging Face id or path whose last part names a preset.
    #[arg(value_name = "MODEL")]
    pub model_tag: Option<String>,
    /// The same, as a flag.
    #[arg(long)]
    pub model: Option<String>,
    #[arg(long, default_value = "0.0.0.0")]
    pub host: String,
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    #[arg(long, default_value_t = 1)]
    pub tensor_parallel_size: u32,
    /// Ranks with queues of their own behind the one API server.
    #[arg(long, default_value_t = 1)]
    pub data_parallel_size: u32,
    #[arg(long, default_value_t = 1)]
    pub pipeline_parallel_size: u32,
    #[command(flatten)]
    pub nodes: NodeArgs,
    #[arg(long)]
    pub enable_expert_parallel: bool,
    /// Share of each GPU's memory for weights and KV cache, 0 to 1.
    #[arg(long, default_value_t = 0.92)]
    pub gpu_memory_utilization: f64,
    #[arg(long)]
    pub max_model_len: Option<u32>,
    #[arg(long)]
    pub max_num_seqs: Option<u32>,
    #[arg(long)]
    pub max_num_batched_tokens: Option<u32>,
    #[arg(long, num_args = 1..)]
    pub served_model_name: Vec<String>,
    /// KV cache size of each GPU in bytes, instead of what the utilisation leaves.
    #[arg(long)]
    pub kv_cache_memory_bytes: Option<u64>,
    #[arg(long, default_value_t = 16)]
    pub block_size: u32,
    #[arg(long)]
    pub seed: Option<u64>,
    #[arg(long, overrides_with = "no_enable_prefix_caching")]
    pub enable_prefix_caching: bool,
    #[arg(long, overrides_with = "enable_prefix_caching")]
    pub no_enable_prefix_caching: bool,
    /// KV connector as JSON, as in vLLM.
    #[arg(long, value_parser = parse_kv_config)]
    pub kv_transfer_config: Option<KvTransferConfig>,
    /// The profiler as JSON, as in vLLM since 0.13.
    #[arg(long, value_parser = parse_profiler_config)]
    pub profiler_config: Option<ProfilerConfig>,
    /// Keys that clients must present.
    #[arg(long, num_args = 1.., env = "VLLM_API_KEY", hide_env_values = true)]
    pub api_key: Vec<String>,
    #[command(flatten)]
    pub inert: InertArgs,
    #[command(flatten)]
    pub sim: SimArgs,
}

/// Where several nodes have a part of one engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engines over several nodes")]
pub(super) struct NodeArgs {
    /// Nodes that ranks lie over.
    #[arg(long, default_value_t = 1)]
    pub nnodes: u32,
    #[arg(long, default_value_t = 0)]
    pub node_rank: u32,
    #[arg(long, default_value = "127.0.0.1")]
    pub master_addr: String,
    #[arg(long, default_value_t = 29501)]
    pub master_port: u16,
    /// Data-parallel ranks on this node.
    #[arg(long)]
    pub data_parallel_size_local: Option<u32>,
    #[arg(long)]
    pub data_parallel_start_rank: Option<u32>,
    /// The first node's.
    #[arg(long)]
    pub data_parallel_address: Option<String>,
    #[arg(long, default_value_t = 29550)]
    pub data_parallel_rpc_port: u16,
    /// Answer no requests: work for the first node.
    #[arg(long)]
    pub headless: bool,
}

/// vLLM's flags that change nothing in a simulation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted for vLLM's sake, without effect")]
pub(super) struct InertArgs {
    #[arg(long)]
    pub dtype: Option<String>,
    #[arg(long)]
    pub load_format: Option<String>,
    #[arg(long)]
    pub api_server_count: Option<u32>,
    #[arg(long)]
    pub tokenizer: Option<String>,
    #[arg(long)]
    pub kv_cache_dtype: Option<String>,
    #[arg(long)]
    pub distributed_executor_backend: Option<String>,
    #[arg(long)]
    pub download_dir: Option<PathBuf>,
    #[arg(long)]
    pub generation_config: Option<String>,
    #[arg(long)]
    pub uvicorn_log_level: Option<String>,
    #[arg(long)]
    pub attention_backend: Option<String>,
    #[arg(long)]
    pub shutdown_timeout: Option<f64>,
    #[arg(long, action = ArgAction::SetTrue)]
    pub enforce_eager: bool,
    #[arg(long)]
    pub trust_remote_code: bool,
    #[arg(long)]
    pub enable_chunked_prefill: bool,
    #[arg(long)]
    pub async_scheduling: bool,
    #[arg(long)]
    pub no_async_scheduling: bool,
    #[arg(long)]
    pub enable_log_requests: bool,
    #[arg(long)]
    pub no_enable_log_requests: bool,
    #[arg(long)]
    pub disable_log_requests: bool,
    #[arg(long)]
    pub disable_log_stats: bool,
    #[arg(long)]
    pub disable_uvicorn_access_log: bool,
    #[arg(long)]
    pub enable_per_request_metrics: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Simulation")]
pub(super) struct SimArgs {
    /// GPU to simulate: h100, a100 or l4.
    #[arg(long, default_value = "h100")]
    pub sim_gpu: String,
    /// Seconds from start to ready.
    #[arg(long, default_value_t = 0.2)]
    pub sim_start_delay: f64,
    /// Milliseconds that the first contact between a decode and a prefill instance takes.
    #[arg(long, default_value_t = 500)]
    pub sim_handshake_ms: u64,
    /// How many times faster than the real thing every simulated duration passes.
    #[arg(long, default_value_t = 1.0)]
    pub sim_speed: f64,
    /// Misbehave: KIND[=ARG], repeatable; see below.
    #[arg(long, value_parser = Fault::parse)]
    pub sim_fault: Vec<Fault>,
}

/// What to do when the KV of a request cannot be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LoadFailurePolicy {
    /// Answer with an error.
    #[default]
    Fail,
    /// Compute the prompt locally.
    Recompute,
}

/// Side of the hand-off that an instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "these are the names on vLLM's command line")]
pub(super) enum KvRole {
    KvProducer,
    KvConsumer,
    KvBoth,
}

/// `--kv-transfer-config`; keys that a simulation has no use for are ignored.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct KvTransferConfig {
    pub kv_connector: String,
    pub kv_role: KvRole,
    pub engine_id: Option<String>,
    #[serde(default)]
    pub kv_load_failure_policy: LoadFailurePolicy,
    #[serde(default)]
    pub kv_connector_extra_config: KvExtraConfig,
}

#[derive(Debug, Clone, Deserialize, Default)]
pub(super) struct KvExtraConfig {
    /// Seconds that a prefill instance keeps blocks for a decode instance.
    pub kv_lease_duration: Option<f64>,
    /// Those inside a `MultiConnector`.
    #[serde(default)]
    connectors: Vec<InnerConnector>,
}

#[derive(Debug, Clone, Deserialize)]
struct InnerConnector {
    kv_connector: String,
}

/// Which side moves the KV. vLLM's two NIXL connectors never shake hands with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TransferMode {
    Pull,
    Push,
}

impl KvTransferConfig {
    /// `None` for connectors that are not simulated.
    fn known_mode(&self) -> Option<TransferMode> {
        let of = |connector: &str| match connector {
            "NixlConnector" | "NixlPullConnector" => Some(TransferMode::Pull),
            "NixlPushConnector" => Some(TransferMode::Push),
            _ => None,
        };
        match self.kv_connector.as_str() {
            "MultiConnector" => {
                self.kv_connector_extra_config.connectors.iter().find_map(|inner| of(&inner.kv_connector))
            }
            connector => of(connector),
        }
    }

    pub(super) fn mode(&self) -> TransferMode {
        self.known_mode().unwrap_or(TransferMode::Pull)
    }
}

/// What of vLLM's `ProfilerConfig` has a meaning here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ProfilerConfig {
    pub torch_profiler_dir: PathBuf,
}

fn parse_profiler_config(text: &str) -> Result<ProfilerConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn parse_kv_config(text: &str) -> Result<KvTransferConfig, String> {
    let config: KvTransferConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match config.known_mode() {
        Some(_) => Ok(config),
        None => Err(format!("Unsupported connector type: {}", config.kv_connector)),
    }
}

/// Parses argv; prints help or an error and exits where argparse would.
pub(super) fn parse(argv: impl Iterator<Item = OsString>) -> Cli {
    let argv: Vec<OsString> = argv.map(canonical).collect();
    Cli::try_parse_from(argv).unwrap_or_else(|error| {
        if error.kind() == ErrorKind::UnknownArgument {
            let flag = error.get(clap::error::ContextKind::InvalidArg);
            let flag = flag.map(ToString::to_string).unwrap_or_default();
            eprintln!("usage: enginesim serve [model_tag] [options]");
            eprintln!("enginesim: error: unrecognized arguments: {flag}");
            std::process::exit(2);
        }
        error.exit()
    })
}

/// Spells a flag as clap knows it: vLLM takes `_` for `-` in names, and short ones of several letters.
fn canonical(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else {
        return argument;
    };
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, format!("={value}")),
        None => (text, String::new()),
    };
    let long = match name {
        "-tp" => Some("--tensor-parallel-size"),
        "-dp" => Some("--data-parallel-size"),
        "-pp" => Some("--pipeline-parallel-size"),
        "-ep" => Some("--enable-expert-parallel"),
        "-asc" => Some("--api-server-count"),
        "-n" => Some("--nnodes"),
        "-r" => Some("--node-rank"),
        "-dpl" => Some("--data-parallel-size-local"),
        "-dpr" => Some("--data-parallel-start-rank"),
        "-dpa" => Some("--data-parallel-address"),
        "-dpp" => Some("--data-parallel-rpc-port"),
        _ => None,
    };
    if let Some(long) = long {
        return format!("{long}{value}").into();
    }
    if !name.starts_with("--") || name.contains(char::is_whitespace) {
        return argument;
    }
    format!("{}{value}", name.replace('_', "-")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(words: &[&str]) -> Result<ServeArgs, clap::Error> {
        let argv = ["enginesim", "serve"].iter().chain(words);
        let cli = Cli::try_parse_from(argv.map(|word| canonical(word.into())))?;
        match cli.command {
            Command::Serve(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn spellings_of_vllm_are_understood() {
        let args = serve(&["qwen3-8b", "-tp", "2", "--max_model_len=4096", "--port", "81"]).unwrap();
        assert_eq!(args.tensor_parallel_size, 2);
        assert_eq!(args.max_model_len, Some(4096));
        assert_eq!((args.port, args.model_tag.as_deref()), (81, Some("qwen3-8b")));
        let args = serve(&["m", "-dp", "4", "-pp=2", "-ep", "-asc", "1"]).unwrap();
        assert_eq!((args.data_parallel_size, args.pipeline_parallel_size), (4, 2));
        assert!(args.enable_expert_parallel);
    }

    #[test]
    fn the_last_word_on_prefix_caching_wins() {
        let args = serve(&["m", "--enable-prefix-caching", "--no-enable-prefix-caching"]).unwrap();
        assert!(args.no_enable_prefix_caching && !args.enable_prefix_caching);
    }

    #[test]
    fn a_kv_config_needs_a_known_connector_and_role() {
        let good = r#"{"kv_connector":"NixlConnector","kv_role":"kv_producer","kv_buffer_device":"cpu","kv_connector_extra_config":{"kv_lease_duration":3}}"#;
        let config = parse_kv_config(good).unwrap();
        assert_eq!(config.kv_role, KvRole::KvProducer);
        assert_eq!(config.kv_load_failure_policy, LoadFailurePolicy::Fail);
        assert_eq!(config.kv_connector_extra_config.kv_lease_duration, Some(3.0));
        for bad in [
            r#"{"kv_connector":"NixlConnector","kv_role":"kv_neither"}"#,
            r#"{"kv_connector":"Other","kv_role":"kv_both"}"#,
            r#"{"kv_connector":"MultiConnector","kv_role":"kv_both"}"#,
            "not json",
        ] {
            assert!(serve(&["m", "--kv-transfer-config", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_connector_says_which_side_moves_the_kv() {
        for (connector, more, mode) in [
            ("NixlConnector", "{}", TransferMode::Pull),
            ("NixlPushConnector", "{}", TransferMode::Push),
            (
                "MultiConnector",
                r#"{"connectors":[{"kv_connector":"OffloadingConnector"},{"kv_connector":"NixlPushConnector"}]}"#,
                TransferMode::Push,
            ),
        ] {
            let text =
                format!(r#"{{"kv_connector":"{connector}","kv_role":"kv_both","kv_connector_extra_config":{more}}}"#);
            assert_eq!(parse_kv_config(&text).unwrap().mode(), mode, "{connector}");
        }
    }

    #[test]
    fn unknown_flags_and_faults_are_refused() {
        let error = serve(&["m", "--no-such-flag"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument);
        let error = serve(&["m", "--sim-fault", "explode"]).unwrap_err().to_string();
        assert!(error.contains("never-ready"), "{error}");
    }
}
