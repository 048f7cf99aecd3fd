//! `--dry-run` shows everything that would be started, and no secret.

use crate::support::Place;
use serde_json::Value;

/// Masks ports, which depend on what else the machine runs.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"HTTP port \d+, side channel \d+, internal ports from \d+", "[ports]");
    settings.add_filter(r"--port \d+", "--port [port]");
    settings.add_filter(r"(VLLM_NIXL_SIDE_CHANNEL_PORT|VLLM_PORT)=\d+", "$1=[port]");
    settings
}

#[test]
fn prefill_and_decode_instances_with_their_gpus_and_the_schedule() {
    let place = Place::new();
    let ended = place.type_in(
        "nixl --prefill 2 --decode 2 --decode-tp 2 --engine sim --request-rate 2,inf --num-prompts 20 --seed 7 --engine-arg=--max-num-seqs=64 --dry-run -- --block-size 128",
    );
    let ended = ended.expect(0);
    settings().bind(|| insta::assert_snapshot!(ended.stdout));
    assert_eq!(ended.stderr, "");
    assert!(!place.results().exists());
}

#[test]
fn a_trace_keeps_its_own_times_or_takes_the_rates_asked_for() {
    let place = Place::new();
    place.write(
        "trace.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,300,44\n2023-11-16 18:15:48,396,109\n2023-11-16 18:15:49,879,55\n",
    );
    let summary = |words: &str| {
        let line = "simple --engine sim --dataset-name timed_trace --dataset-path trace.csv --num-prompts 3 --dry-run";
        let ended = place.type_in(&format!("{line} {words}")).expect(0);
        ended.stdout.lines().filter(|line| line.contains("attempt")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!([summary("--trace-arrivals"), summary("--request-rate 1,4")].join("\n"));
}

#[test]
fn two_arms_in_the_order_they_will_take_turns() {
    let ended = Place::new()
        .type_in("ab simple:tp=4 nixl:prefill=4,decode=2 --engine sim --request-rate 4 --num-prompts 10 --dry-run");
    settings().bind(|| insta::assert_snapshot!(ended.expect(0).stdout));
}

#[test]
fn arms_that_are_up_together_have_ports_of_their_own() {
    let ended = Place::new()
        .type_in("ab simple nixl --engine sim --request-rate 4 --num-prompts 10 --dry-run --json")
        .expect(0);
    let plan = ended.json();
    assert_eq!(plan["plan"]["order"], "interleaved");
    let commands =
        plan["arms"].as_array().expect("arms").iter().flat_map(|a| a["commands"].as_array().expect("commands"));
    let ports: Vec<&str> = commands.filter_map(|c| c.as_str()?.split("--port ").nth(1)?.split(' ').next()).collect();
    let unique: std::collections::BTreeSet<_> = ports.iter().collect();
    assert_eq!((ports.len(), unique.len()), (3, 3), "{ports:?}");
}

#[test]
fn json_holds_plan_commands_and_points() {
    let ended = Place::new()
        .type_in("ab simple nixl --engine sim --request-rate 4,8 --num-prompts 10 --dry-run --json")
        .expect(0);
    let all = ended.json();
    let labels: Vec<&Value> = all["arms"].as_array().expect("arms").iter().map(|a| &a["label"]).collect();
    assert_eq!(labels, ["simple", "nixl"]);
    let points = all["points"].as_array().expect("points");
    assert_eq!(points.len(), 2, "the arms share their schedules");
    for (point, rate) in points.iter().zip([4.0, 8.0]) {
        assert_eq!((&point["rate"], &point["requests"]), (&rate.into(), &10.into()));
        assert_eq!((&point["prompt_tokens"], &point["output_tokens"]), (&10240.into(), &640.into()));
        assert_eq!(point["trace_sha256"].as_str().map(str::len), Some(64));
    }
    assert_eq!(all["plan"]["sweep"]["slo"]["ttft"], 0.125);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed: &str| {
        let line = format!("simple --engine sim --request-rate 4 --num-prompts 10 --dry-run --json --seed {seed}");
        Place::new().type_in(&line).expect(0).json()["points"][0]["trace_sha256"].clone()
    };
    assert_eq!(trace("3"), trace("3"));
    assert_ne!(trace("3"), trace("4"));
}

#[test]
fn secrets_are_masked_wherever_they_come_from() {
    let place = Place::new().with("VLLM_API_KEY", "sk-environment");
    place.write(
        "mine.toml",
        "name = 'mine'\nkind = 'simple'\nprogram = 'enginesim'\ndevices = 1\n[env]\nHF_TOKEN = 'sk-file'\n[defaults]\nmodel = 'qwen3-8b'\ntokenizer = 'enginesim'\nrequest_rate = [1]\n",
    );
    for line in [
        "run mine.toml --dry-run",
        "run mine.toml --dry-run --json",
        "simple --attach http://h --model m --tokenizer enginesim --request-rate 1 --dry-run --json",
    ] {
        let ended = place.type_in(line).expect(0);
        assert!(!ended.stdout.contains("sk-") && !ended.stderr.contains("sk-"), "{line}:\n{}", ended.stdout);
        assert!(ended.stdout.contains("***"), "{line}: there is a key, and it is masked");
    }
}

#[test]
fn the_example_with_a_smaller_decode_side_is_planned_with_a_warning() {
    let place = Place::new()
        .with("NUM_PREFILL_INSTANCES", "2")
        .with("NUM_DECODE_INSTANCES", "2")
        .with("PREFILLER_TP_SIZE", "2")
        .with("DECODER_TP_SIZE", "1");
    let ended = place.type_in("nixl --engine sim --request-rate 1 --num-prompts 1 --dry-run").expect(0);
    assert!(ended.stdout.starts_with("nixl 2P2D TP2/TP1: 6 GPUs\n"), "{}", ended.stdout);
    assert!(
        ended.stderr.starts_with("warning: ") && ended.stderr.contains("prefill TP <= decode TP"),
        "{}",
        ended.stderr
    );
}

#[test]
fn visible_devices_matter_only_where_there_are_gpus() {
    let place = Place::new().with("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2");
    let ended = place.type_in("simple --tp 2 --engine sim --request-rate 1 --num-prompts 1 --dry-run").expect(0);
    assert!(ended.stdout.contains("replica-0: GPU 0,1,"), "simulated GPUs have numbers: {}", ended.stdout);
}
