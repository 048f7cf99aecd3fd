//! What is told of the hand-over of KV caches, and how long a prefill/decode arm is warmed for it.

use crate::support::{Ended, Place, QUICK, read_json, read_json_lines};
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
    // Blocks of 16 would be warned of.
    let ended = measure(&Place::new(), "--max-warmup 0 --engine-arg=--block-size=128");
    assert!(events(&ended.stderr, "hand_over_steady").is_empty() && events(&ended.stderr, "warning").is_empty());
}

#[test]
fn pull_and_push_are_arms_of_one_comparison() {
    let place = Place::new();
    let ended = place.measure("ab nixl nixl:kv.connector=NixlPushConnector").measured();
    let arms = ended.json()["arms"].clone();
    assert_eq!(arms[1]["label"], "nixl 1P1D (kv.connector NixlPushConnector)");
    assert_eq!(
        (&arms[0]["points"][0]["kv"]["pushed"], &arms[1]["points"][0]["kv"]["pushed"]),
        (&Value::Null, &true.into())
    );
    assert_eq!(arms[1]["points"][0]["kv"]["stall_ms"], 0.0);
    let together = |run: &std::path::Path| {
        let requests = read_json_lines(run.join("requests.jsonl"));
        assert!(!requests.is_empty());
        let stage = |r: &Value, name: &str| r["stages"][name].as_f64().unwrap_or_else(|| panic!("{name}: {r}"));
        requests.iter().filter(|r| stage(r, "decode_sent") < stage(r, "prefill_head")).count() == requests.len()
    };
    let runs = place.runs("random");
    assert_eq!(runs.iter().map(|run| together(run)).collect::<Vec<_>>(), [false, true]);
    for run in &runs {
        let manifest = read_json(run.join("manifest.json"));
        for point in manifest["points"].as_array().expect("points") {
            let engines = &point["engines"];
            assert_eq!(
                (&engines["local_compute_tokens"], &engines["kv_transfers"]),
                (&0.0.into(), &6.0.into()),
                "{point}"
            );
        }
    }
}

#[test]
fn connectors_of_another_protocol_are_refused_by_name() {
    for (connector, word) in
        [("MooncakeConnector", "transfer_id"), ("LMCacheConnectorV1", "store"), ("Nixl", "not known")]
    {
        let ended = Place::new().type_in(&format!("ab simple nixl:kv.connector={connector} --engine sim --dry-run"));
        assert!(ended.code == 2 && ended.stderr.contains(connector) && ended.stderr.contains(word), "{}", ended.stderr);
    }
}

#[test]
fn doctor_measures_a_hand_over_of_a_known_prompt() {
    let place = Place::new();
    let kv = place.type_in("doctor --quick --kv --engine sim --kv-tokens 512 --json").expect(0).json()["kv"].clone();
    let over = &kv["hand_over"];
    // Qwen3-8B: 36 layers of keys and values, 144 KiB a token; on fresh engines each layer and half is one piece.
    assert_eq!((&over["bytes"], &over["expected_bytes"]), (&75_497_472.0.into(), &75_497_472.0.into()), "{kv}");
    assert_eq!((&over["descriptors"], &over["prompts"], &over["block_size"]), (&72.0.into(), &8.into(), &16.into()));
    assert!(
        over["post_ms"].as_f64() < over["transfer_ms"].as_f64()
            && over["transfer_ms"].as_f64() < over["ttft_ms"].as_f64()
    );
    assert!(kv["links"].is_array() || kv["links_not_measured"].is_string(), "{kv}");
    assert!(!place.results().exists(), "nothing is left behind");
}

#[test]
fn doctor_says_plainly_what_it_cannot_measure() {
    let ended = Place::new().with("PATH", "/nowhere").type_in("doctor --quick --kv").expect(0);
    let told = |what: &str| ended.stdout.lines().any(|line| line.starts_with(what));
    assert!(
        told("hand-over: not measured: vllm is not on PATH; `topobench doctor --kv --engine sim`"),
        "{}",
        ended.stdout
    );
}

#[test]
fn an_arm_that_will_be_bound_by_descriptors_is_told_before_the_start() {
    let warned = |arm: &str, more: &str| {
        let line = format!(
            "ab simple {arm} --engine sim --random-input-len 2048 --request-rate 1 --num-prompts 2 --dry-run {more}"
        );
        Place::new()
            .type_in(&line)
            .expect(0)
            .stderr
            .contains("will be bound by descriptors: 9216 a prompt of 2048 tokens")
    };
    assert!(warned("nixl", ""));
    for (arm, more) in [
        ("nixl:block-size=128", ""),
        ("nixl:decode.block-size=128", ""),
        ("nixl:kv.connector=NixlPushConnector", ""),
        ("nixl", "--random-input-len 64"),
        ("nixl", "--model unheard-of"),
    ] {
        assert!(!warned(arm, more), "{arm} {more}");
    }
}
