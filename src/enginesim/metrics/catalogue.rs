//! Every family that `/metrics` shows: name, help, labels. Names and labels are vLLM 0.32's.

use super::histogram as bounds;

/// Values that go up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gauge {
    Running,
    Waiting,
    WaitingCapacity,
    WaitingDeferred,
    FetchNotStarted,
    FetchInProgress,
    FetchCompleted,
    Awake,
    Offloaded,
    Discarded,
    KvUsage,
}

/// Values that only go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    FailedTransfers,
    FailedNotifications,
    KvExpired,
    LateNotifications,
    Flops,
    ReadBytes,
    WriteBytes,
    CacheQueries,
    CacheHits,
    ExternalQueries,
    ExternalHits,
    ImageQueries,
    ImageHits,
    Preemptions,
    PromptTokens,
    PromptComputed,
    PromptCached,
    PromptTransferred,
    CachedPrompt,
    CachedOnDevice,
    CachedElsewhere,
    GenerationTokens,
    FinishedStop,
    FinishedLength,
    FinishedAbort,
    FinishedError,
    FinishedRepetition,
    RejectedRequests,
    RejectedTokens,
}

/// Distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Distribution {
    TransferTime,
    PostTime,
    TransferBytes,
    Descriptors,
    PromptTokens,
    GenerationTokens,
    StepTokens,
    MaxGenerationTokens,
    N,
    MaxTokens,
    FirstToken,
    InterToken,
    TimePerOutputToken,
    EndToEnd,
    Queue,
    Inference,
    Prefill,
    Decode,
    Preemptions,
    ComputedPrompt,
}

/// A label and its value.
pub(super) type Label = (&'static str, &'static str);

