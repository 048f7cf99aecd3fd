//! The JSON of answers, field by field as vLLM 0.32 orders them. `()` is a field that is null.

use serde::Serialize;
use serde_json::Value;

/// The two endpoints that generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Completions,
    Chat,
}

impl Endpoint {
    pub(super) fn id_prefix(self) -> &'static str {
        match self {
            Self::Completions => "cmpl-",
            Self::Chat => "chatcmpl-",
        }
    }
}

/// What distinguishes this program's answers from real ones, at a glance.
pub(super) const FINGERPRINT: &str = concat!("enginesim-", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
    completion_tokens: u32,
}

impl Usage {
    pub(super) fn new(prompt_tokens: u32, completion_tokens: u32) -> Self {
        Self { prompt_tokens, total_tokens: prompt_tokens + completion_tokens, completion_tokens }
    }
}

/// One server-sent event of a stream; `C` is a choice.
#[derive(Debug, Serialize)]
pub(super) struct Chunk<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub model: &'a str,
    pub choices: &'a [C],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct TextChoice<'a> {
    pub index: usize,
    pub text: &'a str,
    pub logprobs: (),
    pub finish_reason: Option<&'a str>,
    pub stop_reason: Option<&'a str>,
    pub prompt_token_ids: (),
    pub token_ids: Option<&'a [u32]>,
}

#[derive(Debug, Serialize)]
pub(super) struct DeltaChoice<'a> {
    pub index: usize,
    pub delta: ChatDelta<'a>,
    pub logprobs: (),
    pub finish_reason: Option<&'a str>,
    /// Present in the last chunk only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Option<&'a [u32]>>,
}

#[derive(Debug, Serialize)]
pub(super) struct ChatDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    pub content: &'a str,
}

/// A whole answer; `C` is a choice.
#[derive(Debug, Serialize)]
pub(super) struct Whole<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub model: &'a str,
    pub choices: Vec<C>,
    pub service_tier: (),
    pub system_fingerprint: &'static str,
    pub usage: WholeUsage,
    pub kv_transfer_params: Option<Value>,
    pub ec_transfer_params: (),
    pub metrics: (),
}

#[derive(Debug, Serialize)]
pub(super) struct WholeUsage {
    #[serde(flatten)]
    pub usage: Usage,
    pub prompt_tokens_details: (),
    pub completion_tokens_details: (),
}

#[derive(Debug, Serialize)]
pub(super) struct WholeText {
    pub index: usize,
    pub text: String,
    pub logprobs: (),
    pub finish_reason: Option<String>,
    pub stop_reason: Option<String>,
    pub token_ids: Option<Vec<u32>>,
    pub prompt_logprobs: (),
    pub prompt_token_ids: Option<Vec<u32>>,
    pub routed_experts: (),
}

#[derive(Debug, Serialize)]
pub(super) struct WholeChat {
    pub index: usize,
    pub message: AssistantMessage,
    pub logprobs: (),
    pub finish_reason: Option<String>,
    pub stop_reason: Option<String>,
    pub token_ids: Option<Vec<u32>>,
    pub routed_experts: (),
}

#[derive(Debug, Serialize)]
pub(super) struct AssistantMessage {
    pub role: &'static str,
    pub content: String,
    pub refusal: (),
    pub annotations: (),
    pub audio: (),
    pub function_call: (),
    pub reasoning: (),
}
