//! What would give a wrong number, fill the memory or show a secret is refused before anything starts, or masked.

use crate::support::{Place, entries};

const ENGINE: &str = "--engine sim --random-input-len 32 --random-output-len 8";

#[test]
fn a_point_without_a_request_is_no_point_and_passes_no_gate() {
    let place = Place::new();
    let ended = place.type_in(&format!("simple {ENGINE} --request-rate 1 --duration 0.001 --gate 90")).expect(2);
    assert!(ended.stderr.contains("no request falls due at 1.0 req/s within 0.001 s"), "{}", ended.stderr);
    assert!(!place.results().exists());
}

#[test]
fn more_gpus_than_are_counted_are_refused_with_the_flag() {
    let place = Place::new();
    for (arg, shown) in [
        ("--engine-arg=--data-parallel-size=4", "--data-parallel-size=4"),
        ("--engine-arg --pipeline-parallel-size --engine-arg 4", "--pipeline-parallel-size"),
        ("-- -dp 2", "-dp"),
        ("-- --config x.yaml", "--config"),
        ("-- --tensor_parallel_size=2", "--tensor_parallel_size=2"),
    ] {
        let ended = place.type_in(&format!("simple {ENGINE} --dry-run {arg}")).expect(2);
        assert!(
            ended.stderr.starts_with(&format!("error: {shown} (from --engine-arg or after `--`)")),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn counts_have_limits_and_the_last_of_repeated_flags_wins() {
    let place = Place::new();
    for line in ["--attempts 4294967295", "--num-warmups 4294967295", "--replicas 4294967295", "--tp 4294967295"] {
        place.type_in(&format!("simple {ENGINE} --dry-run {line}")).expect(2);
    }
    let ended = place.type_in(&format!("simple {ENGINE} --dry-run --request-rate 1,2 --request-rate 4")).expect(0);
    let points = ended.stdout.lines().filter(|l| l.contains("req/s")).count();
    assert_eq!(points, 1, "{}", ended.stdout);
}

#[test]
fn names_that_are_none_are_refused() {
    let place = Place::new();
    for args in [["--model", ""], ["--model=--help", "--tp=1"], ["--engine-arg", ""], ["--tokenizer", " "]] {
        let ended = place.topobench(&["simple", "--engine", "sim", "--dry-run", args[0], args[1]]).expect(2);
        assert!(ended.stderr.starts_with("error: invalid value `"), "{args:?}: {}", ended.stderr);
    }
    for label in ["errors=none", "ttfts=x", "num_prompts=5", "p99_ttft_ms=1"] {
        let ended = place.type_in(&format!("simple {ENGINE} --dry-run --metadata {label}")).expect(2);
        assert!(ended.stderr.contains(label.split('=').next().expect("a key")), "{}", ended.stderr);
    }
}

/// Files below a directory that contain the word.
fn holding(dir: &std::path::Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for path in entries(dir) {
        match path.is_dir() {
            true => found.extend(holding(&path, word)),
            false => {
                let bytes = std::fs::read(&path).expect("readable");
                let holds = memchr::memmem::find(&bytes, word.as_bytes()).is_some();
                found.extend(holds.then(|| path.display().to_string()));
            }
        }
    }
    found
}

#[test]
fn secrets_on_the_command_line_reach_no_file_and_no_line() {
    let place = Place::new();
    let line =
        "simple --metadata token=topsecret url=http://u:topsecret@h team=a --extra-body {\"api_key\":\"topsecret\"}";
    let ended = place.measure(line).measured();
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("topsecret"));
    assert_eq!(holding(&place.results(), "topsecret"), [""; 0]);
    let run = place.runs("random").remove(0);
    let manifest = crate::support::read_json(run.join("manifest.json"));
    assert_eq!(manifest["sweep"]["metadata"]["url"], "http://***@h");
    assert_eq!(manifest["sweep"]["workload"]["extra_body"]["api_key"], "***");
}
