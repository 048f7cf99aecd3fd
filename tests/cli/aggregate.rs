//! Points of many runs as one table, and figures by name.

use crate::support::{Place, recorded};
use std::path::Path;

fn copy(from: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("there").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Rows of a table, as (column -> value).
fn rows(path: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut table = csv::Reader::from_path(path).expect("a table");
    table.deserialize().map(|row| row.expect("a row")).collect()
}

#[test]
fn runs_trees_and_files_without_requests_become_one_table_that_is_drawn() {
    let place = Place::new();
    for name in ["simple", "nixl"] {
        copy(&recorded(name), &place.path().join("tree/deep").join(name));
    }
    // As `vllm bench serve --save-result` leaves it without --save-detailed.
    let plain = r#"{"date":"20260101-120000","model_id":"m","num_prompts":20,"request_rate":"inf","max_concurrency":5,
        "completed":20,"duration":10.0,"total_input_tokens":5120,"total_output_tokens":2560,"request_throughput":2.0,
        "output_throughput":256.0,"mean_ttft_ms":50.5,"p99_ttft_ms":90.0,"mean_tpot_ms":10.0}"#;
    place.write("theirs/sweep/run.json", plain);
    let ended = place.type_in("aggregate tree theirs --output all.csv").expect(0);
    let rows = rows(&place.path().join("all.csv"));
    assert!(ended.stdout.starts_with(&format!("{} rows: ", rows.len())), "{}", ended.stdout);
    let of = |deployment: &str| rows.iter().filter(|row| row["deployment"].starts_with(deployment)).count();
    assert!(of("simple") >= 2 && of("nixl") >= 2, "{rows:?}");
    let theirs = rows.iter().find(|row| row["model"] == "m").expect("their file");
    assert_eq!((theirs["input_len"].as_str(), theirs["concurrency"].as_str()), ("256.0", "5"));
    assert_eq!((theirs["mean_ttft_ms"].as_str(), theirs["attainment_percent"].as_str()), ("50.5", ""), "not judged");

    let plotted = place.type_in("plot --csv all.csv --all --ratings --output out").expect(0).stdout;
    for file in ["throughput_analysis.svg", "latency_analysis.pdf", "interactive.html", "performance_report.md"] {
        assert!(place.path().join("out").join(file).is_file() && plotted.contains(file), "{file}: {plotted}");
    }
    let report = std::fs::read_to_string(place.path().join("out/performance_report.md")).expect("a report");
    assert!(report.contains("| excellent |") || report.contains("| good |"), "{report}");
    let one = place.type_in("plot tree --throughput --output one").expect(0).stdout;
    assert!(one.contains("throughput_analysis.svg") && !one.contains("latency"), "{one}");
}

#[test]
fn columns_are_told_and_an_empty_place_is_refused() {
    let place = Place::new();
    let columns = place.type_in("aggregate --columns").expect(0).stdout;
    assert!(columns.lines().any(|l| l.starts_with("concurrency ") && l.contains("closed loop")), "{columns}");
    assert!(columns.lines().all(|l| l.split_whitespace().count() > 1), "each is explained: {columns}");
    std::fs::create_dir(place.path().join("empty")).expect("made");
    let refused = place.type_in("aggregate empty").expect(2).stderr;
    assert!(refused.contains("no point of a run") && refused.contains("hint:"), "{refused}");
    let refused = place.type_in("plot --csv missing.csv").expect(2).stderr;
    assert!(refused.contains("missing.csv"), "{refused}");
}
