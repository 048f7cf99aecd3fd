//! A real Ray Serve application in front of prefill and decode engines, measured through `--attach` and `--metrics-url`.
//!
//! It runs where `TOPOBENCH_REAL_RAY` names an installation made by scripts/install_ray.sh. Ray starts a dozen processes, which
//! import much of Python: on two busy cores minutes pass before the application answers.

use kit::process;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// For Ray to start, or to end.
const PATIENCE: Duration = Duration::from_secs(900);
const END: Duration = Duration::from_secs(120);
/// In the environment of everything that the test starts, and of what that starts.
const MARK: &str = "TOPOBENCH_RAY_TEST";

/// Every process of this test, Ray's daemons and workers included; ended when it goes, however that comes.
struct Marked(String);

impl Marked {
    fn pids(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.0).into_bytes();
        let is_ours = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|entry| entry == mark)
        };
        process::every_pid().into_iter().filter(is_ours).collect()
    }

    fn kill(&self) {
        // What is being started while others are killed is found by the next look.
        for _ in 0..10 {
            let living = self.pids();
            if living.is_empty() {
                return;
            }
            for pid in &living {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
            process::survivors_after(Duration::from_secs(5), &living);
        }
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Stage {
    // In this order they go: what is left when it comes to the marked ones is killed.
    app: Child,
    marked: Marked,
    dir: tempfile::TempDir,
    front: String,
    node: String,
    engines: [String; 2],
}

impl Stage {
    fn raise(root: &Path) -> Stage {
        // Sockets' paths have at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("tb").tempdir_in("/tmp").expect("a short path");
        let marked = Marked(format!("{}", dir.path().display()));
        let ports: [u16; 6] = std::array::from_fn(|_| kit::free_port());
        let [prefill, decode, http, metrics, one, other] = ports;
        engine(&marked, "kv_producer", prefill, one);
        engine(&marked, "kv_consumer", decode, other);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let python = root.join("venv/bin/python");
        assert!(python.is_file(), "TOPOBENCH_REAL_RAY={}: there is no venv/bin/python in it", root.display());
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ray/app.py");
        let mut command = Command::new(python);
        command.arg("-B").arg(app).args([url(prefill), url(decode), http.to_string(), metrics.to_string()]);
        command.arg(dir.path().join("r")).env(MARK, &marked.0).env("HOME", dir.path());
        command.env("RAY_metrics_report_interval_ms", "1000").env("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "600");
        command.env("RAY_USAGE_STATS_ENABLED", "0").env("RAY_AUTH_MODE", "disabled");
        let log = std::fs::File::create(dir.path().join("app.log")).expect("a log");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let app = command.spawn().expect("starts");
        let mut stage =
            Stage { app, marked, dir, front: url(http), node: url(metrics), engines: [url(prefill), url(decode)] };
        stage.wait_until_ready();
        stage
    }

    fn wait_until_ready(&mut self) {
        let (said, ready) = mpsc::channel();
        let lines = BufReader::new(self.app.stdout.take().expect("piped")).lines();
        // Reads on after that: a full pipe would hold Ray up.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let mut all = Vec::new();
        while !all.iter().any(|line| line == "ready") {
            match ready.recv_timeout(PATIENCE) {
                Ok(line) => all.push(line),
                Err(error) => panic!("{error}\n{}\n{}", all.join("\n"), self.log()),
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("app.log")).unwrap_or_default()
    }

    /// Measures what answers at the front, with the engines' counters from these addresses.
    fn measure(&self, counters: [String; 2]) -> (serde_json::Value, serde_json::Value) {
        let [prefill, decode] = counters.map(|url| format!("--metrics-url={url}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_topobench"));
        command.args(["nixl", "--attach", &self.front, &prefill, &decode, "--attach-gpus", "prefill=1,decode=1"]);
        command
            .args("--metrics-lag 5 --model m --tokenizer enginesim --request-rate 2 --num-prompts 8 --json".split(' '));
        command.args("--random-input-len 256 --random-output-len 8 --num-warmups 1 --ttft-slo 600s".split(' '));
        command.args("--first-token-timeout 600 --idle-timeout 600 --drain-timeout 600".split(' '));
        let results = tempfile::tempdir().expect("a directory");
        let output = command.arg("--result-dir").arg(results.path()).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Two busy cores stream in pieces so large that a point may be doubtful, and no less counted.
        assert!(matches!(output.status.code(), Some(0 | 4)), "{:?}: {said}\n{}", output.status.code(), self.log());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let run = kit::files::entries(&results.path().join("random")).pop().expect("a run");
        (json["arms"][0]["points"][0].clone(), kit::files::read_json(run.join("manifest.json")))
    }

    /// Ends the application as it should be, and everything that didn't end with it.
    fn lower(mut self) {
        drop(self.app.stdin.take());
        let pid = self.app.id() as i32;
        let ended = process::survivors_after(END, &[pid]).is_empty();
        assert!(ended, "the application did not end\n{}", self.log());
        let _ = self.app.wait();
        self.marked.kill();
        assert_eq!(self.marked.pids(), [] as [i32; 0]);
    }
}

fn engine(marked: &Marked, role: &str, port: u16, side_channel: u16) {
    let mut command = kit::engine(&kit::enginesim!(), port, Some((role, side_channel)));
    command.args(["--sim-speed", "10"]).env(MARK, &marked.0);
    // Ended with all that is marked.
    drop(command.spawn().expect("starts"));
    kit::eventually("the engine answers", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
}

#[test]
fn a_serve_application_is_measured_and_its_hand_over_proved() {
    let Some(root) = std::env::var_os("TOPOBENCH_REAL_RAY").filter(|v| !v.is_empty()).map(PathBuf::from) else {
        eprintln!("SKIPPED: real Ray (TOPOBENCH_REAL_RAY names no installation; see scripts/install_ray.sh)");
        return;
    };
    let stage = Stage::raise(&root);
    // As Ray itself tells it: one page of the node, replicas told apart by their deployment.
    let of = |role: &str, deployment: &str| format!("{role}={}/metrics{{deployment=\"{deployment}:m\"}}", stage.node);
    let (point, manifest) = stage.measure([of("prefill", "Prefill"), of("decode", "Decode")]);
    assert_eq!(point["hand_over_proof"], "proved", "{point}");
    let engines = &manifest["points"][0]["engines"];
    let (prompts, transfers) = (engines["prompt_tokens"].as_f64(), engines["kv_transfers"].as_f64());
    assert_eq!((prompts, transfers), (Some(8.0 * 256.0), Some(8.0)), "this point's and no other's: {engines}");
    assert_eq!(engines["prefill_queue"], serde_json::Value::Null, "Ray makes it up: {engines}");
    assert!(manifest["warnings"].to_string().contains("through Ray"), "{manifest}");
    // As the engines tell it themselves.
    let [prefill, decode] = &stage.engines;
    let (point, _) = stage.measure([format!("prefill={prefill}"), format!("decode={decode}")]);
    assert_eq!(point["hand_over_proof"], "proved", "{point}");
    assert!(point["kv"]["bytes"].as_f64().is_some_and(|bytes| bytes > 0.0), "{point}");
    stage.lower();
}
