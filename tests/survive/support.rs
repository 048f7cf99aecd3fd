//! Runs of the real program: its events as they come, its processes, its directories.

pub(crate) use kit::files::read_json_lines;
pub(crate) use kit::process::{command_line, parent};

use kit::PATIENCE;
use kit::process::{every_pid, is_alive, peak_memory};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Marks every descendant of a run: parent, group and name may change, but not the environment it was started with.
const TAG: &str = "TOPOBENCH_SURVIVE_TAG";

/// A library compiled from a fixture, to be loaded before one of the system's.
pub(crate) fn compiled(dir: &Path, source: &str, name: &str) -> PathBuf {
    let library = dir.join("libraries").join(name);
    std::fs::create_dir_all(dir.join("libraries")).expect("creates");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/survive").join(source);
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "stand_in", "-o"])
        .args([&library, &source])
        .output()
        .expect("rustc runs");
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    library
}

/// A topobench to be started, and its working directory.
pub(crate) struct Bench {
    program: PathBuf,
    pub dir: Rc<tempfile::TempDir>,
    tag: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Bench {
    /// `words`: the subcommand with the flags of the test; flags for small, fast points on simulated engines are added.
    pub(crate) fn new(words: &str) -> Self {
        Bench::at_speed(10, words)
    }

    /// Simulated time passes this much faster than the clock. At 1, a token takes 7 ms, so that requests are always in
    /// flight.
    pub(crate) fn at_speed(speed: u32, words: &str) -> Self {
        Bench::bare(words)
            .args("--engine sim --engine-arg --sim-handshake-ms --engine-arg 5 --random-input-len 32 --num-warmups 1")
            .args(&format!("--engine-arg --sim-speed --engine-arg {speed}"))
    }

    /// Only these words and the place of the results.
    pub(crate) fn bare(words: &str) -> Self {
        Bench::within(Rc::new(tempfile::tempdir().expect("a directory")), words)
    }

    /// A prefill/decode pair whose engine is a shell script.
    pub(crate) fn with_engine(script: &str, more: &str) -> Self {
        let bench = Bench::bare("run own.toml").args(more);
        let program = bench.dir.path().join("engine");
        let text = format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 0.32.0; exit 0; fi\n{script}\n");
        std::fs::write(&program, text).expect("writes");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("may run");
        bench.write_topology(&program.display().to_string(), "");
        bench
    }

    /// `own.toml`, for `run own.toml`, with simulated GPUs.
    pub(crate) fn write_topology(&self, program: &str, more: &str) {
        self.write_topology_with(program, &format!("devices = 8\n{more}"));
    }

    /// `own.toml` on the GPUs that the machine has.
    pub(crate) fn write_topology_with(&self, program: &str, more: &str) {
        let text = format!(
            "name = \"own\"\nkind = \"prefill-decode\"\nprogram = \"{program}\"\n{more}\n[prefill]\n[decode]\n\
             [kv]\n[defaults]\nmodel = \"qwen3-8b\"\ntokenizer = \"enginesim\"\n"
        );
        std::fs::write(self.dir.path().join("own.toml"), text).expect("writes");
    }

    fn within(dir: Rc<tempfile::TempDir>, words: &str) -> Self {
        let tag = format!("{:032x}", rand::random::<u128>());
        let program = env!("CARGO_BIN_EXE_topobench").into();
        let bench = Bench { program, dir, tag, args: Vec::new(), env: Vec::new() }.args(words).args("--json");
        let results = bench.results().display().to_string();
        bench.arg("--result-dir").arg(&results)
    }

    /// Another file of the program.
    pub(crate) fn program(mut self, program: &Path) -> Self {
        self.program = program.to_path_buf();
        self
    }

    /// Resumes a run of this bench, in the same directory.
    pub(crate) fn resuming(&self, run: &Path) -> Self {
        self.resuming_as("run", run)
    }

    /// Resumes with this command.
    pub(crate) fn resuming_as(&self, command: &str, run: &Path) -> Self {
        let mut bench =
            Bench::within(Rc::clone(&self.dir), &format!("{command} --resume")).arg(&run.display().to_string());
        // The flag's value follows it.
        let value = bench.args.pop().expect("just given");
        bench.args.insert(2, value);
        bench
    }

    pub(crate) fn args(mut self, words: &str) -> Self {
        self.args.extend(words.split_whitespace().map(str::to_string));
        self
    }

    pub(crate) fn arg(mut self, word: &str) -> Self {
        self.args.push(word.to_string());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.dir.path().join("results")
    }

    /// The command, not yet started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(self.dir.path()).env(TAG, &self.tag).stdin(Stdio::null());
        for name in ["VLLM_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "CUDA_VISIBLE_DEVICES", "TENSOR_PARALLEL_SIZE"] {
            command.env_remove(name);
        }
        // On a loaded machine the client may be late by more than 2 % of the usual limit, which is not what is tested.
        command.env("TTFT_SLO", "60000");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn start(&self) -> Running {
        self.start_as(self.command())
    }

    pub(crate) fn start_as(&self, mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("topobench starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut stdout = child.stdout.take().expect("piped");
        let (told, incoming) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let dir = Rc::clone(&self.dir);
        Running { dir, child, incoming, stdout: Some(stdout), events: Vec::new(), words: Vec::new(), peak: 0 }
    }

    /// Runs it from start to end.
    pub(crate) fn run(&self) -> Finished {
        self.start().finish()
    }

    /// Living processes that descend from runs of this bench, topobench included.
    pub(crate) fn tagged(&self) -> Vec<i32> {
        let alive = |pid: &i32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            memchr::memmem::find(&environ, self.tag.as_bytes()).is_some() && is_alive(*pid)
        };
        every_pid().into_iter().filter(alive).collect()
    }

    /// What is still alive after this long.
    pub(crate) fn left_after(&self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        loop {
            let left = self.tagged();
            if left.is_empty() || Instant::now() > deadline {
                return left.into_iter().map(|pid| format!("{pid} {}", command_line(pid))).collect();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failed test leaves nothing behind either. topobench's guardians clean up best, so they get time for it.
        for pid in self.tagged().into_iter().filter(|&pid| command_line(pid).contains("topobench")) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.left_after(Duration::from_secs(2));
        for pid in self.tagged() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("sends");
}

/// A running topobench.
pub(crate) struct Running {
    dir: Rc<tempfile::TempDir>,
    pub child: Child,
    incoming: Receiver<String>,
    stdout: Option<std::thread::JoinHandle<String>>,
    events: Vec<Value>,
    /// The most memory it was seen to use, bytes.
    pub peak: u64,
    /// Lines of stderr that are not events: errors.
    words: Vec<String>,
}

/// How it ended, and everything it printed.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Keeps its results on disk.
    _dir: Rc<tempfile::TempDir>,
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub words: String,
    pub stdout: String,
    pub peak: u64,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, sig: Signal) {
        signal(self.pid(), sig);
    }

    fn take(&mut self, line: String) -> Option<&Value> {
        match serde_json::from_str::<Value>(&line) {
            Ok(event) => {
                self.events.push(event);
                self.events.last()
            }
            Err(_) => {
                self.words.push(line);
                None
            }
        }
    }

    /// Waits for the next event of this kind that `fits`.
    pub(crate) fn wait(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(line) => {
                    if let Some(event) = self.take(line).filter(|e| e["event"] == kind && fits(e)) {
                        return event.clone();
                    }
                }
                Err(error) => panic!("no {kind} ({error}): {:#?}\n{}", self.events, self.words.join("\n")),
            }
        }
    }

