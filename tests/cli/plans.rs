//! Plans that make no sense: exit code 2, a message that helps, nothing started, nothing written.

use crate::support::Place;
use std::os::unix::fs::PermissionsExt as _;

/// The refusals as stderr shows them.
fn refusals(place: &Place, lines: &[&str]) -> String {
    let before = crate::support::entries(place.path());
    let mut text = String::new();
    for line in lines {
        let ended = place.type_in(line).expect(2);
        assert_eq!(ended.stdout, "", "{line}: stdout is for data");
        assert!(ended.stderr.starts_with("error: "), "{line}: {}", ended.stderr);
        text.push_str(&format!("$ topobench {line}\n{}\n", place.redacted(&ended.stderr)));
    }
    assert_eq!(crate::support::entries(place.path()), before, "nothing was written");
    text
}

#[test]
fn arms_and_sizes() {
    insta::assert_snapshot!(refusals(
        &Place::new(),
        &[
            "simple --engine sim --tp 0",
            "simple --engine sim --tp 9",
            "simple --engine sim --tp x",
            "simple --engine sim --tp -1",
            "simple --engine sim --replicas 0",
            "nixl --engine sim --prefill 0",
            "nixl --engine sim --prefill 4 --decode-tp 5",
            "simple --engine tpu",
            "run nope",
            "run nope.toml",
            "run",
            "ab",
            "ab simple --engine sim",
            "ab simple nixl:prefil=1 --engine sim",
            "ab simple nixl --engine sim --name x",
            "ab simple nixl --engine sim --resume latest",
            "simple --engine sim --resume latest",
            "frobnicate",
        ],
    ));
}

#[test]
fn words_that_a_flag_swallowed_are_told_where_they_belong() {
    insta::assert_snapshot!(refusals(
        &Place::new(),
        &[
            "ab --engine sim --goodput ttft:300 tpot:8 simple nixl",
            "ab --engine sim --goodput ttft:300 simple:tp=2 nixl",
            "ab --engine sim --metadata cluster=a simple nixl",
            "compare --goodput ttft:300 results/a results/b",
            "simple --engine sim --goodput itl:5",
        ],
    ));
}

#[test]
fn load_and_workload() {
    let place = Place::new();
    place.write("broken.json", "[{\"conversations\":");
    insta::assert_snapshot!(refusals(
        &place,
        &[
            "simple --engine sim --request-rate 0",
            "simple --engine sim --request-rate -1",
            "simple --engine sim --request-rate nan",
            "simple --engine sim --request-rate 1,1.0",
            "simple --engine sim --request-rate inf --duration 5",
            "simple --engine sim --duration -3",
            "simple --engine sim --num-prompts 5 --duration 5",
            "simple --engine sim --random-input-len 32768",
            "simple --engine sim --trace-arrivals",
            "simple --engine sim --dataset-name timed_trace --dataset-path trace.csv --trace-arrivals --request-rate 2",
            "simple --engine sim --dataset-name sharegpt",
            "simple --engine sim --dataset-name sharegpt --dataset-path missing.json",
            "simple --engine sim --dataset-name sharegpt --dataset-path broken.json",
            "simple --engine sim --dataset-name custom",
            "simple --engine sim --dataset-name mmlu",
            "simple --engine sim --extra-body {",
            "simple --engine sim --endpoint /v2",
            "simple --engine sim --tokenizer missing",
        ],
    ));
}

#[test]
fn objectives_and_the_run() {
    insta::assert_snapshot!(refusals(
        &Place::new(),
        &[
            "simple --engine sim --ttft-slo 0.125",
            "simple --engine sim --tpot-slo -5",
            "simple --engine sim --goodput tpot:5kg",
            "simple --engine sim --atta-target 0",
            "simple --engine sim --gate 101",
            "simple --engine sim --gate x",
            "simple --engine sim --metadata cluster",
            "simple --engine sim --ready-timeout 0",
            "simple --engine sim --percentile-metrics foo",
            "simple --engine sim --metric-percentiles 101",
            "simple --engine sim --result-dir /proc/nowhere",
            "ab simple nixl --engine sim --output /proc/nowhere",
            "simple --engine sim --name ../x",
            "simple --engine sim --engine-arg --port=1",
            "simple --engine sim -- --api-key secret",
        ],
    ));
}

