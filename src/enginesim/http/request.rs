//! Bodies of completion and chat requests, and what makes vLLM refuse them.

use std::sync::Arc;

use serde::Deserialize;

use super::errors::ApiError;
use super::wire::Endpoint;
use crate::enginesim::answer::Sampling;
use crate::enginesim::args::TransferMode;
use crate::enginesim::generate::{Job, KvUse, Server};
use crate::enginesim::sidechannel::RemoteKv;
use crate::enginesim::tokenizer::{Message, VOCABULARY_LIMIT};

/// vLLM's default for completions without `max_tokens`.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    prompt: Option<Prompt>,
    messages: Option<Vec<ChatMessage>>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    min_tokens: Option<i64>,
    #[serde(default)]
    ignore_eos: bool,
    temperature: Option<f64>,
    n: Option<i64>,
    stop: Option<OneOrMany>,
    seed: Option<i64>,
    #[serde(default)]
    return_token_ids: bool,
    kv_transfer_params: Option<RemoteKv>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A content part; parts without text (images ...) count as nothing.
#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    #[serde(default)]
    continuous_usage_stats: bool,
}

fn rank_within(server: &Server, rank: i64) -> Result<usize, ApiError> {
    let ranks = server.config.parallelism.data_parallel;
    let within = usize::try_from(rank).ok().filter(|rank| *rank < ranks as usize);
    within.ok_or_else(|| {
        ApiError::bad_request("data_parallel_rank", format!("data_parallel_rank {rank} is out of range [0, {ranks})."))
    })
}

/// A request that will be answered with tokens.
#[derive(Debug)]
pub(super) struct Parsed {
    pub job: Job,
    pub endpoint: Endpoint,
    /// The model name to echo.
    pub model: String,
    pub stream: bool,
    pub include_usage: bool,
    pub continuous_usage: bool,
    pub return_token_ids: bool,
}

/// Reads and checks a request's body; `request_id` and `rank` are the client's `X-Request-Id` and `X-data-parallel-rank`.
pub(super) fn parse(
    server: &Server,
    endpoint: Endpoint,
    body: &[u8],
    request_id: Option<&str>,
    rank: Option<i64>,
) -> Result<Parsed, ApiError> {
    let body: Body = serde_json::from_slice(body).map_err(|error| ApiError::validation(&error))?;
    let served = &server.config.served_names;
    let model = body.model.clone().unwrap_or_else(|| served[0].clone());
    if !served.contains(&model) {
        return Err(ApiError::unknown_model(&model, served));
    }
    let rank = rank.map(|rank| rank_within(server, rank)).transpose()?;
    let prompts = prompts(server, endpoint, &body)?;
    let n = at_least_one("n", body.n.unwrap_or(1))?;
    let sampling = sampling(server, endpoint, &body, &prompts)?;
    let id = match request_id {
        Some(given) => format!("{}{given}", endpoint.id_prefix()),
        None => format!("{}{:016x}", endpoint.id_prefix(), server.fresh()),
    };
    let kv = kv_use(server, endpoint, body.kv_transfer_params, &id);
    if !matches!(kv, KvUse::Local) && (n > 1 || prompts.len() > 1) {
        let message = "KV transfer needs exactly one prompt and n=1".to_owned();
        return Err(ApiError::bad_request("kv_transfer_params", message));
    }
    let options = body.stream_options.unwrap_or_default();
    Ok(Parsed {
        job: Job { id, prompts, n, sampling, kv, rank },
        endpoint,
        model,
        stream: body.stream,
        include_usage: options.include_usage,
        continuous_usage: options.include_usage && options.continuous_usage_stats,
        return_token_ids: body.return_token_ids,
    })
}

fn prompts(server: &Server, endpoint: Endpoint, body: &Body) -> Result<Vec<Arc<[u32]>>, ApiError> {
    let encode = |text: &str| {
        let tokens = server.vocabulary.encode(text);
        tokens.map_err(|error| ApiError::internal(error.to_string()))
    };
    let lists: Vec<Vec<u32>> = match (endpoint, &body.prompt, &body.messages) {
        (Endpoint::Completions, Some(Prompt::Text(text)), _) => vec![encode(text)?],
        (Endpoint::Completions, Some(Prompt::Texts(texts)), _) => {
            texts.iter().map(|text| encode(text)).collect::<Result<_, _>>()?
        }
        (Endpoint::Completions, Some(Prompt::Tokens(tokens)), _) => vec![tokens.clone()],
        (Endpoint::Completions, Some(Prompt::TokenLists(lists)), _) => lists.clone(),
        (Endpoint::Chat, _, Some(messages)) => {
            let messages: Vec<Message> = messages.iter().map(ChatMessage::plain).collect();
            let tokens = server.vocabulary.encode_chat(&messages);
            vec![tokens.map_err(|error| ApiError::internal(error.to_string()))?]
        }
        (Endpoint::Completions, None, _) => return Err(missing("prompt")),
        (Endpoint::Chat, _, None) => return Err(missing("messages")),
    };
    if lists.is_empty() || lists.iter().any(Vec::is_empty) {
        let message = "Either prompt or prompt_embeds must be provided and non-empty.".to_owned();
        return Err(ApiError::bad_request("prompt", message));
    }
    if let Some(token) = lists.iter().flatten().find(|token| **token >= VOCABULARY_LIMIT) {
        let message = format!("Token id {token} is out of vocabulary");
        return Err(ApiError::bad_request("prompt", message));
    }
    Ok(lists.into_iter().map(Arc::from).collect())
}

