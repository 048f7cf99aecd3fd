//! The flags that describe a measurement, as typed. Names follow `vllm bench serve` wherever it has the flag.

use super::dataset::DatasetOptions;
use super::goodput_unit::GoodputUnit;
use super::load::{LengthField, Overlong, RampShape};
use super::slo_words::GoodputWord;
use super::strategy::StrategyName;
use super::typed::{Levels, Prompts, Rates, number, percentage, price, time, whole_number};
use super::window::Window;
use clap::Args;
use std::time::Duration;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Workload")]
pub struct WorkloadOptions {
    /// Model: a directory, a Hugging Face id, or a preset of the simulated engine [default: the topology file's]
    #[arg(long)]
    pub model: Option<String>,
    /// Tokenizer: a directory, tokenizer.json, or a Hugging Face id in the local cache [default: the model]
    #[arg(long)]
    pub tokenizer: Option<String>,
    /// Name that requests use for the model [default: the model]
    #[arg(long)]
    pub served_model_name: Option<String>,
    #[command(flatten)]
    pub dataset: DatasetOptions,
    /// Requests that exceed the model's context: refuse to start, clip their prompts, or skip them
    #[arg(long, value_enum, default_value = "refuse")]
    pub overlong: Overlong,
    /// Ask for the full output length whatever the model says (always on for random and timed_trace)
    #[arg(long)]
    pub ignore_eos: bool,
    /// Sampling temperature [default: 0]
    #[arg(long, value_parser = number)]
    pub temperature: Option<f64>,
    /// JSON object merged into every request's body
    #[arg(long, value_name = "JSON")]
    pub extra_body: Option<String>,
    /// Path of the API: /v1/completions or /v1/chat/completions
    #[arg(long, default_value = "/v1/completions")]
    pub endpoint: String,
    /// Field that limits an answer's length [default: max_tokens, or what the server asks for instead]
    #[arg(long, value_name = "FIELD", value_enum)]
    pub max_tokens_field: Option<LengthField>,
    /// Keep the generated texts in requests.jsonl
    #[arg(long)]
    pub save_texts: bool,
}

