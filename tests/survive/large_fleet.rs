//! Sixteen engines in one fleet, as two hosts of eight GPUs would have them.

use crate::support::{Bench, RunDir};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

const SIXTEEN: &str = "name = \"sixteen\"\nkind = \"prefill-decode\"\nprogram = \"enginesim\"\ndevices = 16\n\
                       args = [\"--sim-speed\", \"10\", \"--sim-handshake-ms\", \"5\", \"--max-model-len\", \"4096\", \"--kv-cache-memory-bytes\", \"2000000000\"]\n\
                       [prefill]\nreplicas = 6\n[decode]\nreplicas = 10\n[kv]\n\
                       [defaults]\nmodel = \"qwen3-8b\"\ntokenizer = \"enginesim\"\n";

/// Every port that an instance was given.
fn ports(instance: &serde_json::Value) -> Vec<u16> {
    let word = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
    let argv: Vec<&str> = instance["argv"].as_array().expect("words").iter().filter_map(|w| w.as_str()).collect();
    let http = argv.iter().position(|w| *w == "--port").and_then(|at| argv[at + 1].parse().ok());
    let env = &instance["env"];
    [http, word(&env["VLLM_NIXL_SIDE_CHANNEL_PORT"]), word(&env["VLLM_PORT"])].into_iter().flatten().collect()
}

#[test]
fn sixteen_engines_start_measure_and_leave_nothing() {
    let bench = Bench::bare("run sixteen.toml").args(
        "--request-rate 20 --num-prompts 64 --random-input-len 64 --random-output-len 8 --num-warmups 4 --ttft-slo 60s",
    );
    std::fs::write(bench.dir.path().join("sixteen.toml"), SIXTEEN).expect("writes");
    let finished = bench.run();
    assert!(matches!(finished.code, Some(0 | 4)), "{}", finished.words);
    let manifest = RunDir(finished.dir()).manifest();
    let instances = manifest["instances"].as_array().expect("instances");
    assert_eq!(instances.len(), 16);
    let point = &manifest["points"][0];
    assert_eq!(
        (&point["engines"]["external_kv_tokens"], &point["engines"]["local_compute_tokens"]),
        (&4096.0.into(), &0.0.into())
    );

    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
    let all: Vec<u16> = instances.iter().flat_map(ports).collect();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (48, 48), "{all:?}");
    let held: Vec<u16> = all.into_iter().filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()).collect();
    assert_eq!(held, [0; 0], "ports that are still held");
}
