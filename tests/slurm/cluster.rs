//! The cluster, its jobs, and topobench in them.

use kit::process::{command_line, every_pid, is_alive};
use kit::{PATIENCE, eventually, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Marks every process of a topobench: parent, group and name may change, but not the environment it was started with.
const TAG: &str = "TOPOBENCH_SLURM_TAG";

/// A Slurm of two nodes. It goes down with this process.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    /// Its end takes the cluster down.
    _up: ChildStdin,
    turns: Mutex<()>,
}

/// The cluster, which belongs to one test at a time; `None` where there can't be one.
pub(crate) fn turn() -> Option<(&'static Cluster, MutexGuard<'static, ()>)> {
    static UP: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = UP.get_or_init(Cluster::bring_up).as_ref()?;
    let turn = cluster.turns.lock().unwrap_or_else(PoisonError::into_inner);
    Some((cluster, turn))
}

fn is_installed() -> bool {
    let programs = ["slurmctld", "slurmd", "srun", "munged"];
    programs.iter().all(|program| which::which_in(program, Some(path()), "/").is_ok())
}

/// Daemons lie in sbin, which few users have on PATH.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

impl Cluster {
    #[allow(clippy::zombie_processes, reason = "the script ends when this process does")]
    fn bring_up() -> Option<Cluster> {
        if !is_installed() || !nix::unistd::geteuid().is_root() {
            eprintln!("LEFT OUT: Slurm (Debian packages slurm-wlm and munge; as root)");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let ports: BTreeSet<u16> = std::iter::repeat_with(free_port).take(12).collect();
        let ports: Vec<String> = ports.into_iter().take(3).map(|port| port.to_string()).collect();
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/two_nodes.sh"))
            .arg(dir.path())
            .args(&ports)
            .env("PATH", path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let mut said = String::new();
        for line in BufReader::new(script.stdout.take().expect("piped")).lines().map_while(Result::ok) {
            if line == "up" {
                return Some(Cluster { dir, _up: script.stdin.take().expect("piped"), turns: Mutex::new(()) });
            }
            said.push_str(&line);
            said.push('\n');
        }
        panic!("Slurm did not come up: {said}");
    }

    /// One of Slurm's commands.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.conf()).stdin(Stdio::null());
        command
    }

    /// What one of Slurm's commands prints.
    pub(crate) fn ask(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().expect("runs");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// Steps of a job, but not its batch script.
    pub(crate) fn steps(&self, job: &str) -> Vec<String> {
        let steps = self.ask("squeue", &["--noheader", "--steps", "--format=%i", &format!("--jobs={job}")]);
        steps.lines().map(|step| step.trim().to_string()).filter(|step| !step.ends_with(".batch")).collect()
    }

    /// A job on both nodes, with so many GPUs on each, in which nothing runs yet.
    pub(crate) fn allocate(&self, gpus: u32) -> Job<'_> {
        let before: BTreeSet<String> = self.jobs();
        let args = ["--no-shell", "--nodes=2", &format!("--gres=gpu:{gpus}"), "--quiet"].map(str::to_string);
        let allocated = self.command("salloc").args(args).output().expect("runs");
        assert!(allocated.status.success(), "{}", String::from_utf8_lossy(&allocated.stderr));
        let id = eventually("a job", || self.jobs().difference(&before).next().cloned());
        Job { cluster: self, id }
    }

    /// Ends all that a node runs, its daemon first, as a power cut would, and has the controller notice at once. Gives the
    /// names of what was ended.
    pub(crate) fn lose_node(&self, node: &str) -> Vec<String> {
        let log = self.dir.path().join(format!("{node}.log"));
        let named = format!("SLURMD_NODENAME={node}");
        let is_there = |pid: i32| -> Option<(i32, String)> {
            let process = procfs::process::Process::new(pid).ok()?;
            let name = process.stat().ok()?.comm;
            let writes = |fd: procfs::process::FDInfo| fd.target == procfs::process::FDTarget::Path(log.clone());
            let of_slurm = name.starts_with("slurm") && process.fd().ok()?.flatten().any(writes);
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let of_job = environ.split(|byte| *byte == 0).any(|set| set == named.as_bytes());
            let ours = environ.windows(self.conf().len()).any(|part| part == self.conf().as_bytes());
            (of_slurm || (of_job && ours)).then_some((pid, name))
        };
        let mut doomed: Vec<(i32, String)> = every_pid().into_iter().filter_map(is_there).collect();
        doomed.sort_by_key(|(_, name)| name != "slurmd");
        for (pid, _) in &doomed {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        self.ask("scontrol", &["update", &format!("nodename={node}"), "state=down", "reason=lost"]);
        doomed.into_iter().map(|(_, name)| name).collect()
    }

    /// Starts the daemon of a node that was lost.
    pub(crate) fn bring_back(&self, node: &str) {
        let started = self.command("slurmd").args(["-N", node, "-f", &self.conf()]).env("PATH", path()).status();
        assert!(started.expect("runs").success());
        self.ask("scontrol", &["update", &format!("nodename={node}"), "state=resume"]);
        eventually("idle nodes", || (self.ask("sinfo", &["-h", "-t", "idle", "-o", "%D"]) == "2").then_some(()));
    }

    fn conf(&self) -> String {
        self.dir.path().join("slurm.conf").display().to_string()
    }

    /// A job that was submitted.
    pub(crate) fn job(&self, id: &str) -> Job<'_> {
        Job { cluster: self, id: id.to_string() }
    }

    fn jobs(&self) -> BTreeSet<String> {
        self.ask("squeue", &["--noheader", "--format=%i"]).lines().map(|job| job.trim().to_string()).collect()
    }
}

/// A job, cancelled when it is dropped.
pub(crate) struct Job<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) id: String,
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.cluster.ask("scancel", &[&self.id]);
        let gone = || (!self.cluster.jobs().contains(&self.id)).then_some(());
        if !std::thread::panicking() {
            eventually("the end of the job", gone);
        }
    }
}

