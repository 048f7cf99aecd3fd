//! A working directory for each test, and programs run in it.

pub(crate) use kit::files::{entries, read_json, read_json_lines};

use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A small load on the simulated engine at fifty times real speed, with limits that even a busy machine meets.
pub(crate) const QUICK: [&str; 18] = [
    "--engine",
    "sim",
    "--engine-arg=--sim-speed=50",
    "--engine-arg=--sim-start-delay=0",
    "--engine-arg=--sim-handshake-ms=1",
    "--request-rate",
    "40,80",
    "--num-prompts",
    "6",
    "--random-input-len",
    "64",
    "--random-output-len",
    "8",
    "--num-warmups",
    "1",
    "--ttft-slo",
    "60s",
    "--json",
];

/// An empty directory, and an environment with nothing in it but what a test puts there.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

/// How a program ended, and what it printed.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { dir: tempfile::tempdir().expect("a temporary directory"), env: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.path().join("results")
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn topobench(&self, args: &[&str]) -> Ended {
        run(self.command(env!("CARGO_BIN_EXE_topobench")).args(args))
    }

    /// Runs topobench with a command line as one would type it; no word may contain a space.
    pub(crate) fn type_in(&self, line: &str) -> Ended {
        self.topobench(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// `line`, then [`QUICK`].
    pub(crate) fn measure(&self, line: &str) -> Ended {
        let args: Vec<&str> = line.split_whitespace().chain(QUICK).collect();
        self.topobench(&args)
    }

    /// Runs of a dataset, oldest first.
    pub(crate) fn runs(&self, dataset: &str) -> Vec<PathBuf> {
        entries(&self.results().join(dataset))
    }

    /// Replaces the directory's path, so that snapshots don't depend on it.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let real = self.path().canonicalize().expect("exists");
        text.replace(&real.display().to_string(), "[dir]").replace(&self.path().display().to_string(), "[dir]")
    }
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().expect("starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a program with this text on its stdin.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Ended {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    // A program that doesn't read closes its end, and writing fails.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Measured. On a busy machine the load client may have been late, which is exit code 4.
    #[track_caller]
    pub(crate) fn measured(self) -> Self {
        assert!(matches!(self.code, 0 | 4), "{}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr);
        self
    }

    /// stdout is one JSON document and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// Results of real vLLM: `simple` (TP2), `nixl` (1P1D), `failed`.
pub(crate) fn recorded(name: &str) -> String {
    format!("{}/tests/fixtures/h100-vllm/{name}", env!("CARGO_MANIFEST_DIR"))
}
