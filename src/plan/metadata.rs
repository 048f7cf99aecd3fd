//! `--metadata K=V`: labels that are copied into every result file. A label must not take the place of a measured field,
//! or nobody could read the file back.

use super::error::PlanError;
use super::mask::masked_value;
use std::collections::BTreeMap;

/// Fields of result files: vLLM's, old and new, and those that topobench adds.
const FIELDS: [&str; 68] = [
    "attempt",
    "backend",
    "burstiness",
    "completed",
    "data_parallel_size",
    "dataset_name",
    "date",
    "decode_data_parallel_size",
    "decode_expert_parallel",
    "decode_pipeline_parallel_size",
    "decode_tensor_parallel_size",
    "decoder_tp_size",
    "deployment_mode",
    "duration",
    "endpoint",
    "endpoint_type",
    "errors",
    "expert_parallel",
    "failed",
    "generated_texts",
    "goodput",
    "host",
    "input_lens",
    "itls",
    "label",
    "latencies",
    "launch",
    "max_concurrency",
    "max_concurrent_requests",
    "max_output_tokens_per_s",
    "model_id",
    "model_name",
    "num_decode_instances",
    "num_gpus",
    "num_instances",
    "num_prefill_instances",
    "num_prompts",
    "output_lens",
    "output_throughput",
    "pipeline_parallel_size",
    "prefill_data_parallel_size",
    "prefill_expert_parallel",
    "prefill_pipeline_parallel_size",
    "prefill_tensor_parallel_size",
    "prefiller_tp_size",
    "queue_times",
    "ramp_up_end_rps",
    "ramp_up_start_rps",
    "ramp_up_strategy",
    "request_goodput",
    "request_rate",
    "request_throughput",
    "rtfx",
    "settings",
    "spec_decode_acceptance_length",
    "spec_decode_acceptance_rate",
    "start_times",
    "tensor_parallel_size",
    "tokenizer_id",
    "total_input",
    "total_input_tokens",
    "total_output",
    "total_output_tokens",
    "total_token_throughput",
    "tpots",
    "ttfts",
    "ttfts_due",
    "version",
];

/// More would not be labels.
const MOST: usize = 256;

/// The labels as they may be stored: secrets masked.
///
/// # Errors
/// A key that is a field of result files.
pub fn checked(typed: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, PlanError> {
    if typed.len() > MOST {
        let remedy = format!("give at most {MOST}");
        return Err(PlanError::Value {
            what: "--metadata".to_string(),
            value: format!("{} words", typed.len()),
            remedy,
        });
    }
    match typed.keys().find(|key| is_field(key)) {
        Some(key) => Err(PlanError::Value {
            what: "--metadata".to_string(),
            value: key.clone(),
            remedy: format!("result files have a field of that name: call it otherwise, e.g. my_{key}"),
        }),
        None => Ok(typed.iter().map(|(key, value)| (key.clone(), masked_value(key, value))).collect()),
    }
}

/// Whether result files have a field of this name.
pub fn is_field(name: &str) -> bool {
    FIELDS.contains(&name) || is_statistic(name)
}

/// `mean_ttft_ms`, `p99.9_itl_ms`.
fn is_statistic(name: &str) -> bool {
    let Some((statistic, metric)) = name.strip_suffix("_ms").and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let percentile = statistic.strip_prefix('p').is_some_and(|p| p.parse::<f64>().is_ok());
    (percentile || ["mean", "median", "std"].contains(&statistic))
        && ["ttft", "tpot", "itl", "e2el", "s_itl"].contains(&metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn labels_that_would_replace_a_field_are_refused_by_name() {
        for key in ["errors", "ttfts", "num_prompts", "model_id", "p99_ttft_ms", "mean_e2el_ms", "request_rate"] {
            let error = checked(&labels(&[(key, "x"), ("team", "a")])).expect_err(key).to_string();
            assert!(error.contains(key) && error.contains("--metadata"), "{error}");
        }
        assert!(checked(&labels(&[("cluster", "a"), ("p99", "1"), ("mean_ms", "1")])).is_ok());
    }

    #[test]
    fn secrets_are_masked_before_they_are_stored() {
        let kept = checked(&labels(&[("token", "s3cret"), ("url", "http://u:s3cret@h"), ("note", "a=b")])).expect("ok");
        assert_eq!(kept, labels(&[("token", "***"), ("url", "http://***@h"), ("note", "a=b")]));
    }
}