/// A topobench to be started in a job, with a working directory of its own.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    tag: String,
    env: Vec<(String, String)>,
    args: Vec<String>,
    cwd: Option<PathBuf>,
}

impl Bench {
    /// `words`: the subcommand with its flags; those of small, fast points on simulated engines are added.
    pub(crate) fn new(words: &str) -> Bench {
        let sim =
            "--engine sim --launcher slurm --random-input-len 32 --random-output-len 4 --num-warmups 1 --max-warmup 0";
        let bench = Bench::bare(words).args(sim).args("--engine-arg --sim-speed --engine-arg 10");
        // On a loaded machine the client may be late by more than is usual, which is not what is tested.
        bench.args("--ttft-slo 60000 --json")
    }

    pub(crate) fn bare(words: &str) -> Bench {
        let tag = format!("{:032x}", rand::random::<u128>());
        Bench { dir: tempfile::tempdir().expect("a directory"), tag, env: Vec::new(), args: Vec::new(), cwd: None }
            .args(words)
    }

    pub(crate) fn args(mut self, words: &str) -> Bench {
        self.args.extend(words.split_whitespace().map(str::to_string));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Bench {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    fn command(&self, cluster: &Cluster) -> Command {
        let mut command = cluster.command(env!("CARGO_BIN_EXE_topobench"));
        command.args(&self.args).current_dir(self.cwd.as_deref().unwrap_or(self.dir.path())).env(TAG, &self.tag);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in ["SLURM_JOB_ID", "SLURM_JOBID", "SLURM_JOB_NODELIST", "CUDA_VISIBLE_DEVICES", "VLLM_API_KEY"] {
            command.env_remove(name);
        }
        command
    }

    /// As it would be in a shell of `salloc`.
    fn command_in(&self, job: &Job<'_>) -> Command {
        let mut command = self.command(job.cluster);
        command.env("SLURM_JOB_ID", &job.id).env("SLURM_JOB_NODELIST", "n[1-2]");
        command
    }

    /// In the working directory of another one.
    pub(crate) fn within(mut self, other: &Bench) -> Bench {
        self.cwd = Some(other.dir.path().to_path_buf());
        self
    }

    /// As the only command of a batch script.
    pub(crate) fn submit<'a>(&self, cluster: &'a Cluster, options: &[&str]) -> Job<'a> {
        let script = self.dir.path().join("job.sh");
        let program = env!("CARGO_BIN_EXE_topobench");
        std::fs::write(&script, format!("#!/bin/bash\nexec {program} {}\n", self.args.join(" "))).expect("writes");
        let mut sbatch = cluster.command("sbatch");
        sbatch.args(["--parsable", "--output=job.out"]).args(options).arg(&script);
        let submitted = sbatch.current_dir(self.dir.path()).env(TAG, &self.tag).output().expect("runs");
        assert!(submitted.status.success(), "{}", words(&submitted));
        cluster.job(String::from_utf8_lossy(&submitted.stdout).trim())
    }

