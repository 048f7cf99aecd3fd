//! Surroundings that mean no good, or only look so: control characters in what others wrote, names that are not UTF-8,
//! limits on threads, runs with nothing in them.

use crate::support::{Place, recorded, run};
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;

const HOSTILE: &str = "evil\u{1b}]0;pwned\u{7}\u{1b}[31m\u{9b}2J";
const SHOWN: &str = "evil\\x1b]0;pwned\\x07\\x1b[31m\\x9b2J";

#[track_caller]
fn harmless(text: &str) {
    let commands: Vec<char> = text.chars().filter(|c| c.is_control() && !"\n\t".contains(*c)).collect();
    assert!(commands.is_empty(), "{commands:?} in {text:?}");
}

#[test]
fn control_characters_of_files_never_reach_a_terminal() {
    let place = Place::new();
    let text = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    let mut file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    file["model_id"] = HOSTILE.into();
    file["deployment_mode"] = HOSTILE.into();
    for run in ["simple_20261120_080000", "nixl_20261121_080000"] {
        place.write(&format!("results/random/{run}/a.json"), &file.to_string());
    }
    for line in ["list", "show latest", "compare latest simple"] {
        let ended = place.type_in(line);
        harmless(&ended.stdout);
        harmless(&ended.stderr);
        assert!(ended.stdout.contains(SHOWN), "{line}: {}", ended.stdout);
    }
    let ended = place.type_in("list --json");
    harmless(&ended.stdout);
    assert_eq!(ended.json()[0]["config"]["model"], HOSTILE, "JSON holds the name itself");
}

#[test]
fn control_characters_of_servers_never_reach_a_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let models = serde_json::json!({ "object": "list", "data": [{ "id": HOSTILE, "object": "model" }] }).to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let length = models.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{models}"
            );
        }
    });
    let ended = Place::new().type_in(&format!(
        "simple --attach http://127.0.0.1:{port} --model m --tokenizer enginesim --request-rate 10 --num-prompts 2"
    ));
    harmless(&ended.stderr);
    assert!(ended.stderr.contains(SHOWN), "{}", ended.stderr);
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_by_name() {
    for name in ["TTFT_SLO", "VLLM_API_KEY", "PLOT_OUTPUT_DIR"] {
        let place = Place::new();
        let mut command = place.command(env!("CARGO_BIN_EXE_topobench"));
        let ended =
            run(command.args(["simple", "--engine", "sim", "--dry-run"]).env(name, OsStr::from_bytes(b"1\xff")));
        let stderr = ended.expect(2).stderr;
        assert!(stderr.contains(name) && stderr.contains("not UTF-8"), "{stderr}");
    }
}

#[test]
fn too_few_threads_are_told_before_anything_is_started() {
    let place = Place::new();
    // Stacks of 1 GiB, of which the address space holds none: no thread can be started, whoever runs the test.
    let line = format!(
        "ulimit -v 900000; exec {} simple --engine sim --request-rate 10 --num-prompts 2",
        env!("CARGO_BIN_EXE_topobench")
    );
    let ended = run(place.command("bash").args(["-c", &line]).env("RUST_MIN_STACK", (1u64 << 30).to_string()));
    let stderr = ended.expect(1).stderr;
    assert!(stderr.contains("threads that this run needs") && stderr.contains("ulimit -u"), "{stderr}");
    assert!(!place.results().exists(), "nothing was written");
}

#[test]
fn what_is_no_file_is_refused_wherever_one_is_expected() {
    let place = Place::new();
    let pipe = place.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
    for (file, what) in [("pipe", "a pipe"), ("/dev/zero", "a device"), (".", "a directory")] {
        for line in [
            format!("sweep {file} --engine sim"),
            format!("plot --csv {file}"),
            format!("best --tune {file} --gpus 1 --engine sim --dry-run"),
            format!("simple --engine sim --tokenizer {file} --dataset-name custom --dataset-path x --dry-run"),
            format!("simple --engine sim --dataset-name timed_trace --dataset-path {file} --dry-run"),
        ] {
            let told = place.type_in(&line).expect(2).stderr;
            let elsewhere = file == "." && (line.contains("tokenizer") || line.contains("--tune"));
            assert!(elsewhere || told.contains(what), "{line}: {told}");
        }
        let place = Place::new().with("SSL_CERT_FILE", &place.path().join(file).display().to_string());
        for line in ["simple --attach HTTPS://127.0.0.1:9 --model m", "proxy --backend https://127.0.0.1:9 --port 0"] {
            let told = place.type_in(line).expect(2).stderr;
            assert!(told.contains("SSL_CERT_FILE") && told.contains(what), "{line}: {told}");
        }
        let told = place.type_in("simple --attach http://127.0.0.1:9 --model m").expect(3).stderr;
        assert!(told.contains("Connection refused"), "HTTP needs no certificate: {told}");
    }
}

#[test]
fn a_table_goes_where_it_was_sent_be_it_a_pipe() {
    let place = Place::new();
    let pipe = place.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).expect("read")
    });
    place.type_in(&format!("aggregate {} --output pipe", recorded("simple"))).expect(0);
    assert!(reader.join().expect("joined").starts_with("run,"));
    assert!(!std::fs::metadata(&pipe).expect("there").is_file(), "no file in its place");
}

#[test]
fn a_run_without_a_point_is_no_figure() {
    let place = Place::new();
    let ended = place.measure("simple").measured();
    let run = &place.runs("random")[0];
    let mut manifest = crate::support::read_json(run.join("manifest.json"));
    manifest["points"][0]["offered"] = u32::MAX.into();
    std::fs::write(run.join("manifest.json"), manifest.to_string()).expect("written");
    let refused = place.type_in("compare latest latest").expect(2).stderr;
    assert!(refused.contains("4294967295 requests is more than any has"), "nothing is made of them: {refused}");
    manifest["points"] = serde_json::json!([]);
    std::fs::write(run.join("manifest.json"), manifest.to_string()).expect("written");
    let refused = place.type_in("plot latest").expect(2);
    assert!(refused.stderr.contains("has no measured point"), "{}", refused.stderr);
    drop(ended);
}

#[test]
fn a_run_whose_files_were_changed_is_refused_with_the_place_and_what_to_do() {
    let place = Place::new();
    place.measure("simple --num-prompts 4").measured();
    let run = place.runs("random").remove(0);
    let line = format!("show {}", run.display());
    let journal = std::fs::read_to_string(run.join("requests.jsonl")).expect("a journal");
    std::fs::write(run.join("requests.jsonl"), journal.repeat(2)).expect("written");
    let doubled = place.type_in(&line).expect(2).stderr;
    assert!(doubled.contains("requests.jsonl: request 0 of") && doubled.contains("stands there twice"), "{doubled}");
    std::fs::write(run.join("requests.jsonl"), journal.replacen("\"due\":", "\"dew\":", 1)).expect("written");
    let changed = place.type_in(&line).expect(2).stderr;
    assert!(changed.contains("requests.jsonl, line 1") && changed.contains("hint: "), "{changed}");
    std::fs::write(run.join("manifest.json"), "{\"version\": 1").expect("written");
    for line in [line, format!("compare {0} {0}", run.display()), format!("run --resume {}", run.display())] {
        let damaged = place.type_in(&line).expect(2).stderr;
        assert!(damaged.contains("is not a manifest") && damaged.contains("hint: "), "{line}: {damaged}");
    }
}
