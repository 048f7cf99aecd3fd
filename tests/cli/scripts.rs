//! The wrappers for people who come from shell scripts.

use crate::support::{Ended, Place, QUICK, read_json, run};

fn script(place: &Place, name: &str, args: &[&str]) -> Ended {
    let path = format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR"));
    run(place.command("bash").arg(path).args(args).env("TOPOBENCH", env!("CARGO_BIN_EXE_topobench")))
}

fn with_load(dataset: &str) -> Vec<&str> {
    std::iter::once(dataset).chain(QUICK).collect()
}

#[test]
fn simple_takes_its_size_and_objective_from_the_environment() {
    let place = Place::new().with("TENSOR_PARALLEL_SIZE", "2").with("TPOT_SLO", "900").with("TARGET_ATTAINMENT", "80");
    let json = script(&place, "run_benchmark_and_plot_simple.sh", &with_load("random")).measured().json();
    assert_eq!((&json["slo"]["tpot_ms"], &json["target_percent"]), (&900.0.into(), &80.0.into()));
    assert_eq!(json["arms"][0]["gpus"], 2);
    let run = &place.runs("random")[0];
    assert!(run.join("plots/vllm_benchmark_plots.pdf").is_file());
}

#[test]
fn nixl_takes_its_instances_from_the_environment_and_the_list_shows_them() {
    let place = Place::new()
        .with("NUM_PREFILL_INSTANCES", "2")
        .with("NUM_DECODE_INSTANCES", "1")
        .with("DECODER_TP_SIZE", "2")
        .with("GPU_MEMORY_UTILIZATION", "0.7");
    script(&place, "run_benchmark_and_plot_nixl.sh", &with_load("random")).measured();
    let manifest = read_json(place.runs("random")[0].join("manifest.json"));
    let instances = manifest["instances"].as_array().expect("instances");
    assert_eq!(instances.len(), 3);
    assert!(manifest.to_string().contains("--gpu-memory-utilization\",\"0.7"), "{manifest}");
    let listed = script(&place, "list_results.sh", &["--mode", "nixl"]).expect(0).stdout;
    let mut lines = listed.lines();
    assert!(lines.next().is_some_and(|l| l.contains(" - random/nixl_") && l.contains("(2 files, ")), "{listed}");
    assert_eq!(lines.next(), Some("  Config: PF:2, D:1, TP:1x2, Model:qwen3-8b"));
}

#[test]
fn without_a_dataset_they_say_how_they_are_used() {
    for name in ["run_benchmark_and_plot_simple.sh", "run_benchmark_and_plot_nixl.sh"] {
        let ended = script(&Place::new(), name, &[]).expect(2);
        assert!(ended.stderr.contains("usage: ") && ended.stderr.contains("sharegpt"), "{}", ended.stderr);
    }
}