/// The series of a family.
#[derive(Debug)]
pub(super) enum Series {
    Gauge(&'static [(Gauge, Option<Label>)]),
    Counter(&'static [(Counter, Option<Label>)]),
    Histogram(Distribution, &'static [f64]),
}

/// A name with its help and series.
#[derive(Debug)]
pub(super) struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub series: Series,
    /// Shown only with a KV connector.
    pub nixl: bool,
}

const fn gauge(name: &'static str, help: &'static str, series: &'static [(Gauge, Option<Label>)]) -> Family {
    Family { name, help, series: Series::Gauge(series), nixl: false }
}

const fn counter(name: &'static str, help: &'static str, series: &'static [(Counter, Option<Label>)]) -> Family {
    Family { name, help, series: Series::Counter(series), nixl: false }
}

const fn histogram(name: &'static str, help: &'static str, which: Distribution, bounds: &'static [f64]) -> Family {
    Family { name, help, series: Series::Histogram(which, bounds), nixl: false }
}

const fn nixl(family: Family) -> Family {
    Family { name: family.name, help: family.help, series: family.series, nixl: true }
}

/// In vLLM's order.
pub(super) const FAMILIES: &[Family] = &[
    nixl(histogram(
        "vllm:nixl_xfer_time_seconds",
        "Duration of KV transfers.",
        Distribution::TransferTime,
        bounds::TRANSFER,
    )),
    nixl(histogram("vllm:nixl_post_time_seconds", "Time to post KV transfers.", Distribution::PostTime, bounds::POST)),
    nixl(histogram(
        "vllm:nixl_bytes_transferred",
        "Bytes of KV transfers.",
        Distribution::TransferBytes,
        bounds::BYTES,
    )),
    nixl(histogram(
        "vllm:nixl_num_descriptors",
        "Descriptors of KV transfers.",
        Distribution::Descriptors,
        bounds::DESCRIPTORS,
    )),
    nixl(counter(
        "vllm:nixl_num_failed_transfers",
        "KV transfers that failed, handshakes and notifications included.",
        &[(Counter::FailedTransfers, None)],
    )),
    nixl(counter(
        "vllm:nixl_num_failed_notifications",
        "Notifications that failed.",
        &[(Counter::FailedNotifications, None)],
    )),
    nixl(counter(
        "vllm:nixl_num_kv_expired_reqs",
        "Requests whose KV expired here before anyone fetched it.",
        &[(Counter::KvExpired, None)],
    )),
    nixl(counter(
        "vllm:nixl_num_notifications_after_expiry",
        "Notifications for requests whose KV had expired.",
        &[(Counter::LateNotifications, None)],
    )),
    counter(
        "vllm:estimated_flops_per_gpu",
        "Estimated floating point operations of each GPU.",
        &[(Counter::Flops, None)],
    ),
    counter(
        "vllm:estimated_read_bytes_per_gpu",
        "Estimated bytes read from the memory of each GPU.",
        &[(Counter::ReadBytes, None)],
    ),
    counter(
        "vllm:estimated_write_bytes_per_gpu",
        "Estimated bytes written to the memory of each GPU.",
        &[(Counter::WriteBytes, None)],
    ),
    gauge("vllm:num_requests_running", "Requests in the running batch.", &[(Gauge::Running, None)]),
    gauge("vllm:num_requests_waiting", "Requests that wait.", &[(Gauge::Waiting, None)]),
    gauge(
        "vllm:num_requests_waiting_by_reason",
        "Requests that wait, by reason.",
        &[
            (Gauge::WaitingCapacity, Some(("reason", "capacity"))),
            (Gauge::WaitingDeferred, Some(("reason", "deferred"))),
        ],
    ),
    nixl(gauge(
        "vllm:num_requests_kv_fetch_by_stage",
        "Requests that wait for their KV, by stage.",
        &[
            (Gauge::FetchNotStarted, Some(("stage", "waiting_to_start"))),
            (Gauge::FetchInProgress, Some(("stage", "in_progress"))),
            (Gauge::FetchCompleted, Some(("stage", "completed_waiting"))),
        ],
    )),
    gauge(
        "vllm:engine_sleep_state",
        "Sleep state of the engine.",
        &[
            (Gauge::Awake, Some(("sleep_state", "awake"))),
            (Gauge::Offloaded, Some(("sleep_state", "weights_offloaded"))),
            (Gauge::Discarded, Some(("sleep_state", "discard_all"))),
        ],
    ),
    gauge("vllm:kv_cache_usage_perc", "Used share of the KV cache, 0 to 1.", &[(Gauge::KvUsage, None)]),
    counter("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.", &[(Counter::CacheQueries, None)]),
    counter("vllm:prefix_cache_hits", "Tokens found in the prefix cache.", &[(Counter::CacheHits, None)]),
    counter(
        "vllm:external_prefix_cache_queries",
        "Tokens asked of the KV connector.",
        &[(Counter::ExternalQueries, None)],
    ),
    counter(
        "vllm:external_prefix_cache_hits",
        "Tokens that the KV connector brought.",
        &[(Counter::ExternalHits, None)],
    ),
    counter("vllm:mm_cache_queries", "Items looked up in the multi-modal cache.", &[(Counter::ImageQueries, None)]),
    counter("vllm:mm_cache_hits", "Items found in the multi-modal cache.", &[(Counter::ImageHits, None)]),
    counter("vllm:num_preemptions", "Sequences preempted.", &[(Counter::Preemptions, None)]),
    counter("vllm:prompt_tokens", "Prompt tokens processed.", &[(Counter::PromptTokens, None)]),
    counter(
        "vllm:prompt_tokens_by_source",
        "Prompt tokens by where their KV came from.",
        &[
            (Counter::PromptComputed, Some(("source", "local_compute"))),
            (Counter::PromptCached, Some(("source", "local_cache_hit"))),
            (Counter::PromptTransferred, Some(("source", "external_kv_transfer"))),
        ],
    ),
    counter("vllm:prompt_tokens_cached", "Prompt tokens not computed here.", &[(Counter::CachedPrompt, None)]),
    counter(
        "vllm:prompt_tokens_cached_by_source",
        "Prompt tokens not computed here, by tier.",
        &[(Counter::CachedOnDevice, Some(("source", "device"))), (Counter::CachedElsewhere, Some(("source", "p2p")))],
    ),
    counter("vllm:generation_tokens", "Tokens generated.", &[(Counter::GenerationTokens, None)]),
    counter(
        "vllm:request_success",
        "Requests finished, by reason.",
        &[
            (Counter::FinishedStop, Some(("finished_reason", "stop"))),
            (Counter::FinishedLength, Some(("finished_reason", "length"))),
            (Counter::FinishedAbort, Some(("finished_reason", "abort"))),
            (Counter::FinishedError, Some(("finished_reason", "error"))),
            (Counter::FinishedRepetition, Some(("finished_reason", "repetition"))),
        ],
    ),
    counter(
        "vllm:admission_rejections",
        "Requests refused by a queue limit.",
        &[
            (Counter::RejectedRequests, Some(("reason", "max_num_queued_reqs"))),
            (Counter::RejectedTokens, Some(("reason", "max_num_queued_tokens"))),
        ],
    ),
    histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", Distribution::PromptTokens, bounds::TOKENS),
    histogram(
        "vllm:request_generation_tokens",
        "Generated tokens of a request.",
        Distribution::GenerationTokens,
        bounds::TOKENS,
    ),
    histogram("vllm:iteration_tokens_total", "Tokens of a step.", Distribution::StepTokens, bounds::STEP_TOKENS),
    histogram(
        "vllm:request_max_num_generation_tokens",
        "Most tokens generated for one choice of a request.",
        Distribution::MaxGenerationTokens,
        bounds::TOKENS,
    ),
    histogram("vllm:request_params_n", "Parameter n of a request.", Distribution::N, bounds::COUNT),
    histogram(
        "vllm:request_params_max_tokens",
        "Parameter max_tokens of a request.",
        Distribution::MaxTokens,
        bounds::TOKENS,
    ),
    histogram(
        "vllm:time_to_first_token_seconds",
        "Seconds to the first token.",
        Distribution::FirstToken,
        bounds::FIRST_TOKEN,
    ),
    histogram(
        "vllm:inter_token_latency_seconds",
        "Seconds between tokens.",
        Distribution::InterToken,
        bounds::BETWEEN_TOKENS,
    ),
    histogram(
        "vllm:request_time_per_output_token_seconds",
        "Mean seconds per token after the first of a request.",
        Distribution::TimePerOutputToken,
        bounds::BETWEEN_TOKENS,
    ),
    histogram(
        "vllm:e2e_request_latency_seconds",
        "Seconds of a whole request.",
        Distribution::EndToEnd,
        bounds::REQUEST,
    ),
    histogram(
        "vllm:request_queue_time_seconds",
        "Seconds that a request waited.",
        Distribution::Queue,
        bounds::REQUEST,
    ),
    histogram(
        "vllm:request_inference_time_seconds",
        "Seconds that a request ran.",
        Distribution::Inference,
        bounds::REQUEST,
    ),
    histogram(
        "vllm:request_prefill_time_seconds",
        "Seconds from first step to first token.",
        Distribution::Prefill,
        bounds::REQUEST,
    ),
    histogram(
        "vllm:request_decode_time_seconds",
        "Seconds from first to last token.",
        Distribution::Decode,
        bounds::REQUEST,
    ),
    histogram("vllm:request_num_preemptions", "Preemptions of a request.", Distribution::Preemptions, bounds::COUNT),
    histogram(
        "vllm:request_prefill_kv_computed_tokens",
        "Prompt tokens of a request computed here.",
        Distribution::ComputedPrompt,
        bounds::TOKENS,
    ),
];