#[test]
fn attaching() {
    insta::assert_snapshot!(refusals(
        &Place::new(),
        &[
            "simple --attach ftp://host --model m --request-rate 1",
            "simple --attach http://host:8000 --request-rate 1",
            "simple --attach http://host:8000 --model m --tp 2",
            "nixl --attach http://host:8000 --model m --prefill 2 -- --max-num-seqs 8",
            "simple --engine sim --attach-gpus 2",
            "simple --attach http://host:8000 --model m --attach-gpus 0",
            "simple --prefill-url http://a --decode-url http://b --model m",
            "nixl --prefill-url http://a --model m",
            "nixl --prefill-url http://a --decode-url http://b --attach http://c --model m",
            "run --attach http://host:8000 --model m",
            "ab simple nixl --attach http://host:8000",
            "proxy",
            "proxy --backend http://a --decode-policy fair",
        ],
    ));
}

#[test]
fn variables() {
    let mut text = String::new();
    for (name, value) in [
        ("TENSOR_PARALLEL_SIZE", "two"),
        ("GPU_MEMORY_UTILIZATION", "80%"),
        ("TTFT_SLO", "0.125"),
        ("TARGET_ATTAINMENT", "0"),
    ] {
        let place = Place::new().with(name, value);
        let ended = place.type_in("simple --engine sim").expect(2);
        text.push_str(&format!("$ {name}={value} topobench simple\n{}\n", ended.stderr));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn runs_that_are_not_there() {
    let place = Place::new();
    place.write("results/README.md", "");
    insta::assert_snapshot!(refusals(
        &place,
        &["show", "show nope", "plot latest", "compare", "compare latest", "compare a b", "compare results results"],
    ));
}

/// A program that leaves a file behind whenever it is started.
fn marking_topology(place: &Place) {
    let script = place.write("engine.sh", "#!/bin/sh\necho \"$@\" >> \"$MARKS\"\necho 0.11.0\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let text = format!(
        "name = 'marked'\nkind = 'simple'\nprogram = '{}'\ndevices = 2\n[defaults]\nmodel = 'm'\ntokenizer = 'enginesim'\nrequest_rate = [1]\n",
        script.display()
    );
    place.write("marked.toml", &text);
}

#[test]
fn nothing_is_started_for_a_bad_plan_and_only_the_version_asked_for_a_dry_run() {
    let place = Place::new();
    let marks = place.path().join("marks");
    let place = place.with("MARKS", &marks.display().to_string());
    marking_topology(&place);
    for bad in ["--num-prompts 0", "--random-input-len 0", "--engine-arg --port=1", "--gate 101", "--tokenizer missing"]
    {
        place.type_in(&format!("run marked.toml {bad}")).expect(2);
        assert!(!marks.exists(), "{bad}: started with {}", std::fs::read_to_string(&marks).unwrap_or_default());
    }
    place.type_in("run marked.toml --dry-run").expect(0);
    assert_eq!(std::fs::read_to_string(&marks).expect("asked"), "--version\n");
    assert!(!place.results().exists(), "a dry run leaves nothing behind");
}

#[test]
fn a_topology_file_with_a_typo_is_refused_with_its_line() {
    let place = Place::new();
    place.write("a.toml", "name = \"a\"\nkind = \"simple\"\n[group]\nreplica = 2\n");
    place.write("b.yaml", "name: b\nkind: prefill-decode\nprefill:\n  replicas: 2\n  tensor_paralel: 2\n");
    place.write(
        "c.toml",
        "name = \"c\"\nkind = \"simple\"\n[proxy]\nprefill_policy = \"fair\"\n[defaults]\nmodel = \"m\"\nrequest_rate = [1]\n",
    );
    place.write("d.toml", "name = \"d\"\nkind = \"simple\"\n[prefill]\nreplicas = 2\n");
    place.write("e.toml", "name = \"e\"\nkind = \"simple\"\n[defaults]\nrequest_rate = [0]\n");
    place.write(
        "f.toml",
        "name = \"f\"\nkind = \"simple\"\ndevices = 2\n[group]\ngpus = [[7]]\n[defaults]\nmodel = \"m\"\n",
    );
    insta::assert_snapshot!(refusals(
        &place,
        &["run a.toml", "run b.yaml", "run c.toml", "run d.toml", "run e.toml", "run f.toml"]
    ));
}
