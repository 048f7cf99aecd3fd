//! Whole sweeps on the simulated engine: what is on disk afterwards, and what went where.

use crate::support::{Ended, Place, entries, read_json, read_json_lines};
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use topobench::record::RecordedRun;

fn exports(run: &Path) -> Vec<Value> {
    let named = |p: &std::path::PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vllm-"));
    entries(run).iter().filter(|p| named(p)).map(read_json).collect()
}

fn trace_hashes(run: &Path) -> Vec<String> {
    let manifest = read_json(run.join("manifest.json"));
    let traces = manifest["traces"].as_array().expect("traces").iter();
    traces.filter_map(|t| t["sha256"].as_str().map(str::to_string)).collect()
}

/// A sweep of 2P2D that several tests look at.
fn two_by_two() -> &'static (Place, Ended) {
    static MEASURED: OnceLock<(Place, Ended)> = OnceLock::new();
    MEASURED.get_or_init(|| {
        let place = Place::new().with("VLLM_API_KEY", "sk-very-secret");
        let ended = place.measure("nixl --prefill 2 --decode 2 --metadata cluster=a note=b --save-texts").measured();
        (place, ended)
    })
}

#[test]
fn two_prefill_and_two_decode_instances_leave_a_complete_run() {
    let (place, ended) = two_by_two();
    assert_eq!(ended.json()["arms"][0]["gpus"], 4);
    assert!(
        ended.stderr.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()),
        "progress in JSON: {}",
        ended.stderr
    );
    let run = &place.runs("random")[0];

    let manifest = read_json(run.join("manifest.json"));
    assert_eq!((&manifest["status"], &manifest["version"]), (&"completed".into(), &1.into()));
    assert_eq!(manifest["sweep"]["metadata"]["cluster"], "a");
    let names: Vec<_> =
        manifest["instances"].as_array().expect("instances").iter().filter_map(|i| i["name"].as_str()).collect();
    assert_eq!(names, ["prefill-0", "prefill-1", "decode-0", "decode-1"]);
    for name in names {
        assert!(run.join(format!("logs/{name}.log")).is_file());
    }

    let requests = read_json_lines(run.join("requests.jsonl"));
    assert_eq!(requests.len(), 12);
    for request in &requests {
        let stages = &request["stages"];
        let order = ["accepted", "prefill_sent", "prefill_head", "decode_sent", "first_byte", "end"];
        let times: Vec<f64> =
            order.iter().map(|s| stages[s].as_f64().unwrap_or_else(|| panic!("{s}: {request}"))).collect();
        assert!(times.is_sorted(), "{request}");
        assert!(request["text"].as_str().is_some_and(|t| !t.is_empty()), "{request}");
    }
    for point in manifest["points"].as_array().expect("points") {
        let engines = &point["engines"];
        assert_eq!((&engines["external_kv_tokens"], &engines["kv_transfers"]), (&384.0.into(), &6.0.into()), "{point}");
        assert_eq!((&engines["local_compute_tokens"], &engines["kv_failed_transfers"]), (&0.0.into(), &0.0.into()));
    }
    assert_eq!(read_json_lines(run.join("trace.jsonl")).len(), 12);
    for file in ["report.html", "summary.csv", "engine-metrics.jsonl", "plots/vllm_benchmark_plots.svg"] {
        assert!(run.join(file).is_file(), "{file}");
    }
}

#[test]
fn exports_are_what_vllm_writes_and_can_be_read_back() {
    let (place, _) = two_by_two();
    let run = &place.runs("random")[0];
    let exports = exports(run);
    assert_eq!(exports.len(), 2);
    let text = std::fs::read_to_string(crate::support::recorded("nixl") + "/pd-2qps.json").expect("fixture");
    let theirs: Value = serde_json::from_str(&text).expect("JSON");
    // vLLM's keys that we leave out: goodput, which is computed later, and the real-time factors of speech models.
    let absent = ["request_goodput", "rtfx"];
    for export in &exports {
        for key in theirs.as_object().expect("an object").keys().filter(|k| !absent.contains(&k.as_str())) {
            assert!(export.get(key).is_some(), "{key} is missing");
        }
        assert_eq!((&export["cluster"], &export["deployment_mode"]), (&"a".into(), &"nixl".into()));
        assert_eq!((&export["num_prefill_instances"], &export["completed"]), (&2.into(), &6.into()));
    }
    // Read as somebody else's files, they give the same figures as the run itself.
    let elsewhere = Place::new();
    let alone = elsewhere.path().to_path_buf();
    for file in
        entries(run).iter().filter(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("manifest.json"))
    {
        std::fs::copy(file, alone.join(file.file_name().expect("a name"))).expect("copied");
    }
    let (own, imported) = (RecordedRun::read(run).expect("ours"), RecordedRun::read(&alone).expect("theirs"));
    assert_eq!((imported.mode.as_str(), imported.gpus()), ("nixl", Some(4)));
    for (own, imported) in own.points.iter().zip(&imported.points) {
        assert_eq!(own.key, imported.key);
        assert_eq!(own.samples.len(), imported.samples.len());
        for (a, b) in own.samples.rows().zip(imported.samples.rows()) {
            let ttft = |r: &topobench::analyse::Row| r.ttft.expect("served").as_secs();
            assert!((ttft(&a) - ttft(&b)).abs() < 1e-6, "{a:?}\n{b:?}");
            assert_eq!(a.output_tokens, b.output_tokens);
        }
    }
}

