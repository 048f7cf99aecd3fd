//! What is told of the hand-over of KV caches, and how long a prefill/decode arm is warmed for it.

use crate::support::{Ended, Place, QUICK, read_json};
use serde_json::Value;

/// Decode instances with room for some thirty prompts of 1024 tokens; a point of three seconds.
fn measure(place: &Place, more: &str) -> Ended {
    let line = "nixl --engine-arg=--kv-cache-memory-bytes=5000000000";
    let size = "--random-input-len 1024 --num-prompts 12 --request-rate 4";
    let args: Vec<&str> = line.split(' ').chain(QUICK).chain(size.split(' ')).chain(more.split_whitespace()).collect();
    place.topobench(&args).measured()
}

fn events(stderr: &str, kind: &str) -> Vec<Value> {
    let events = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == kind).collect()
}

#[test]
fn the_warm_up_goes_on_until_every_kv_block_was_used_and_points_tell_what_was_handed_over() {
    let place = Place::new();
    let ended = measure(&place, "");
    let steady = &events(&ended.stderr, "hand_over_steady")[..];
    let [steady] = steady else { panic!("once: {}", ended.stderr) };
    assert!(steady["descriptors"].as_f64().is_some_and(|n| n > 0.0), "{steady}");
    assert!(steady["requests"].as_u64().is_some_and(|n| n >= 30), "{steady}");

    let kv = &ended.json()["arms"][0]["points"][0]["kv"];
    for field in ["bytes", "descriptors", "bytes_per_descriptor", "post_ms", "transfer_ms", "stall_ms", "ttft_percent"]
    {
        assert!(kv[field].as_f64().is_some_and(|v| v > 0.0), "{field}: {kv}");
    }
    assert_eq!(kv["block_size"], 16);
    let manifest = read_json(place.runs("random")[0].join("manifest.json"));
    let mut points = manifest["points"].as_array().expect("points").iter();
    let long = points.find(|p| p["rate"] == 4.0).expect("the point of three seconds");
    let course = long["hand_over"]["course"].as_array().expect("a course");
    let transfers: f64 = course.iter().filter_map(|span| span["transfers"].as_f64()).sum();
    assert_eq!(transfers, 12.0, "the warm-up's are not among them: {course:?}");
}

#[test]
fn a_bound_on_the_warm_up_is_kept_and_said() {
    let place = Place::new();
    let ended = measure(&place, "--max-warmup 1e-6");
    assert!(events(&ended.stderr, "hand_over_steady").is_empty());
    let warnings = events(&ended.stderr, "warning");
    assert!(
        warnings.iter().any(|w| w["text"].as_str().is_some_and(|t| t.contains("before the hand-over was steady"))),
        "{warnings:?}"
    );
    let manifest = read_json(place.runs("random")[0].join("manifest.json"));
    assert!(manifest["warnings"].to_string().contains("--max-warmup"), "{}", manifest["warnings"]);
}

#[test]
fn without_a_longer_warm_up_nothing_is_said() {
    let ended = measure(&Place::new(), "--max-warmup 0");
    assert!(events(&ended.stderr, "hand_over_steady").is_empty() && events(&ended.stderr, "warning").is_empty());
}
