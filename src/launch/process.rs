//! One engine process as topobench sees it: started through its guardian, its log drained, its end observed.
//!
//! The guardian reads its standard input, whose other end [`EngineProcess`] holds. Dropping it, exiting, panicking or
//! being killed all close it, and each ends the engine's whole tree.

use super::argv::EngineCommand;
use super::guardian::{self, Departure, Notice, SpawnOrder};
use super::host::Host;
use super::leftovers::Inventory;
use super::log::EngineLog;
use super::lost::LostEngine;
use super::ports::Listener;
use nix::sys::signal::Signal;
use serde::{Serialize, Serializer};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Mutex, watch};
use tokio::time::{interval, timeout};

/// Set in every engine's environment: marks its processes should their guardian be lost.
const MARKER: &str = "TOPOBENCH_ENGINE";
/// How long a guardian may take from end of file to its report before it counts as stuck.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
/// For what an srun that ended has printed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After an orderly exit, how long helpers may take to finish; the guardian's own limit is shorter.
const HELPERS_PATIENCE: Duration = Duration::from_secs(3);

/// How an engine's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// Its guardian was killed, so nobody saw it.
    Unseen,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            ExitStatus::Unseen => f.write_str("ended unseen, its guardian was killed"),
        }
    }
}

impl Serialize for ExitStatus {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// The end of an engine's first process, as topobench heard of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessEnd {
    pub(super) status: ExitStatus,
    pub(super) at: Instant,
}

impl ProcessEnd {
    fn now(status: ExitStatus) -> Self {
        ProcessEnd { status, at: Instant::now() }
    }
}

/// How an engine was brought down.
#[derive(Debug, Clone)]
pub(super) struct Stopped {
    pub status: ExitStatus,
    /// SIGTERM was not enough.
    pub forced: bool,
    pub departure: Departure,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("cannot open the log {}: {source}; check the directory's permissions and the disk's space", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot start the guardian process: {0}; check the limits on processes and open files (ulimit -u, -n)")]
    Guardian(#[from] io::Error),
    #[error("cannot start {program}: {detail}")]
    Program { program: String, detail: String },
}

/// A started engine.
#[derive(Debug)]
pub(super) struct EngineProcess {
    host: Host,
    pid: i32,
    guardian: i32,
    log: EngineLog,
    ended: watch::Receiver<Option<ProcessEnd>>,
    gone: watch::Receiver<Option<Departure>>,
    requests: Arc<Mutex<Option<ChildStdin>>>,
}

impl EngineProcess {
    /// Starts `command` on `host` behind the guardian program (see [`guardian`]). The log goes to `log_path`, or only to
    /// the tail in memory.
    pub(super) async fn spawn(
        host: &Host,
        name: &str,
        command: &EngineCommand,
        guardian: &Path,
        log_path: Option<&Path>,
    ) -> Result<Self, SpawnError> {
        let marker = format!("{:032x}", rand::random::<u128>());
        let (pipe, writer) = io::pipe()?;
        let log = EngineLog::drain(pipe, log_path).map_err(|source| match log_path {
            Some(path) => SpawnError::Log { path: path.to_path_buf(), source },
            None => SpawnError::Guardian(source),
        })?;
        let mut starting = host.guardian(guardian, name);
        // Its own command holds the log's other end until it is dropped.
        let mut child = starting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(writer)).spawn()?;
        drop(starting);
        let missing = || io::Error::other("its standard streams are missing");
        let mut requests = child.stdin.take().ok_or_else(missing)?;
        let mut notices = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        // An srun that ends at once takes no order; what it printed says why.
        let _ = requests.write_all(order_line(command, &marker, host.silent_waits()).as_bytes()).await;
        let Born { pid, guardian, step } = match started(&mut notices, &command.program).await {
            Err(SpawnError::Program { program, detail }) if host.is_remote() => {
                let _ = timeout(LAST_WORDS, log.finished()).await;
                let said: String = log.tail().iter().map(|line| format!("\n    | {line}")).collect();
                return Err(SpawnError::Program { program, detail: format!("{detail}{said}") });
            }
            born => born?,
        };
        let (end, ended) = watch::channel(None);
        let (leave, gone) = watch::channel(None);
        let lost = LostEngine { session: guardian, marker, files: Inventory::default(), step };
        tokio::spawn(Supervisor { host: host.clone(), child, notices, lost, end, leave }.run());
        let requests = Arc::new(Mutex::new(Some(requests)));
        if let Some(every) = host.beat() {
            tokio::spawn(beat(Arc::downgrade(&requests), every));
        }
        Ok(EngineProcess { host: host.clone(), pid, guardian, log, ended, gone, requests })
    }

    /// The engine's first process, leader of its group.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn log(&self) -> &EngineLog {
        &self.log
    }

    /// Where it runs.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Who listens on a port where the engine runs.
    pub(super) async fn listener(&self, port: u16) -> Listener {
        self.host.listener(port, self.guardian).await
    }

    /// `None` while the first process lives.
    pub(super) fn exit(&self) -> Option<ProcessEnd> {
        *self.ended.borrow()
    }