#[test]
fn two_arms_answer_the_same_trace_and_are_compared() {
    let place = Place::new();
    let ended = place.measure("ab simple nixl --scale-rate 40").measured();
    let json = ended.json();
    assert_eq!((&json["paired"], &json["arms"][0]["scale"]["at_rate"]), (&true.into(), &40.0.into()));
    assert_eq!((&json["arms"][0]["gpus"], &json["arms"][1]["gpus"]), (&2.into(), &2.into()));
    let runs = place.runs("random");
    assert_eq!(runs.len(), 2);
    assert_eq!(trace_hashes(&runs[0]), trace_hashes(&runs[1]));
    assert_eq!(trace_hashes(&runs[0]).len(), 2);
    let comparisons = entries(&place.results().join("comparisons"));
    let [comparison] = comparisons.as_slice() else { panic!("one comparison: {comparisons:?}") };
    for file in [
        "compare.json",
        "report.html",
        "summary.csv",
        "vllm_comparison_plots.svg",
        "vllm_comparison_plots.pdf",
        "vllm_comparison_plots.png",
    ] {
        assert!(comparison.join(file).is_file(), "{file}");
    }
    assert_eq!(read_json(comparison.join("compare.json")), json, "the file says what stdout says");
    // Compared again later, the runs say the same.
    let again = place
        .topobench(&["compare", "simple", "nixl", "--ttft-slo", "60s", "--scale-rate", "40", "--json"])
        .measured()
        .json();
    assert_eq!((&again["arms"], &again["verdict"]), (&json["arms"], &json["verdict"]));
}

#[test]
fn an_arm_against_itself_gets_a_directory_of_its_own() {
    let place = Place::new();
    let json = place.measure("ab simple simple").measured().json();
    let labels: Vec<_> = json["arms"].as_array().expect("arms").iter().filter_map(|a| a["label"].as_str()).collect();
    assert_eq!(labels.len(), 2);
    assert_ne!(labels[0], labels[1]);
    let runs = place.runs("random");
    let names: Vec<String> = runs.iter().filter_map(|r| Some(r.file_name()?.to_str()?.to_string())).collect();
    assert_eq!(names[1], format!("{}-2", names[0]));
    // The stamp is the whole name of the first run, so it is not an ambiguous prefix.
    place.topobench(&["show", &names[0]]).expect(0);
}

#[test]
fn data_goes_to_stdout_and_progress_to_stderr() {
    let place = Place::new();
    let line: Vec<&str> =
        ["simple", "--tp", "2"].into_iter().chain(crate::support::QUICK).filter(|w| *w != "--json").collect();
    let ended = place.topobench(&line).measured();
    assert!(ended.stdout.starts_with("============ Serving Benchmark Result ============\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("starting") && !ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("simple: starting 1 engine\n") && !ended.stderr.contains("Serving Benchmark"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("nothing left running"), "{}", ended.stderr);
}

#[test]
fn a_gate_that_nobody_can_keep_is_missed_and_the_last_of_repeated_flags_wins() {
    let place = Place::new();
    let flags = ["--random-input-len", "16000", "--ttft-slo", "1", "--gate", "100"];
    let line: Vec<&str> = ["simple"].into_iter().chain(crate::support::QUICK).chain(flags).collect();
    let ended = place.topobench(&line);
    // On a machine that is too busy to measure, 4 comes first.
    assert!(matches!(ended.code, 4 | 5), "{}: {}", ended.code, ended.stderr);
    let json = ended.json();
    assert_eq!(
        (&json["slo"]["ttft_ms"], &json["arms"][0]["points"][0]["attainment"]["both"]),
        (&1.0.into(), &0.0.into())
    );
}

#[test]
fn a_key_reaches_the_engines_and_no_file() {
    let (place, _) = two_by_two();
    let mut files: Vec<std::path::PathBuf> = vec![place.results()];
    let mut looked_at = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(entries(&path));
        } else {
            looked_at += 1;
            let bytes = std::fs::read(&path).expect("readable");
            assert!(!bytes.windows(14).any(|w| w == b"sk-very-secret"), "{}", path.display());
        }
    }
    assert!(looked_at > 10);
}