    pub(crate) fn run_outside(&self, cluster: &Cluster) -> Output {
        self.command(cluster).output().expect("runs")
    }

    pub(crate) fn run(&self, job: &Job<'_>) -> Output {
        self.command_in(job).output().expect("runs")
    }

    pub(crate) fn start(&self, job: &Job<'_>) -> Child {
        self.command_in(job).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
    }

    /// Living processes that descend from it, itself included.
    pub(crate) fn tagged(&self) -> Vec<i32> {
        let alive = |pid: &i32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            memchr::memmem::find(&environ, self.tag.as_bytes()).is_some() && is_alive(*pid)
        };
        every_pid().into_iter().filter(alive).collect()
    }

    /// Waits until nothing is left of it: no process, no step, no listener of those that were seen.
    #[track_caller]
    pub(crate) fn assert_gone(&self, job: &Job<'_>, seen: &BTreeSet<u64>, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let (processes, steps) = (self.tagged(), job.cluster.steps(&job.id));
            let ports: Vec<u64> =
                listening().into_iter().map(|(inode, _)| inode).filter(|i| seen.contains(i)).collect();
            if processes.is_empty() && steps.is_empty() && ports.is_empty() {
                return;
            }
            let lines: Vec<String> = processes.iter().map(|&pid| format!("{pid} {}", command_line(pid))).collect();
            assert!(Instant::now() < deadline, "left: {lines:#?}, steps {steps:?}, sockets {ports:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The run's directory.
    pub(crate) fn run_dir(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.dir.path().join("results/random")).expect("results");
        runs.map(|run| run.expect("reads").path()).next().expect("a run")
    }

    pub(crate) fn manifest(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.run_dir().join("manifest.json")).expect("a manifest");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failed test leaves nothing behind either: guardians clean up best, so they get time for it.
        let deadline = Instant::now() + PATIENCE;
        for pid in self.tagged().into_iter().filter(|&pid| command_line(pid).contains("--launcher")) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        while !self.tagged().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        for pid in self.tagged() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Every listening socket of this machine, and its port.
fn listening() -> Vec<(u64, u16)> {
    let tables = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let listens = tables.filter(|s| s.state == procfs::net::TcpState::Listen);
    listens.map(|s| (s.inode, s.local_address.port())).collect()
}

/// Sockets on which these processes listen.
pub(crate) fn sockets_of(pids: &[i32]) -> BTreeSet<u64> {
    let mut held = BTreeSet::new();
    for process in pids.iter().filter_map(|&pid| procfs::process::Process::new(pid).ok()) {
        held.extend(process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
            procfs::process::FDTarget::Socket(inode) => Some(inode),
            _ => None,
        }));
    }
    listening().into_iter().map(|(inode, _)| inode).filter(|inode| held.contains(inode)).collect()
}

/// Both streams, for messages.
pub(crate) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