fn sampling(server: &Server, endpoint: Endpoint, body: &Body, prompts: &[Arc<[u32]>]) -> Result<Sampling, ApiError> {
    let limit = server.config.max_model_len;
    let input = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0) as u32;
    let left = limit.saturating_sub(input);
    let max_tokens = match body.max_completion_tokens.or(body.max_tokens) {
        Some(asked) => at_least_one("max_tokens", asked)?,
        None if endpoint == Endpoint::Chat => left,
        None => DEFAULT_COMPLETION_TOKENS.min(left),
    };
    if max_tokens > limit {
        let message = format!(
            "max_tokens={max_tokens} cannot be greater than max_model_len={limit}. Please request fewer output tokens. (parameter=max_tokens, value={max_tokens})"
        );
        return Err(ApiError::bad_request("max_tokens", message));
    }
    if max_tokens == 0 || max_tokens > left {
        let message = format!(
            "This model's maximum context length is {limit} tokens. However, you requested {max_tokens} output tokens and your prompt contains {input} input tokens, for a total of {} tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value={input})",
            u64::from(input) + u64::from(max_tokens)
        );
        return Err(ApiError::bad_request("input_tokens", message));
    }
    let min_tokens = body.min_tokens.unwrap_or(0);
    if !(0..=i64::from(max_tokens)).contains(&min_tokens) {
        let message = format!("min_tokens must be between 0 and max_tokens={max_tokens}, got {min_tokens}.");
        return Err(ApiError::bad_request("min_tokens", message));
    }
    let temperature = body.temperature.unwrap_or(1.0);
    if temperature.is_nan() || temperature < 0.0 {
        let message = format!("temperature must be non-negative, got {temperature}.");
        return Err(ApiError::bad_request("temperature", message));
    }
    let noise = || body.seed.map_or_else(|| server.fresh(), i64::cast_unsigned);
    Ok(Sampling {
        max_tokens,
        min_tokens: min_tokens as u32,
        ignore_eos: body.ignore_eos,
        stop: match &body.stop {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop.clone()],
            Some(OneOrMany::Many(stops)) => stops.clone(),
        },
        noise: (temperature > 0.0).then(noise),
    })
}

/// Without a connector the parameters are ignored, silently, as in vLLM.
fn kv_use(server: &Server, endpoint: Endpoint, params: Option<RemoteKv>, id: &str) -> KvUse {
    let (Some(params), Some(kv)) = (params, &server.config.kv) else { return KvUse::Local };
    let index = if endpoint == Endpoint::Chat { "" } else { "-0" };
    match (params.do_remote_prefill, params.do_remote_decode) {
        (true, _) if kv.transfer.mode() == TransferMode::Push => KvUse::Await(params, format!("{id}{index}")),
        (true, _) => KvUse::Fetch(params),
        (false, true) => KvUse::Offer(format!("{id}{index}-{:08x}", server.fresh() as u32)),
        (false, false) => KvUse::Local,
    }
}

fn at_least_one(param: &str, value: i64) -> Result<u32, ApiError> {
    match u32::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(ApiError::bad_request(
            param,
            format!("{param} must be at least 1, got {value}. (parameter={param}, value={value})"),
        )),
    }
}

fn missing(field: &str) -> ApiError {
    let mut error = ApiError::bad_request(
        &format!("body.{field}"),
        format!("1 validation error:\n  {{'type': 'missing', 'loc': 'body.{field}', 'msg': 'Field required'}}"),
    );
    error.kind = "Bad Request";
    error
}

impl ChatMessage {
    fn plain(&self) -> Message {
        let text = match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().filter_map(|part| part.text.as_deref());
                texts.collect::<Vec<_>>().join("\n")
            }
        };
        Message { role: self.role.clone(), text }
    }
}
