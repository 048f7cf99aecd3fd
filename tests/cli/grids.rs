//! Grids: every deployment started once, cells that don't fit skipped, interrupted ones gone on with, and the map.

use crate::support::{Place, entries, read_json};
use serde_json::Value;
use std::path::PathBuf;

const ENGINE: [&str; 8] = [
    "--engine",
    "sim",
    "--engine-arg=--sim-speed=50",
    "--engine-arg=--sim-start-delay=0",
    "--engine-arg=--sim-handshake-ms=1",
    "--num-warmups",
    "1",
    "--ttft-slo=60s",
];

fn sweep(place: &Place, line: &str) -> crate::support::Ended {
    let args: Vec<&str> = ["sweep"].into_iter().chain(line.split_whitespace()).chain(ENGINE).collect();
    place.topobench(&args)
}

/// The grid's only directory, and the manifests of its runs.
fn grid(place: &Place) -> (PathBuf, Vec<Value>) {
    let grids = entries(&place.results().join("grids"));
    let [grid] = grids.as_slice() else { panic!("one grid: {grids:?}") };
    let runs = entries(&grid.join("random"));
    (grid.clone(), runs.iter().map(|run| read_json(run.join("manifest.json"))).collect())
}

#[test]
fn two_arms_are_each_started_once_and_give_a_map() {
    let place = Place::new();
    place
        .write("combos.yaml", "input_output: [[32, 8], [64, 8], [200000, 8]]\nconcurrency_prompts: [[1, 4], [2, 8]]\n");
    let ended = sweep(&place, "combos.yaml --arms simple nixl").measured();
    assert!(ended.stderr.contains("skipped 200000 in, 8 out: "), "{}", ended.stderr);
    // Two arms, two pairs of lengths that fit, two levels.
    assert!(ended.stderr.contains("[1/8]") && ended.stderr.contains("[8/8]"), "{}", ended.stderr);
    assert!(ended.stderr.contains(" left\n"), "time left is told: {}", ended.stderr);
    assert_eq!(ended.stderr.matches("simple: starting 1 engine\n").count(), 1, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("nixl: starting 2 engines\n").count(), 1, "{}", ended.stderr);
    let (grid, manifests) = grid(&place);
    assert_eq!(manifests.len(), 4);
    assert!(
        manifests.iter().all(|m| m["status"] == "completed" && m["points"].as_array().is_some_and(|p| p.len() == 2))
    );
    // Arms of a cell answer the same trace; cells never share prompts.
    let hashes = |arm: &str| -> Vec<String> {
        let of_arm = manifests.iter().filter(|m| m["arm"]["label"] == arm);
        let mut all: Vec<String> =
            of_arm.flat_map(|m| m["traces"].as_array().expect("traces")).map(|t| t["sha256"].to_string()).collect();
        all.sort();
        all
    };
    assert_eq!(hashes("simple"), hashes("nixl"));
    let map = std::fs::read_to_string(grid.join("decision_map.csv")).expect("a map");
    assert_eq!(map.lines().count(), 5, "{map}");
    assert!(grid.join("decision_map.svg").is_file() && grid.join("decision_map.png").is_file());
    let rows = std::fs::read_to_string(grid.join("aggregate_results.csv")).expect("a table").lines().count();
    assert_eq!(rows, 9);
    assert!(ended.stdout.contains("Of 4 cells ") && ended.stdout.contains("closed loop"), "{}", ended.stdout);

    // Nothing is left: no engine is started again, and the same is told.
    let again = sweep(&place, "combos.yaml --arms simple nixl --resume").measured();
    assert!(!again.stderr.contains("starting"), "{}", again.stderr);
    assert_eq!(again.stdout, ended.stdout);

    // A cell that was lost is measured again, alone.
    let lost = entries(&grid.join("random")).pop().expect("a run");
    std::fs::remove_dir_all(&lost).expect("removed");
    let resumed = sweep(&place, "combos.yaml --arms simple nixl --resume").measured();
    assert_eq!(resumed.stderr.matches("starting").count(), 1, "{}", resumed.stderr);
    assert!(resumed.stderr.contains("/8]"), "{}", resumed.stderr);
}

