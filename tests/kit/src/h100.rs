//! The recorded run: `vllm bench serve` against vLLM 0.22 on two H100s, 20 to 80 requests a point. Few, and real.
//!
//! Arms are `tp2` (simple) and `pd` (nixl, one prefill and one decode instance) at 2, 5 and 8 requests per second, and
//! `all-failed` at 11.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Per-request columns of every result file by its name, such as `tp2-2qps`.
pub fn columns() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("../../fixtures/h100/columns.json")).expect("the fixture is JSON")
}

/// A result file as vLLM left it, with the summary that it printed.
pub const TP2_2QPS: &str = include_str!("../../fixtures/h100/tp2-2qps.json");

/// What topobench calls an arm's deployment.
pub fn mode(arm: &str) -> &'static str {
    if arm == "pd" { "nixl" } else { "simple" }
}

/// An arm's result files by rising rate, with the other fields that topobench's files have.
pub fn result_files(arm: &str) -> Vec<(f64, Value)> {
    let (prefill, decode, tensor_parallel) = if arm == "pd" { (1, 1, 1) } else { (0, 0, 2) };
    let file = |(name, mut file): (String, Value)| {
        let rate: f64 = name.strip_prefix(arm)?.strip_prefix('-')?.strip_suffix("qps")?.parse().ok()?;
        let beside = json!({
            "request_rate": rate, "date": "20261121-214630", "model_id": "/models/Qwen3-8B", "dataset_name": "random",
            "deployment_mode": mode(arm), "num_prefill_instances": prefill, "num_decode_instances": decode,
            "tensor_parallel_size": tensor_parallel,
        });
        file.as_object_mut()?.extend(beside.as_object()?.clone());
        Some((rate, file))
    };
    let mut files: Vec<(f64, Value)> = columns().into_iter().filter_map(file).collect();
    assert!(!files.is_empty(), "no arm {arm} was recorded");
    files.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    files
}

/// The same in a directory, to be read as a run.
pub fn write_result_files(arm: &str, dir: &Path) {
    for (rate, file) in result_files(arm) {
        std::fs::write(dir.join(format!("{arm}-{rate}qps.json")), file.to_string()).expect("writes a result file");
    }
}

/// The directory of an arm's run in snapshots.
pub fn run_dir(arm: &str) -> String {
    format!("results/random/{}_20261121_214630", mode(arm))
}
