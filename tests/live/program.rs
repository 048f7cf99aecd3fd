//! The program around the page: `--live` of a measuring command, and `topobench live RUN`.

use crate::client::{Events, copied, parts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

/// A program under way, ended when it is dropped.
struct Running {
    process: Child,
    out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
}

impl Running {
    fn start(line: &str, dir: &Path) -> Running {
        let mut process = Command::new(env!("CARGO_BIN_EXE_topobench"))
            .args(line.split_whitespace())
            .current_dir(dir)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let (out, err) = (process.stdout.take().expect("piped"), process.stderr.take().expect("piped"));
        Running { process, out: BufReader::new(out), err: BufReader::new(err) }
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(mut self) -> i32 {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGINT).expect("it runs");
        self.process.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in the first line that tells one.
fn address(from: &mut impl BufRead) -> String {
    let mut all = String::new();
    loop {
        let start = all.len();
        assert!(from.read_line(&mut all).expect("text") > 0, "no address in {all}");
        if let Some(url) = all[start..].trim().strip_prefix("live: ") {
            return url.to_string();
        }
    }
}

const LOAD: &str = "--engine sim --engine-arg=--sim-speed=50 --engine-arg=--sim-start-delay=0 --random-input-len 64 \
                    --random-output-len 8 --num-warmups 1 --ttft-slo 60s";

#[test]
fn a_measuring_command_serves_its_page_until_it_ends() {
    let dir = tempfile::tempdir().expect("tempdir");
    let line = format!("ab simple nixl {LOAD} --request-rate 10,20 --num-prompts 20 --live --metadata tp=8 dtype=fp16");
    let mut running = Running::start(&line, dir.path());
    let mut page = Events::open(&address(&mut running.err));
    page.until("metadata", |data| data["about"]["labels"] == serde_json::json!([["dtype", "fp16"], ["tp", "8"]]));
    let counts = |data: &serde_json::Value| {
        let arms = data["curves"]["arms"].as_array().cloned().unwrap_or_default();
        let points = |arm: &serde_json::Value| arm["points"].as_array().map_or(0, Vec::len);
        arms.iter().map(points).collect::<Vec<_>>()
    };
    let arms = |data: &serde_json::Value| data["arms"].as_array().cloned().unwrap_or_default();
    page.until("what will be measured", |data| {
        arms(data).iter().map(|arm| &arm["loads"]).eq(["10, 20 req/s"; 2]) && data["curves"]["highest"] == 20.0
    });
    page.until("both curves", |data| counts(data) == [2, 2]);
    let (mut last, mut ended) = (serde_json::Value::Null, false);
    let mut deployments = Vec::new();
    while let Some((name, data)) = page.next() {
        ended |= name == "end";
        if data.get("arms").is_some() {
            deployments = arms(&data);
        }
        if data.get("now").is_some() {
            last = data["now"].clone();
        }
    }
    assert!(ended, "the page is told that it is over");
    assert_eq!((&last["ended"], &last["doing"]), (&true.into(), &"simple: completed; nixl: completed".into()));
    let states: Vec<_> = deployments.iter().map(|arm| (arm["points"].clone(), arm["state"].clone())).collect();
    assert_eq!(states, [("2 of 2".into(), "completed".into()), ("2 of 2".into(), "completed".into())]);
    let mut rest = String::new();
    running.err.read_to_string(&mut rest).expect("text");
    assert!(!rest.contains("live: "), "the address is printed once: {rest}");
    assert!(matches!(running.process.wait().expect("ends").code(), Some(0 | 4)));
}

#[test]
fn the_address_is_a_line_of_json_where_progress_is() {
    let dir = tempfile::tempdir().expect("tempdir");
    let line = format!("simple {LOAD} --request-rate 40 --num-prompts 4 --live 0 --json");
    let mut running = Running::start(&line, dir.path());
    let mut first = String::new();
    running.err.read_line(&mut first).expect("a line");
    let event: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(event["event"], "live");
    Events::open(event["url"].as_str().expect("an address")).next().expect("a snapshot");
}

#[test]
fn a_run_that_another_process_measures_is_shown_from_its_files() {
    let dir = tempfile::tempdir().expect("tempdir");
    let line = format!("simple {LOAD} --request-rate 20 --num-prompts 4000");
    let _measuring = Running::start(&line, dir.path());
    let is_there = || std::fs::read_dir(dir.path().join("results/random")).ok()?.flatten().next();
    let run = kit::eventually("a run", is_there).path();
    kit::eventually("its manifest", || run.join("manifest.json").is_file().then_some(()));
    let mut live = Running::start("live", dir.path());
    let mut page = Events::open(&address(&mut live.out));
    page.until("the point under way", |data| data["now"]["doing"] == "Measuring simple at 20.0 req/s");
    let ended = |data: &serde_json::Value| {
        let point = &data["curves"]["arms"][0]["points"][0];
        (point["kind"] == "under_way").then(|| point["requests"].as_u64()).flatten()
    };
    let first = ended(&page.until("requests that ended", |data| ended(data).is_some())).unwrap_or(0);
    page.until("more of them", |data| ended(data).is_some_and(|n| n > first));
    page.until("samples of its engine", |data| {
        data["samples"].as_array().is_some_and(|all| all.iter().any(|s| s["of"] == "replica-0"))
    });
    assert_eq!(live.interrupt(), 0);
}

#[test]
fn a_word_finds_a_run_of_the_past_and_those_of_its_session() {
    let dir = tempfile::tempdir().expect("tempdir");
    let results = dir.path().join("results/random");
    let names = ["simple_20261122_002652", "nixl_20261122_001955"];
    for name in names {
        let run = copied(name, &results);
        let path = run.join("manifest.json");
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("a manifest")).expect("JSON");
        manifest["session"] = serde_json::json!(names);
        // Two of its points: judging more takes long without optimisation.
        manifest["points"].as_array_mut().expect("points").truncate(2);
        std::fs::write(&path, manifest.to_string()).expect("written");
    }
    for word in ["nixl_2026", "latest", "results/random/simple_20261122_002652"] {
        let mut live = Running::start(&format!("live {word}"), dir.path());
        let url = address(&mut live.out);
        assert!(parts(&url).0.starts_with("127.0.0.1:"));
        let all = Events::open(&url).until("curves", |data| data.get("curves").is_some());
        let arms = all["curves"]["arms"].as_array().expect("arms");
        let names: Vec<&str> = arms.iter().filter_map(|arm| arm["name"].as_str()).collect();
        assert_eq!(names, ["simple TP2", "nixl 1P1D"], "{word}");
        assert_eq!(live.interrupt(), 0);
    }
}

#[test]
fn what_is_not_there_is_a_slip_of_the_command_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut live = Running::start("live nothing", dir.path());
    assert_eq!(live.process.wait().expect("ends").code(), Some(2));
    let mut said = String::new();
    live.err.read_to_string(&mut said).expect("text");
    assert!(said.contains("nothing"), "{said}");
}

#[test]
fn a_race_is_shown_as_a_race() {
    let dir = tempfile::tempdir().expect("tempdir");
    let curated = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/curated/h200x2-qwen3-8b-best");
    let mut live = Running::start(&format!("live {}", curated.display()), dir.path());
    let all = Events::open(&address(&mut live.out)).until("the race", |data| data.get("race").is_some());
    let race = &all["race"];
    assert_eq!(race["gpus"], 2, "{race}");
    let first = &race["candidates"][0];
    assert_eq!((&first["state"], &first["side"]), (&"ahead".into(), &"at".into()), "{first}");
    assert!(first["low"].as_f64() < first["rate"].as_f64() && first["rate"].as_f64() < first["high"].as_f64());
    let states: Vec<&str> =
        race["candidates"].as_array().expect("candidates").iter().filter_map(|c| c["state"].as_str()).collect();
    assert!(!states.contains(&"waiting"), "nobody waits in a race that has ended: {states:?}");
    assert!(race["sentence"].as_str().is_some_and(|text| text.contains("req/s")), "{race}");
}
