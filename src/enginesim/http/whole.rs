//! Answers in one piece.

use serde::Serialize;

use super::errors::ApiError;
use super::request::Parsed;
use super::wire::{AssistantMessage, Endpoint, FINGERPRINT, Usage, Whole, WholeChat, WholeText, WholeUsage};
use crate::enginesim::generate::{Generation, GenerationError};

/// Text and end of one choice.
#[derive(Debug, Default, Clone)]
struct Collected {
    text: String,
    tokens: Vec<u32>,
    finish_reason: Option<String>,
    stop_reason: Option<String>,
}

/// Generates to the end; the JSON of the answer.
pub(super) async fn answer(
    parsed: &Parsed,
    mut generation: Generation,
    created: i64,
) -> Result<String, GenerationError> {
    let job = &parsed.job;
    let mut choices = vec![Collected::default(); job.prompts.len() * job.n as usize];
    while let Some(delta) = generation.next().await {
        let delta = delta?;
        let choice = &mut choices[delta.choice];
        choice.text.push_str(&delta.text);
        choice.tokens.push(delta.token);
        if let Some(finish) = delta.finish {
            choice.finish_reason = Some(finish.name().to_owned());
            choice.stop_reason = finish.stop_reason().map(str::to_owned);
        }
    }
    let completion: usize = choices.iter().map(|choice| choice.tokens.len()).sum();
    let usage = WholeUsage {
        usage: Usage::new(prompt_tokens(parsed), completion as u32),
        prompt_tokens_details: (),
        completion_tokens_details: (),
    };
    let kv = generation.kv_params();
    Ok(match parsed.endpoint {
        Endpoint::Completions => {
            let choices = choices.into_iter().enumerate();
            let choices = choices.map(|(i, c)| text_choice(parsed, i, c)).collect();
            render(parsed, "text_completion", created, choices, usage, kv)
        }
        Endpoint::Chat => {
            let choices = choices.into_iter().enumerate();
            let choices = choices.map(|(i, c)| chat_choice(parsed, i, c)).collect();
            render(parsed, "chat.completion", created, choices, usage, kv)
        }
    })
}

/// Tokens of all prompts of a request.
pub(super) fn prompt_tokens(parsed: &Parsed) -> u32 {
    parsed.job.prompts.iter().map(|prompt| prompt.len() as u32).sum()
}

fn render<C: Serialize>(
    parsed: &Parsed,
    object: &'static str,
    created: i64,
    choices: Vec<C>,
    usage: WholeUsage,
    kv_transfer_params: Option<serde_json::Value>,
) -> String {
    let whole = Whole {
        id: &parsed.job.id,
        object,
        created,
        model: &parsed.model,
        choices,
        service_tier: (),
        system_fingerprint: FINGERPRINT,
        usage,
        kv_transfer_params,
        ec_transfer_params: (),
        metrics: (),
    };
    // Structs of strings and numbers always have a JSON form.
    serde_json::to_string(&whole).unwrap_or_default()
}

fn text_choice(parsed: &Parsed, index: usize, choice: Collected) -> WholeText {
    let ids = parsed.return_token_ids;
    let prompt = &parsed.job.prompts[index / parsed.job.n as usize];
    WholeText {
        index,
        text: choice.text,
        logprobs: (),
        finish_reason: choice.finish_reason,
        stop_reason: choice.stop_reason,
        token_ids: ids.then_some(choice.tokens),
        prompt_logprobs: (),
        prompt_token_ids: ids.then(|| prompt.to_vec()),
        routed_experts: (),
    }
}

fn chat_choice(parsed: &Parsed, index: usize, choice: Collected) -> WholeChat {
    let message = AssistantMessage {
        role: "assistant",
        content: choice.text,
        refusal: (),
        annotations: (),
        audio: (),
        function_call: (),
        reasoning: (),
    };
    WholeChat {
        index,
        message,
        logprobs: (),
        finish_reason: choice.finish_reason,
        stop_reason: choice.stop_reason,
        token_ids: parsed.return_token_ids.then_some(choice.tokens),
        routed_experts: (),
    }
}

/// The error that a failed generation is answered with, before anything was sent.
pub(super) fn error(error: &GenerationError) -> ApiError {
    ApiError::internal(error.to_string())
}
