//! `--profile`: every engine's own profiler, and points that are not judged.

use crate::support::{Place, entries, read_json};
use serde_json::Value;

#[test]
fn every_engine_is_profiled_by_itself_and_the_points_are_not_judged() {
    let place = Place::new();
    let ended = place.measure("nixl --prefill 1 --decode 1 --profile").measured();
    assert_eq!(ended.code, 0, "a point that is not judged is no doubtful one: {}", ended.stderr);
    let run = &place.runs("random")[0];
    // Two engines, two points.
    assert_eq!(entries(&run.join("profile")).len(), 4);
    let manifest = read_json(run.join("manifest.json"));
    assert!(manifest["points"].as_array().is_some_and(|p| p.iter().all(|p| p["profiled"] == true)), "{manifest}");
    let points = &ended.json()["arms"][0]["points"];
    assert!(points.as_array().is_some_and(|p| p.iter().all(|p| p["valid"] == Value::Null)), "{points}");
    assert!(place.type_in("show latest").expect(0).stdout.contains("the engines' profiler ran"));
}

#[test]
fn a_server_without_a_profiler_is_told_and_measured_as_ever() {
    let (engine, place) = (crate::attach::Engine::start(""), Place::new());
    let line = format!(
        "simple --attach {} --model m --tokenizer enginesim --request-rate 40 --num-prompts 5 --random-input-len 16 \
         --random-output-len 4 --ttft-slo 60s --profile --json",
        engine.url()
    );
    let ended = place.type_in(&line).measured();
    assert!(ended.stderr.contains("it has no profiler: start it with --profiler-config"), "{}", ended.stderr);
    assert_ne!(ended.json()["arms"][0]["points"][0]["valid"], Value::Null);
}