    /// Waits for the end of the first process.
    pub(super) async fn ended(&self) -> ExitStatus {
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(exit) => exit.map_or(ExitStatus::Unseen, |exit| exit.status),
            // The supervisor was dropped with its runtime.
            Err(_) => ExitStatus::Unseen,
        }
    }

    /// Brings the engine down: SIGTERM to its group, `grace` for the first process to exit, then SIGKILL to the whole
    /// tree until nothing is left of it.
    pub(super) async fn stop(&self, grace: Duration) -> Stopped {
        let forced = self.exit().is_none() && !self.terminate(grace).await;
        if !forced {
            let _ = timeout(HELPERS_PATIENCE, self.tree_gone()).await;
        }
        self.requests.lock().await.take();
        let departure = match timeout(SWEEP_PATIENCE, self.tree_gone()).await {
            Ok(departure) => departure,
            Err(_) => {
                // A stopped or wedged guardian: without it the supervisor sweeps itself.
                self.host.kill_guardian(self.guardian).await;
                self.tree_gone().await
            }
        };
        Stopped { status: self.ended().await, forced, departure }
    }

    /// True if the first process exited within `grace`.
    async fn terminate(&self, grace: Duration) -> bool {
        self.request(guardian::TERMINATE).await;
        timeout(grace, self.ended()).await.is_ok()
    }

    /// Has the guardian note which files the engine uses, for the time after it.
    pub(super) async fn note_files(&self) {
        self.request(guardian::LOOK).await;
    }

    async fn request(&self, what: u8) {
        if let Some(requests) = self.requests.lock().await.as_mut() {
            // The guardian may be gone; then `ended` knows.
            let _ = requests.write_all(&[what]).await;
        }
    }

    async fn tree_gone(&self) -> Departure {
        match self.gone.clone().wait_for(Option::is_some).await {
            Ok(departure) => departure.clone().unwrap_or_default(),
            Err(_) => Departure::default(),
        }
    }
}

/// Lets the guardian know that topobench is there, until the engine is to end.
async fn beat(requests: Weak<Mutex<Option<ChildStdin>>>, every: Duration) {
    let mut beats = interval(every);
    loop {
        beats.tick().await;
        let Some(requests) = requests.upgrade() else { return };
        let Some(pipe) = &mut *requests.lock().await else { return };
        if pipe.write_all(&[guardian::ALIVE]).await.is_err() {
            return;
        }
    }
}

fn order_line(command: &EngineCommand, marker: &str, silent_waits: Option<u32>) -> String {
    let marker = (MARKER.to_string(), marker.to_string());
    let env = command.env.iter().map(|(name, value)| (name.clone(), value.expose().to_string()));
    let order = SpawnOrder {
        program: command.program.clone(),
        args: command.args.clone(),
        env: env.chain([marker]).collect(),
        env_removed: command.env_removed.clone(),
        silent_waits,
    };
    let line = serde_json::to_string(&order).unwrap_or_else(|_| unreachable!("strings serialise"));
    line + "\n"
}

/// The pids of the engine's first process and of its guardian, and the step they run in.
struct Born {
    pid: i32,
    guardian: i32,
    step: Option<String>,
}

async fn started(notices: &mut Lines<BufReader<ChildStdout>>, program: &str) -> Result<Born, SpawnError> {
    let failed = |detail: String| SpawnError::Program { program: program.to_string(), detail };
    let line = notices.next_line().await?;
    match line.as_deref().map(serde_json::from_str) {
        Some(Ok(Notice::Started { pid, guardian, step })) => Ok(Born { pid, guardian, step }),
        Some(Ok(Notice::NotStarted { detail })) => Err(failed(detail)),
        _ => Err(failed("its guardian ended before it could start it".to_string())),
    }
}

/// Listens to the guardian until it is gone, whichever way.
struct Supervisor {
    host: Host,
    child: Child,
    notices: Lines<BufReader<ChildStdout>>,
    /// With its files as the guardian saw them last.
    lost: LostEngine,
    end: watch::Sender<Option<ProcessEnd>>,
    leave: watch::Sender<Option<Departure>>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut departure = None;
        while let Ok(Some(line)) = self.notices.next_line().await {
            match serde_json::from_str(&line) {
                Ok(Notice::Exited { code, signal }) => {
                    let status = code.map(ExitStatus::Code).or(signal.map(ExitStatus::Signal));
                    self.end.send_replace(Some(ProcessEnd::now(status.unwrap_or(ExitStatus::Unseen))));
                }
                Ok(Notice::Seen(files)) => self.lost.files = files,
                Ok(Notice::Gone(report)) => departure = Some(report),
                Ok(Notice::Started { .. } | Notice::NotStarted { .. }) | Err(_) => {}
            }
        }
        let _ = self.child.wait().await;
        self.end.send_if_modified(|exit| {
            let unseen = exit.is_none();
            exit.get_or_insert_with(|| ProcessEnd::now(ExitStatus::Unseen));
            unseen
        });
        let departure = match departure {
            Some(departure) => departure,
            None => self.host.sweep(self.lost, SWEEP_PATIENCE).await,
        };
        self.leave.send_replace(Some(departure));
    }
}