#[test]
fn an_engine_that_refuses_an_argument_is_a_launch_that_failed() {
    let place = Place::new();
    let ended = place.measure("simple --engine-arg=--frobnicate").expect(3);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("--frobnicate") && ended.stderr.contains("error: "), "{}", ended.stderr);
    let run = &place.runs("random")[0];
    assert_eq!(read_json(run.join("manifest.json"))["status"], "failed");
    let list = place.type_in("list --status failed").expect(0).stdout;
    assert!(list.contains("(0 files, 0 plots) [failed]"), "{list}");
}

#[test]
fn a_finished_run_has_nothing_to_resume_and_flags_beside_resume_are_refused() {
    let place = Place::new();
    place.measure("simple").measured();
    let run = place.runs("random")[0].clone();
    let before = std::fs::read(run.join("requests.jsonl")).expect("journal");
    let refused = place.type_in("simple --resume latest --request-rate 99 --tp 4 --json").expect(2);
    assert!(refused.stderr.contains("--request-rate, --tp beside --resume"), "{}", refused.stderr);
    let ended = place.type_in("simple --resume latest --json").measured();
    assert_eq!(std::fs::read(run.join("requests.jsonl")).expect("journal"), before);
    assert_eq!(ended.json()["arms"][0]["points"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_window_judges_only_what_was_due_within_it() {
    let (place, _) = two_by_two();
    let run = &place.runs("random")[0];
    let at_40: Vec<f64> = read_json_lines(run.join("requests.jsonl"))
        .iter()
        .filter(|r| r["rate"] == 40.0)
        .map(|r| r["due"].as_f64().expect("a time"))
        .collect();
    let later = at_40.iter().filter(|due| **due >= 0.05).count();
    assert!((1..at_40.len()).contains(&later), "the window cuts {at_40:?}");
    let shown = |window: &str| place.type_in(&format!("show latest --json --window {window}")).expect(0).json();
    let judged = &shown("0.05:")["analysis"]["arms"][0]["points"][0];
    assert_eq!(judged["offered"], later);
    let why = judged["why"].to_string();
    assert!(why.contains(&format!("judged by the {later} of 6 requests that were due from 0.05")), "{why}");
    // The first second is all steady, and `all` is the default.
    for window in ["steady", "all"] {
        assert_eq!(shown(window)["analysis"]["arms"][0]["points"][0]["offered"], 6);
    }
    let refused = place.type_in("show latest --window sometimes").expect(2).stderr;
    assert!(refused.contains("give `steady`, `all`, or seconds"), "{refused}");
}

/// A run of one point with `n` requests of 64 chunks each, made out of a measured one.
fn grown(run: &Path, n: usize, place: &Place) -> std::path::PathBuf {
    let mut manifest = read_json(run.join("manifest.json"));
    let mut point = manifest["points"][0].clone();
    point["offered"] = n.into();
    let rate = point["rate"].clone();
    manifest["points"] = Value::Array(vec![point]);
    let mut lines = read_json_lines(run.join("requests.jsonl"));
    let mut line = lines.swap_remove(lines.iter().position(|l| l["rate"] == rate).expect("a request"));
    line["chunks"] = serde_json::json!({ "gaps_us": vec![9000; 64] });
    let mut journal = String::new();
    for index in 0..n {
        line["index"] = index.into();
        journal.push_str(&format!("{line}\n"));
    }
    let name = format!("results/random/simple_20260101_{n:06}");
    place.write(&format!("{name}/manifest.json"), &manifest.to_string());
    place.write(&format!("{name}/requests.jsonl"), &journal);
    place.path().join(name)
}

/// The most memory that `show` has in use, KiB.
fn peak_of_show(place: &Place, run: &Path) -> u64 {
    let mut command = place.command(env!("CARGO_BIN_EXE_topobench"));
    let mut child = command.arg("show").arg(run).stdout(std::process::Stdio::null()).spawn().expect("starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("our child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(mark.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    peak
}

#[test]
fn many_requests_take_little_memory_to_judge() {
    const MANY: usize = 20_000;
    let (measured, _) = two_by_two();
    let (place, run) = (Place::new(), &measured.runs("random")[0]);
    let small = peak_of_show(&place, &grown(run, 400, &place));
    let large = peak_of_show(&place, &grown(run, MANY, &place));
    // Records with their chunks would take 1.5 KB each.
    let bytes = large.saturating_sub(small) * 1024 / MANY as u64;
    assert!(bytes < 800, "{bytes} bytes a request ({small} and {large} KiB)");
}