    /// The next run's directory, as soon as an event names it.
    pub(crate) fn dir(&mut self) -> PathBuf {
        let event = self.wait("run_created", |_| true);
        PathBuf::from(event["dir"].as_str().expect("a path"))
    }

    /// Waits until this many requests of the point at this rate have been sent.
    pub(crate) fn wait_sent(&mut self, rate: f64, sent: u64) {
        self.wait("point_progress", |e| e["rate"] == rate && e["sent"].as_u64().is_some_and(|n| n >= sent));
    }

    pub(crate) fn finish(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            while let Ok(line) = self.incoming.try_recv() {
                self.take(line);
            }
            self.peak = self.peak.max(peak_memory(self.pid()).unwrap_or(0));
            if let Some(status) = self.child.try_wait().expect("waits") {
                break status.code();
            }
            assert!(Instant::now() < deadline, "it never ends: {:#?}\n{}", self.events, self.words.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        };
        // Descendants may keep its standard streams open; tests look for those that should not exist.
        while let Ok(line) = self.incoming.recv_timeout(Duration::from_millis(500)) {
            self.take(line);
        }
        let stdout = self.stdout.take().map(|thread| thread.join().expect("reads")).unwrap_or_default();
        let (events, words) = (std::mem::take(&mut self.events), self.words.join("\n"));
        Finished { _dir: Rc::clone(&self.dir), code, events, words, stdout, peak: self.peak }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    pub(crate) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |e| e["event"] == kind)
    }

    pub(crate) fn dir(&self) -> PathBuf {
        let event = self.all("run_created").next().unwrap_or_else(|| panic!("no run: {}", self.words));
        PathBuf::from(event["dir"].as_str().expect("a path"))
    }
}

/// A run's directory, read back.
pub(crate) struct RunDir(pub PathBuf);

impl RunDir {
    pub(crate) fn manifest(&self) -> Value {
        let text = std::fs::read_to_string(self.0.join("manifest.json")).expect("a manifest");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) fn lines(&self, file: &str) -> Vec<Value> {
        read_json_lines(self.0.join(file))
    }

    pub(crate) fn requests(&self, rate: f64) -> Vec<Value> {
        self.lines("requests.jsonl").into_iter().filter(|r| r["rate"] == rate).collect()
    }

    /// The facts of a rate's first attempt.
    pub(crate) fn point(&self, rate: f64) -> Value {
        let manifest = self.manifest();
        let points = manifest["points"].as_array().expect("points");
        points.iter().find(|p| p["rate"] == rate).cloned().unwrap_or_else(|| panic!("no point at {rate}: {points:?}"))
    }

    /// Pid of an instance in the last bring-up of its fleet.
    pub(crate) fn engine(&self, instance: &str) -> i32 {
        let manifest = self.manifest();
        let instances = manifest["instances"].as_array().expect("instances");
        let last = instances.iter().rfind(|i| i["name"] == instance).unwrap_or_else(|| panic!("no {instance}"));
        last["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a pid")
    }
}

/// How many of these requests had this outcome, such as `completed` or `engine_died`.
pub(crate) fn count(requests: &[Value], kind: &str) -> usize {
    requests.iter().filter(|r| r["outcome"] == kind || r["failure"]["kind"] == kind).count()
}
