//! The load of a sweep: rates, how long a point lasts, how arrivals are spread.

use super::dataset::Dataset;
use super::mask::serialize_masked_map;
use crate::units::RequestRate;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is sent, at which rates, how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// One point each, in the order they are measured.
    pub rates: Vec<RequestRate>,
    pub extent: Extent,
    /// Requests of each point, in the order of `rates`, where they differ; empty: `extent` counts for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<u32>,
    pub arrivals: Arrivals,
    pub ramp_up: Option<RampUp>,
    /// Requests in flight at most; latency still counts from due.
    pub max_concurrency: Option<u32>,
    /// Unmeasured requests before the first point of a fleet, beside one for every pair of prefill and decode.
    pub warmups: u32,
    /// How long the warm-up may go on until the hand-over of prefill/decode arms is steady; zero: it doesn't.
    #[serde(default)]
    pub max_warmup: Duration,
    /// How often each arm's fleet is started anew; every rate is measured in each launch.
    #[serde(default)]
    pub launches: u32,
    /// How often each rate is measured within a launch.
    pub attempts: u32,
    pub seed: u64,
    /// Turns of a session wait for the answer before them. `None`: every request is due at a time of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causal: Option<Causal>,
}

/// How turns of a session follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Causal {
    /// Mean think time between an answer's end and the next turn, seconds, exponentially distributed; a trace's own counts
    /// instead where it has one.
    pub think_secs: f64,
}

impl Load {
    /// Poisson arrivals without limits or warm-up, each rate once, seed 0.
    pub fn poisson(rates: Vec<RequestRate>, extent: Extent) -> Load {
        Load {
            rates,
            extent,
            requests: Vec::new(),
            arrivals: Arrivals::Gamma { burstiness: 1.0 },
            ramp_up: None,
            max_concurrency: None,
            warmups: 0,
            max_warmup: Duration::ZERO,
            launches: 1,
            attempts: 1,
            seed: 0,
            causal: None,
        }
    }

    /// How long the point at this rate lasts.
    pub fn extent_of(&self, rate: RequestRate) -> Extent {
        let at = self.rates.iter().position(|r| *r == rate);
        at.and_then(|i| self.requests.get(i)).map_or(self.extent, |n| Extent::Requests(*n))
    }

    /// Whether every point is a closed loop.
    pub fn is_closed(&self) -> bool {
        !self.rates.is_empty() && self.rates.iter().all(|rate| rate.in_flight().is_some())
    }

    /// How often each rate is measured in all; attempts are numbered through the launches.
    pub fn repeats(&self) -> u32 {
        self.launches.saturating_mul(self.attempts)
    }
}

/// How long a point lasts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    Requests(u32),
    /// As many as fall due within it.
    Duration(Duration),
}

/// Gaps between arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Gamma gaps with this shape and mean 1/rate; 1 is Poisson, below it burstier, above it more even.
    Gamma { burstiness: f64 },
    /// Equal gaps.
    Constant,
    /// The dataset's own timestamps, rescaled to the rate (`None` in the dataset: an error of the plan).
    Trace,
    /// The dataset's own timestamps, second for second.
    Recorded,
}

/// vLLM's `--ramp-up-strategy`: the rate grows from start to end over the point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RampUp {
    pub shape: RampShape,
    pub start: f64,
    pub end: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum RampShape {
    Linear,
    Exponential,
}

/// What requests look like: dataset, lengths, and the fields of every body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub dataset: Dataset,
    pub endpoint: Endpoint,
    /// Tokenizer directory, `tokenizer.json`, HF id in the local cache, or the name of an embedded one; `None`: token ids suffice.
    pub tokenizer: Option<String>,
    pub ignore_eos: bool,
    pub temperature: Option<f64>,
    /// Merged into every body; stored without its secrets.
    #[serde(serialize_with = "serialize_masked_map")]
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// Keep generated texts in requests.jsonl.
    pub save_texts: bool,
    /// Name of the field that limits an answer's length; `None`: as the server wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_field: Option<LengthField>,
    #[serde(default)]
    pub overlong: Overlong,
}

impl Workload {
    /// Completions of full length over token ids, nothing else asked for.
    pub fn completions(dataset: Dataset) -> Workload {
        Workload {
            dataset,
            endpoint: Endpoint::Completions,
            tokenizer: None,
            ignore_eos: true,
            temperature: None,
            extra_body: serde_json::Map::new(),
            save_texts: false,
            length_field: None,
            overlong: Overlong::default(),
        }
    }
}

/// OpenAI's two names for the most tokens that an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum LengthField {
    #[default]
    MaxTokens,
    /// Of chats only.
    MaxCompletionTokens,
}

impl LengthField {
    pub fn name(self) -> &'static str {
        match self {
            LengthField::MaxTokens => "max_tokens",
            LengthField::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// What to do with a request whose prompt and output together exceed the model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// An error that names the request: nothing is sent that the server must refuse.
    #[default]
    Refuse,
    /// Shorten the prompt until it fits.
    Clip,
    /// Leave it out. A recorded trace then has a gap; random lengths, which have nothing to leave out, are clipped.
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Completions,
    Chat,
}

impl Endpoint {
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Completions => "/v1/completions",
            Endpoint::Chat => "/v1/chat/completions",
        }
    }
}