#[test]
fn rates_make_an_open_loop_and_a_running_server_is_attached_to() {
    let engine = crate::attach::Engine::start("");
    let place = Place::new();
    let text = format!(
        "model: m\nbase_url: {}\ntokenizer: enginesim\ninput_len: [16, 32]\noutput_len: 4\nrequest_rate: [50, 100]\nprompt: 5\n",
        engine.url()
    );
    place.write("combos.yaml", &text);
    let ended = place.type_in("sweep combos.yaml --ttft-slo 60s --json").measured();
    let json = ended.json();
    let rows = json["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|r| r["num_prompts"] == 5 && r["concurrency"].is_null()), "{rows:?}");
    assert_eq!(json["map"], Value::Null, "one arm has no map");
    assert!(engine.metric("vllm:request_success_total") >= 20.0);
}

#[test]
fn a_cell_that_a_running_server_cannot_take_is_skipped_wherever_it_stands() {
    let engine = crate::attach::Engine::start_with("", &["--sim-speed", "50", "--max-model-len", "512"]);
    let place = Place::new();
    let text = format!(
        "model: m\nbase_url: {}\ntokenizer: enginesim\ninput_output: [[600, 4], [16, 4], [700, 4]]\nconcurrency: 2\nprompt: 4\n",
        engine.url()
    );
    place.write("combos.yaml", &text);
    let ended = place.type_in("sweep combos.yaml --ttft-slo 60s --json").measured();
    assert_eq!(ended.json()["rows"].as_array().map(Vec::len), Some(1), "{}", ended.stderr);
    for skipped in ["skipped 600 in, 4 out: ", "skipped 700 in, 4 out: "] {
        assert!(ended.stderr.contains(skipped), "{}", ended.stderr);
    }
    // What was skipped is no hindrance to going on.
    let again = place.type_in("sweep combos.yaml --ttft-slo 60s --json --resume").measured();
    assert_eq!(again.json()["rows"].as_array().map(Vec::len), Some(1), "{}", again.stderr);
    assert!(!again.stderr.contains("4 of 4 completed"), "nothing is measured again: {}", again.stderr);
}

#[test]
fn what_cannot_be_is_refused_and_a_dry_run_lists_the_cells() {
    let place = Place::new();
    place.write("combos.yaml", "input_len: [32, 64]\noutput_len: 8\nconcurrency: [1, 2]\nprompt: 3x\n");
    let shown = sweep(&place, "combos.yaml --dry-run").expect(0);
    assert!(shown.stderr.contains("64 in, 8 out: 2 points on simple"), "{}", shown.stderr);
    assert!(shown.stdout.contains("2 in flight (closed loop), attempt 1: 6 requests"), "{}", shown.stdout);
    assert!(!place.results().exists(), "nothing was started or written");
    for (line, why) in [
        ("", "none is named"),
        ("missing.yaml", "missing.yaml"),
        ("combos.yaml --duration 5", "--duration beside a grid"),
        ("combos.yaml --preset smoke", "a file or a preset"),
        ("combos.yaml --resume", "no grid in"),
    ] {
        let refused = sweep(&place, line).expect(2).stderr;
        assert!(refused.contains(why), "{line}: {refused}");
    }
}

#[test]
fn presets_are_listed_shown_and_overridden() {
    let place = Place::new();
    let listed = place.type_in("presets").expect(0).stdout;
    for name in
        ["smoke", "functional", "performance", "stress", "stability", "production", "scaling", "support", "code"]
    {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {listed}");
    }
    assert!(place.type_in("presets production").expect(0).stdout.contains("input_len: [1024"));
    let shown = sweep(&place, "--preset production --random-output-len 16 --num-prompts 2x --dry-run").expect(0);
    assert!(
        shown.stderr.contains("98304 in, 16 out: ") && shown.stderr.contains("1024 in, 16 out: "),
        "{}",
        shown.stderr
    );
    let dry = |line: &str| place.type_in(&format!("simple --engine sim {line} --dry-run"));
    let shown = dry("--preset support").expect(0).stdout;
    assert!(
        shown.contains("SLO: TTFT 300 ms, TPOT 50 ms") && shown.contains("2.0 req/s, attempt 1: 200 requests"),
        "{shown}"
    );
    let shown = dry("--preset support --request-rate 5 --num-prompts 9 --goodput ttft:77").expect(0).stdout;
    assert!(shown.contains("SLO: TTFT 77 ms") && shown.contains("5.0 req/s, attempt 1: 9 requests"), "{shown}");
    assert!(dry("--preset production").expect(2).stderr.contains("topobench sweep --preset production"));
    assert!(dry("--preset smok").expect(2).stderr.contains("smoke"));
}
