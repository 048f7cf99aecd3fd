//! `list` prints the history in its documented form, whichever tool made the runs.

use crate::support::{Place, recorded};
use serde_json::{Value, json};

/// Five result files and a figure, as scripts around `vllm bench serve --metadata` leave them.
fn seeds_layout(place: &Place) {
    let text = std::fs::read_to_string(format!("{}/pd-2qps.json", recorded("nixl"))).expect("fixture");
    let mut file: Value = serde_json::from_str(&text).expect("JSON");
    let run = "results/sharegpt/nixl_20261121_153022";
    for (key, value) in [
        ("deployment_mode", json!("nixl")),
        ("num_prefill_instances", json!("2")),
        ("num_decode_instances", json!("2")),
        ("prefill_tensor_parallel_size", json!("2")),
        ("decode_tensor_parallel_size", json!("2")),
        ("model_id", json!("/models/Qwen/Qwen3-0.6B")),
    ] {
        file[key] = value;
    }
    for rate in [0.5, 1.0, 2.0, 4.0, 8.0] {
        file["request_rate"] = json!(rate);
        place.write(&format!("{run}/vllm-{rate:?}qps-Qwen3-0.6B-20261121-153022.json"), &file.to_string());
    }
    for ending in ["png", "pdf", "svg"] {
        place.write(&format!("{run}/plots/vllm_benchmark_plots.{ending}"), "");
    }
}

fn simple_run(place: &Place, stamp: &str) {
    let text = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    place.write(&format!("results/random/simple_{stamp}/a.json"), &text);
}

#[test]
fn runs_are_listed_newest_first_in_two_lines() {
    let place = Place::new();
    seeds_layout(&place);
    simple_run(&place, "20261120_080000");
    simple_run(&place, "20261122_080000");
    place.write("results/README.md", "");
    place.write("results/comparisons/20261122_090000/compare.json", "{}");
    let ended = place.type_in("list").expect(0);
    let expected = "\
2026-11-22 08:00:00 - random/simple_20261122_080000 (1 files, 0 plots)
  Config: Model:Qwen3-8B
2026-11-21 15:30:22 - sharegpt/nixl_20261121_153022 (5 files, 1 plots)
  Config: PF:2, D:2, TP:2x2, Model:Qwen3-0.6B
2026-11-20 08:00:00 - random/simple_20261120_080000 (1 files, 0 plots)
  Config: Model:Qwen3-8B
";
    assert_eq!(ended.stdout, expected);
    assert_eq!(ended.stderr, "");
}

#[test]
fn filters_leave_what_was_asked_for() {
    let place = Place::new();
    seeds_layout(&place);
    simple_run(&place, "20261120_080000");
    simple_run(&place, "20261122_080000");
    let names = |flags: &str| {
        let json = place.type_in(&format!("list --json {flags}")).expect(0).json();
        let names = json.as_array().expect("runs").iter().filter_map(|r| r["name"].as_str().map(str::to_string));
        names.collect::<Vec<_>>()
    };
    let nixl = "sharegpt/nixl_20261121_153022";
    let (old, new) = ("random/simple_20261120_080000", "random/simple_20261122_080000");
    assert_eq!(names("--mode nixl"), [nixl]);
    assert_eq!(names("--dataset random"), [new, old]);
    assert_eq!(names("--model 0.6b"), [nixl]);
    assert_eq!(names("--since 2026-11-21"), [new, nixl]);
    assert_eq!(names("--until 2026-11-21"), [nixl, old]);
    assert_eq!(names("--since 2026-11-21T15:30:22 --until 2026-11-21T15:30"), [""; 0]);
    assert_eq!(names("--since 2026-11-21T15:30:22 --until 2026-11-21T15:30:22"), [nixl]);
    assert_eq!(names("--status completed"), [""; 0], "nobody knows how others' runs ended");
}

#[test]
fn json_and_long_know_sizes() {
    let place = Place::new();
    seeds_layout(&place);
    let json = place.type_in("list --json").expect(0).json();
    let run = &json[0];
    let bytes = run["bytes"].as_u64().expect("a size");
    assert!(bytes > 5000, "{bytes}");
    assert_eq!((&run["files"], &run["plots"], &run["config"]["tp"]), (&5.into(), &1.into(), &"2x2".into()));
    let long = place.type_in("list --long").expect(0).stdout;
    let last = long.lines().last().unwrap_or_default();
    assert!(last.starts_with("  Size: ") && last.contains(" KiB, Status: imported, Path: results/sharegpt/"), "{last}");
}

#[test]
fn no_history_is_no_error() {
    let place = Place::new();
    let ended = place.type_in("list").expect(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", "no runs in results\n"));
    assert_eq!(place.type_in("list --json").expect(0).stdout, "[]\n");
    assert_eq!(place.type_in("list --result-dir elsewhere").expect(0).stderr, "no runs in elsewhere\n");
}
