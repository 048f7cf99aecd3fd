//! What requests look like, from flags and the topology's defaults.

use crate::plan::dataset_file;
use crate::plan::error::PlanError;
use crate::plan::load::{Dataset, Endpoint, Lengths, Prefixes, Workload};
use crate::plan::mask::masked_text;
use crate::plan::options::{DatasetName, WorkloadOptions};
use crate::plan::topology::Defaults;
use crate::plan::workload::Tokenizer;
use crate::units::TokenCount;

const IMAGE_PROMPT: &str = "Describe this image in detail.";

pub(super) fn build(
    o: &WorkloadOptions,
    defaults: &Defaults,
    tokenizer: Option<String>,
) -> Result<Workload, PlanError> {
    let dataset = dataset(o, defaults)?;
    let fixed_length = matches!(dataset, Dataset::Random { .. } | Dataset::TimedTrace { .. });
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
    if matches!(dataset, Dataset::Images { .. }) && endpoint == Endpoint::Completions {
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
    let made_up = matches!(workload.dataset, Dataset::Random { .. } | Dataset::TimedTrace { .. });
    if made_up && workload.endpoint == Endpoint::Completions && !Tokenizer::is_here(model) {
        warnings.push(format!(
            "no tokenizer of {model} on this machine: random prompts use token ids that are ordinary in the usual \
             vocabularies; name one with --tokenizer to be sure"
        ));
        return None;
    }
    Some(model.to_string())
}

fn dataset(o: &WorkloadOptions, defaults: &Defaults) -> Result<Dataset, PlanError> {
    let output_len = positive("--output-len", o.output_len)?.map(TokenCount);
    let path = |name: &str| {
        o.dataset_path.clone().ok_or_else(|| PlanError::Missing {
            what: "--dataset-path".to_string(),
            remedy: format!("--dataset-name {name} reads a local file: give its path"),
        })
    };
    let multi_turn = positive("--multi-turn", o.multi_turn)?;
    if let Some(open) = multi_turn.filter(|_| o.dataset_name != DatasetName::Sharegpt) {
        return Err(PlanError::value("--multi-turn", open, "conversations come from --dataset-name sharegpt"));
    }
    match o.dataset_name {
        DatasetName::Random => random(o, defaults),
        DatasetName::Sharegpt => {
            Ok(Dataset::Sharegpt { path: dataset_file::sharegpt(o.dataset_path.as_deref())?, output_len, multi_turn })
        }
        DatasetName::Custom => Ok(Dataset::Custom { path: path("custom")?, output_len }),
        DatasetName::Hf => Ok(Dataset::Hf { path: path("hf")?, column: o.hf_column.clone(), output_len }),
        DatasetName::TimedTrace => Ok(Dataset::TimedTrace { path: path("timed_trace")? }),
        DatasetName::Images => Ok(Dataset::Images {
            path: path("images")?,
            prompt: o.image_prompt.clone().unwrap_or_else(|| IMAGE_PROMPT.to_string()),
            output_len: output_len.unwrap_or(TokenCount(128)),
        }),
    }
}

fn random(o: &WorkloadOptions, defaults: &Defaults) -> Result<Dataset, PlanError> {
    let input = positive("--random-input-len", o.random_input_len)?.or(defaults.random_input_len).unwrap_or(1024);
    let output = positive("--random-output-len", o.random_output_len.or(o.output_len))?
        .or(defaults.random_output_len)
        .unwrap_or(128);
    if let Some(ratio) = o.random_range_ratio.filter(|r| !(0.0..1.0).contains(r)) {
        return Err(PlanError::value("--random-range-ratio", ratio, "give a share from 0 to below 1"));
    }
    if let Some(sigma) = o.random_lognormal_sigma.filter(|s| !(*s > 0.0 && *s <= 5.0)) {
        return Err(PlanError::value("--random-lognormal-sigma", sigma, "give a sigma above 0, at most 5"));
    }
    let lengths = |tokens| {
        let tokens = TokenCount(tokens);
        match (o.random_range_ratio, o.random_lognormal_sigma) {
            (Some(range_ratio), _) if range_ratio > 0.0 => Lengths::Uniform { tokens, range_ratio },
            (_, Some(sigma)) => Lengths::LogNormal { tokens, sigma },
            _ => Lengths::Fixed { tokens },
        }
    };
    if o.random_prefix_len > MOST_TOKENS {
        return Err(PlanError::value(
            "--random-prefix-len",
            o.random_prefix_len,
            &format!("give at most {MOST_TOKENS}"),
        ));
    }
    let prefix_len = TokenCount(o.random_prefix_len);
    Ok(Dataset::Random { input: lengths(input), output: lengths(output), prefix_len, prefixes: prefixes(o)? })
}

fn prefixes(o: &WorkloadOptions) -> Result<Prefixes, PlanError> {
    let count = positive("--random-prefix-count", o.random_prefix_count)?.unwrap_or(1);
    match o.random_prefix_share.unwrap_or(1.0) {
        share if (0.0..=1.0).contains(&share) => Ok(Prefixes { count, share }),
        share => Err(PlanError::value("--random-prefix-share", share, "give a share from 0 to 1")),
    }
}

/// No model's context is longer, and a prompt has to lie in memory.
const MOST_TOKENS: u32 = 100_000_000;
/// Conversations open at a time.
const MOST_OPEN: u32 = 1_000_000;

fn positive(what: &str, number: Option<u32>) -> Result<Option<u32>, PlanError> {
    let most = if what == "--multi-turn" { MOST_OPEN } else { MOST_TOKENS };
    match number {
        Some(0) => Err(PlanError::value(what, 0, "give at least 1")),
        Some(n) if n > most => Err(PlanError::value(what, n, &format!("give at most {most}"))),
        other => Ok(other),
    }
}
