//! What requests look like, from flags and the topology's defaults.

use crate::plan::dataset::Dataset;
use crate::plan::error::PlanError;
use crate::plan::lengths::Lengths;
use crate::plan::load::{Endpoint, Workload};
use crate::plan::mask::masked_text;
use crate::plan::options::WorkloadOptions;
use crate::plan::topology::Defaults;
use crate::plan::workload::Tokenizer;

pub(super) fn build(
    o: &WorkloadOptions,
    defaults: &Defaults,
    tokenizer: Option<String>,
) -> Result<Workload, PlanError> {
    let dataset = o.dataset.dataset(defaults)?;
    let fixed_length = dataset.is_made_up();
    let extra_body = match o.extra_body.as_deref().map(serde_json::from_str) {
        None => serde_json::Map::new(),
        Some(Ok(serde_json::Value::Object(map))) => map,
        Some(Ok(other)) => {
            return Err(PlanError::value(
                "--extra-body",
                masked_text(&other.to_string()),
                "give a JSON object, e.g. '{\"top_p\": 0.9}'",
            ));
        }
        Some(Err(e)) => {
            let typed = masked_text(o.extra_body.as_deref().unwrap_or_default());
            return Err(PlanError::value(
                "--extra-body",
                typed,
                &format!("give a JSON object, e.g. '{{\"top_p\": 0.9}}' ({e})"),
            ));
        }
    };
    check_extra_body(&extra_body, &dataset)?;
    let endpoint = match o.endpoint.trim_start_matches('/') {
        "v1/completions" | "completions" => Endpoint::Completions,
        "v1/chat/completions" | "chat/completions" | "chat" => Endpoint::Chat,
        _ => {
            return Err(PlanError::value(
                "--endpoint",
                &o.endpoint,
                "endpoints are /v1/completions and /v1/chat/completions",
            ));
        }
    };
    if dataset.needs_chat() && endpoint == Endpoint::Completions {
        return Err(PlanError::value(
            "--endpoint",
            &o.endpoint,
            "pictures go to a chat: give --endpoint /v1/chat/completions",
        ));
    }
    let temperature = o.temperature.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&temperature) {
        return Err(PlanError::value("--temperature", temperature, "give a number from 0 up"));
    }
    Ok(Workload {
        dataset,
        endpoint,
        tokenizer,
        ignore_eos: o.ignore_eos || fixed_length,
        temperature: Some(temperature),
        extra_body,
        save_texts: o.save_texts,
        length_field: o.max_tokens_field,
        overlong: o.overlong,
    })
}

/// Fields that are the measurement, and what decides them.
const RESERVED_FIELDS: [(&str, &str); 6] = [
    ("model", "--model and --served-model-name"),
    ("prompt", "the dataset"),
    ("messages", "the dataset"),
    ("max_tokens", "--random-output-len, --output-len or the dataset; its name is --max-tokens-field's"),
    ("stream", "the benchmark, which times a stream"),
    ("n", "the benchmark, which asks for one answer"),
];

fn check_extra_body(body: &serde_json::Map<String, serde_json::Value>, dataset: &Dataset) -> Result<(), PlanError> {
    if let Some((field, owner)) = RESERVED_FIELDS.iter().find(|(field, _)| body.contains_key(*field)) {
        return Err(PlanError::value(
            "--extra-body",
            format!("{{\"{field}\": ..}}"),
            &format!("leave `{field}` out: it is set by {owner}"),
        ));
    }
    let least = body.get("min_tokens").and_then(serde_json::Value::as_u64).unwrap_or(0);
    match dataset {
        Dataset::Random { output: Lengths::Fixed { tokens }, .. } if least > u64::from(tokens.get()) => {
            let remedy =
                format!("answers are {tokens} tokens long: set min_tokens to {tokens} at most, or --random-output-len");
            Err(PlanError::value("--extra-body", format!("{{\"min_tokens\": {least}}}"), &remedy))
        }
        _ => Ok(()),
    }
}

/// The model's own tokenizer. Random token ids do without where it isn't on this machine; texts don't.
pub(super) fn tokenizer_of(model: &str, workload: &Workload, warnings: &mut Vec<String>) -> Option<String> {
    if workload.dataset.is_made_up() && workload.endpoint == Endpoint::Completions && !Tokenizer::is_here(model) {
        warnings.push(format!(
            "no tokenizer of {model} on this machine: random prompts use token ids that are ordinary in the usual \
             vocabularies; name one with --tokenizer to be sure"
        ));
        return None;
    }
    Some(model.to_string())
}
