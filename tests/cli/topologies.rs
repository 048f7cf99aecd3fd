//! Topology files: those that come with the program, and a user's own.

use crate::support::{Place, entries, run};
use std::path::Path;

fn shipped() -> Vec<std::path::PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    // Beside them lie the settings that `best` tries.
    let describes = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "toml") && !p.ends_with("tuning.toml");
    entries(&dir).into_iter().filter(describes).collect()
}

#[test]
fn every_file_that_is_shipped_makes_a_plan() {
    let place = Place::new();
    for path in shipped() {
        // No engine is asked for its version, and no machine needs its GPUs.
        let text = std::fs::read_to_string(&path)
            .expect("readable")
            .replace("program = \"vllm\"", "program = \"no-such-engine\"");
        let devices = if text.contains("devices =") { "" } else { "devices = 8\n" };
        let copy = place.write("topology.toml", &format!("{devices}{text}"));
        let line = format!(
            "run {} --model qwen3-8b --tokenizer enginesim --request-rate 1 --num-prompts 2 --dry-run",
            copy.display()
        );
        let ended = place.type_in(&line).expect(0);
        assert!(ended.stdout.contains(" serve qwen3-8b "), "{}: {}", path.display(), ended.stdout);
    }
}

#[test]
fn prefill_and_decode_may_differ_in_size() {
    let place = Place::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/heterogeneous-2p1d-sim.toml");
    let line = format!("run {} --request-rate 1 --num-prompts 2 --dry-run", file.display());
    let ended = place.type_in(&line).expect(0);
    let lines: Vec<&str> = ended.stdout.lines().filter(|l| l.starts_with("  ") && l.contains(": GPU ")).collect();
    let gpus: Vec<&str> = lines.iter().filter_map(|l| l.split(", HTTP").next()).collect();
    assert_eq!(gpus, ["  prefill-0: GPU 0", "  prefill-1: GPU 1", "  decode-0: GPU 2,3"]);
    assert!(ended.stdout.starts_with("heterogeneous-2p1d 2P1D TP1/TP2: 4 GPUs\n"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("prefill TP"), "the larger decode side is the safe direction: {}", ended.stderr);
}

#[test]
fn a_file_in_topologies_wins_over_the_one_built_in_and_an_engine_is_a_file() {
    let place = Place::new();
    let text = |seqs: u32| {
        format!(
            "name = 'simple'\nkind = 'simple'\nprogram = 'enginesim'\ndevices = 2\nargs = ['--max-num-seqs', '{seqs}']\n[defaults]\nmodel = 'qwen3-8b'\ntokenizer = 'enginesim'\nrequest_rate = [1]\n"
        )
    };
    place.write("topologies/simple-sim.toml", &text(77));
    place.write("topologies/simple-mine.toml", &text(78));
    assert!(place.type_in("simple --engine sim --dry-run").expect(0).stdout.contains("--max-num-seqs 77"));
    assert!(place.type_in("simple --engine mine --dry-run").expect(0).stdout.contains("--max-num-seqs 78"));
    place.type_in("nixl --engine mine --dry-run").expect(2);
}

#[test]
fn toml_and_yaml_run_alike() {
    let place = Place::new();
    place.write("mine.toml", "name = 'mine'\nkind = 'simple'\nprogram = 'enginesim'\ndevices = 2\n[group]\nreplicas = 2\n[defaults]\nmodel = 'qwen3-0.6b'\ntokenizer = 'enginesim'\n");
    place.write("mine.yaml", "name: mine\nkind: simple\nprogram: enginesim\ndevices: 2\ngroup:\n  replicas: 2\ndefaults:\n  model: qwen3-0.6b\n  tokenizer: enginesim\n");
    for file in ["mine.toml", "mine.yaml"] {
        let ended = place.measure(&format!("run {file}")).measured();
        assert_eq!(ended.json()["arms"][0]["label"], "mine", "{file}");
    }
    let runs = place.runs("random");
    assert_eq!(runs.len(), 2);
    let shapes: Vec<_> = runs
        .iter()
        .map(|r| crate::support::read_json(r.join("manifest.json"))["arm"]["topology"]["shape"].clone())
        .collect();
    assert_eq!(shapes[0], shapes[1]);
    let list = run(place.command(env!("CARGO_BIN_EXE_topobench")).arg("list")).expect(0).stdout;
    assert_eq!(list.matches("  Config: R:2, TP:1, Model:qwen3-0.6b").count(), 2, "{list}");
}

#[test]
fn settings_are_part_of_an_arm() {
    let place = Place::new();
    let ended =
        place.type_in("ab nixl nixl:block-size=128 --engine sim --request-rate 1 --num-prompts 2 --dry-run").expect(0);
    assert!(ended.stdout.contains("nixl 1P1D (block-size 128)"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("--block-size=128").count(), 2, "prefill and decode: {}", ended.stdout);
    assert!(
        ended
            .stderr
            .contains("nixl 1P1D ran with the engine's default block-size, nixl 1P1D (block-size 128) with 128"),
        "{}",
        ended.stderr
    );
    let measured = place.measure("ab simple:max-num-seqs=64 simple").measured();
    let json = measured.json();
    assert_eq!(json["arms"][0]["settings"], serde_json::json!({"max-num-seqs": "64"}));
    assert_eq!(json["arms"][1]["settings"], serde_json::json!({}));
    let labels: Vec<&str> = json["arms"].as_array().expect("two").iter().flat_map(|a| a["label"].as_str()).collect();
    assert_eq!(labels, ["simple TP1 (max-num-seqs 64)", "simple TP1"]);
    let warned = "simple TP1 ran with the engine's default max-num-seqs";
    assert!(json["warnings"].to_string().contains(warned), "{}", json["warnings"]);
}
