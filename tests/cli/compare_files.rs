//! Result files of others: damaged ones are named, and what can be read is.

use crate::support::{Place, recorded};

#[test]
fn a_file_that_is_no_result_is_skipped_and_named() {
    let place = Place::new();
    let good = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    place.write("mixed/a.json", &good);
    place.write("mixed/notes.json", "{\"note\": 1}");
    place.write("mixed/torn.json", &good[..good.len() / 2]);
    let ended = place.type_in(&format!("compare mixed {} --json", recorded("nixl"))).expect(0);
    assert_eq!(ended.json()["arms"][0]["points"].as_array().map(Vec::len), Some(1));
    for name in ["notes.json", "torn.json"] {
        assert!(
            ended.stderr.lines().any(|l| l.starts_with("warning: skipped") && l.contains(name)),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn files_without_detail_are_refused_with_the_flag_that_was_missing() {
    let place = Place::new();
    place.write("summary/a.json", r#"{"request_rate": 2.0, "num_prompts": 10, "mean_ttft_ms": 12.0}"#);
    let ended = place.type_in(&format!("compare summary {}", recorded("nixl"))).expect(2);
    assert!(ended.stderr.contains("a.json") && ended.stderr.contains("--save-detailed"), "{}", ended.stderr);
    assert!(!place.results().exists(), "nothing was compared");
}

#[test]
fn a_rate_without_end_is_a_word() {
    let place = Place::new();
    let good = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    let endless = good.replace("\"request_rate\":2.0", "\"request_rate\":\"inf\"");
    assert_ne!(good, endless);
    place.write("a/x.json", &endless);
    place.write("b/x.json", &endless);
    let json = place.type_in("compare a b --json").measured().json();
    assert_eq!(json["arms"][0]["points"][0]["rate"], "inf");
}