/// How a session decides what to measure.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Strategy")]
pub struct StrategyOptions {
    /// What to measure [default: search, or grid where --request-rate names the rates]
    #[arg(long, value_enum)]
    pub strategy: Option<StrategyName>,
    /// Search until the 95 % interval of the ratio (one arm: of its crossing) is this many percent wide on either side [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    pub precision: Option<f64>,
    /// Measure the loads of --concurrency or --request-rate in rising order until one misses these latencies, ms: "ttft:400 tpot:50" (ttft, tpot, e2el); what lies above is left out
    #[arg(long, value_name = "METRIC:MS", num_args = 1..)]
    pub threshold: Vec<String>,
    /// Statistic of a point that is compared with them: mean, a percentile (p99), or attainment (the target's share keeps them all)
    #[arg(long, value_name = "STATISTIC", default_value = "mean")]
    pub threshold_by: String,
    /// Search for at most this long, counting the time in which any engine is up: 20m, 90s, 1h [default: 20m, or the topology file's]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub budget: Option<Duration>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    #[command(flatten)]
    pub strategy: StrategyOptions,
    /// Requests per second, one point each; `inf` sends everything at once; of several lists the last counts [default: looked for; with --strategy grid the topology file's]
    #[arg(long, visible_alias = "qps", value_name = "R,R..")]
    pub request_rate: Option<Rates>,
    /// Closed loop instead of rates: this many requests in flight, one point each; the next is sent when one ends
    #[arg(long, value_name = "N,N..", conflicts_with_all = ["request_rate", "duration", "max_concurrency", "burstiness", "trace_arrivals", "ramp_up_strategy"])]
    pub concurrency: Option<Levels>,
    /// Requests of a point; a list has one number a point, and 10x is ten for each request in flight [default: 100; of a closed loop 10x]
    #[arg(long, conflicts_with = "duration", value_name = "N|N,N..|Nx")]
    pub num_prompts: Option<Prompts>,
    /// Seconds a point lasts, instead of a number of requests
    #[arg(long, value_name = "SECONDS", value_parser = number)]
    pub duration: Option<f64>,
    /// Shape of the gamma gaps between arrivals: 1 Poisson, less is burstier, `inf` is constant
    #[arg(long, default_value_t = 1.0, value_parser = number)]
    pub burstiness: f64,
    /// Send a timed_trace second for second as it was recorded, one point, instead of rescaled to each --request-rate
    #[arg(long, conflicts_with = "request_rate")]
    pub trace_arrivals: bool,
    /// Sessions whose turns wait for the answer before them and for think time: closed within a session, open between sessions (sharegpt; timed_trace with session ids)
    #[arg(long, conflicts_with_all = ["concurrency", "multi_turn"])]
    pub causal: bool,
    /// Mean think time between an answer's end and the session's next turn, exponentially distributed; a trace's own counts instead where it has one [default: 5]
    #[arg(long, value_name = "SECONDS", requires = "causal", value_parser = number)]
    pub think_time: Option<f64>,
    /// Requests in flight at most; queue time counts in TTFT
    #[arg(long, value_parser = whole_number::<u32>)]
    pub max_concurrency: Option<u32>,
    /// Let the rate grow over the point; without --request-rate there is one, named by the ramp's end
    #[arg(long, value_enum, requires_all = ["ramp_up_start_rps", "ramp_up_end_rps"])]
    pub ramp_up_strategy: Option<RampShape>,
    /// Requests per second at the start of the ramp
    #[arg(long, value_parser = number)]
    pub ramp_up_start_rps: Option<f64>,
    /// Requests per second at its end
    #[arg(long, value_parser = number)]
    pub ramp_up_end_rps: Option<f64>,
    /// Unmeasured requests before the first point, beside one for every prefill x decode pair [default: 4]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub num_warmups: Option<u32>,
    /// Prefill/decode arms: seconds the warm-up may go on until the hand-over is steady; 0: no longer than the others' [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = number)]
    pub max_warmup: Option<f64>,
    /// Start each arm's fleet anew this often and measure every rate in each launch [default: 2 with ABBA, else 1]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>)]
    pub launches: Option<u32>,
    /// How often each rate is measured within a launch
    #[arg(long, default_value_t = 1, value_parser = whole_number::<u32>)]
    pub attempts: u32,
    /// Of arrivals, lengths and prompts: the same seed gives the same trace
    #[arg(long, default_value_t = 0, value_parser = whole_number::<u64>)]
    pub seed: u64,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "SLO")]
pub struct SloOptions {
    /// Limits in ms, as vLLM's: ttft:125 tpot:200 e2el:5000
    #[arg(long, num_args = 1.., value_name = "METRIC:MS")]
    pub goodput: Vec<GoodputWord>,
    /// TTFT limit, ms [default: 125] [env: TTFT_SLO]
    #[arg(long, value_name = "MS")]
    pub ttft_slo: Option<String>,
    /// TPOT limit, ms [default: 200] [env: TPOT_SLO]
    #[arg(long, value_name = "MS")]
    pub tpot_slo: Option<String>,
    /// E2EL limit, ms; none by default
    #[arg(long, value_name = "MS")]
    pub e2el_slo: Option<String>,
    /// Share of offered requests that must meet the SLO, percent [default: 90] [env: TARGET_ATTAINMENT]
    #[arg(long, visible_alias = "atta-target", value_name = "PERCENT", value_parser = number)]
    pub target: Option<f64>,
    /// What a GPU costs an hour: tells what a million output tokens cost at the SLO
    #[arg(long, value_name = "MONEY", value_parser = price)]
    pub gpu_hour_price: Option<f64>,
    /// Judge only requests due within: `steady` (at least half of the peak in flight), FROM:TO in seconds, or `all`
    #[arg(long, value_name = "WINDOW")]
    pub window: Option<Window>,
    /// What has to keep every limit: each request, or, under --causal, each session, by all of its turns or by its last one [default: request]
    #[arg(long, value_enum, value_name = "UNIT")]
    pub goodput_per: Option<GoodputUnit>,
}
