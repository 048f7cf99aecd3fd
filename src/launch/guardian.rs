//! The guardian: a small process between topobench and one engine, so that nothing outlives topobench.
//!
//! vLLM is a tree: an API server, an EngineCore, workers, a resource tracker, and whatever those start. topobench may
//! be killed at any moment by a signal nobody can catch. `PR_SET_PDEATHSIG` would then reach only the engine's leader;
//! its children would live on and hold GPU memory. So topobench starts itself again in a hidden mode, once for every
//! engine, and that process
//!
//! - is a *subreaper*: whatever the engine leaves behind (double forks, `setsid`, a killed parent) is re-parented to
//!   it, so the engine's whole tree is exactly the guardian's descendants, for as long as it lives;
//! - reads from a pipe whose other end only topobench has. End of file there means that topobench asked for
//!   the end, or is gone in any way at all: the guardian kills its descendants in rounds until /proc shows none;
//! - lives in a session of its own, with another process name, and blocks the polite signals: Ctrl-C, a closed
//!   terminal, `kill -9 -PGID` and `pkill -9 topobench` take topobench and spare the guardian, which then cleans up;
//! - stops the engine in an orderly shutdown by the very same path (SIGTERM to the group first, end of file when the
//!   grace is over), so the path that must work in the worst moment is walked at the end of every run.
//!
//! Two other designs were weighed. *topobench as the inner process of one outer guardian*: the process a person sees
//! and kills is then the guardian, and the inner one must notice within the same instant; exit codes, terminal groups
//! and Ctrl-C need forwarding. *Finding orphans by a marker in /proc/PID/environ*: vLLM renames its processes by
//! overwriting that very memory, so the marker is gone where it is needed.
//!
//! What is left: topobench and a guardian both killed with SIGKILL by pid at the same moment. The leader dies then
//! (`PR_SET_PDEATHSIG`), its children may not. If only the guardian is killed, topobench notices (end of file on its
//! end) and sweeps by group, session and marker.
//!
//! Files that a killed engine leaves in /dev/shm and /tmp are the guardian's to remove too (see [`super::leftovers`]).
//!
//! Protocol: standard input brings a [`SpawnOrder`] as a line of JSON, later one byte for each [`TERMINATE`] or [`LOOK`];
//! standard output takes the answers, a [`Notice`] a line; standard error is the engine's log. In a step of Slurm the
//! other ends are srun's, and may stay open without topobench: there a byte of any kind is due every few seconds.

use super::leftovers::Inventory;
use super::procs::{self, ProcTable, Swept};
use super::program;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpid, getppid};
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// First argument of the hidden mode.
pub const MODE: &str = "__guardian";
/// Process name, and argv[0]: not topobench's, so that `pkill topobench` passes it by.
pub(super) const NAME: &str = "engine-guardian";
const COMM: &CStr = c"engine-guardian";

/// Asks for SIGTERM to the engine's group.
pub(super) const TERMINATE: u8 = b't';
/// Asks for nothing: topobench is there.
pub(super) const ALIVE: u8 = b'.';
/// Asks for a look at the files that the engine uses now.
pub(super) const LOOK: u8 = b'l';

/// After the leader's own exit, its helpers may finish (Python's resource tracker unlinks shared memory then).
const LINGER: Duration = Duration::from_secs(1);
/// Processes that survive SIGKILL this long are stuck in the kernel.
const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// What to start. Its environment holds secrets: it travels over the pipe, never in argv.
#[derive(Serialize, Deserialize)]
pub(super) struct SpawnOrder {
    pub program: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub env_removed: Vec<String>,
    /// Waits of a second without a byte after which topobench counts as gone. Waits and not time: a job that was
    /// suspended goes on.
    pub(super) silent_waits: Option<u32>,
}

/// What the guardian reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Notice {
    Started {
        pid: i32,
        guardian: i32,
        /// The Slurm step that they run in.
        step: Option<String>,
    },
    NotStarted {
        detail: String,
    },
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// All files that the engine was seen to use so far.
    Seen(Inventory),
    Gone(Departure),
}

/// What was done so that nothing of an engine is left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Departure {
    pub swept: Swept,
    /// Files it had left behind, now removed.
    pub removed: Vec<PathBuf>,
}

/// Runs the guardian if this process was started as one: to be asked before anything else looks at the arguments.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|arg| arg == MODE);
    asked.then(|| match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the engine's log here.
            let _ = writeln!(io::stderr(), "engine-guardian: {error}");
            ExitCode::FAILURE
        }
    })
}

fn guard() -> io::Result<()> {
    // Fails only for a group leader, which a freshly spawned child is not.
    let _ = nix::unistd::setsid();
    prctl::set_name(COMM)?;
    prctl::set_child_subreaper(true)?;
    // Blocked, not ignored: what is ignored stays ignored in the engine, what is blocked is unblocked before its exec.
    let polite = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD];
    polite.into_iter().collect::<SigSet>().thread_block()?;
    let child_events = SigSet::from_iter([Signal::SIGCHLD]);
    let child_events = SignalFd::with_flags(&child_events, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let mut orders = BufReader::new(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let notices = Notices(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let mut line = String::new();
    orders.read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let order: SpawnOrder = serde_json::from_str(&line)?;
    let silent_waits = order.silent_waits;
    let engine = match start(order) {
        Ok(engine) => engine,
        Err(error) => {
            notices.send(&Notice::NotStarted { detail: error.to_string() });
            return Ok(());
        }
    };
    let step = std::env::var("SLURM_STEP_ID").ok();
    notices.send(&Notice::Started { pid: engine.id().cast_signed(), guardian: getpid().as_raw(), step });
    let mut watch = Watch {
        orders: orders.into_inner(),
        notices,
        child_events,
        group: engine.id().cast_signed(),
        engine: Some(engine),
        silent_waits,
        files: Inventory::default(),
    };
    // Whatever the watch ran into, what was started must go.
    let watched = watch.until_the_end();
    // Halted first, so that no file comes to be between the last look and the end.
    for proc in descendants() {
        let _ = kill(Pid::from_raw(proc.pid), Signal::SIGSTOP);
    }
    watch.look();
    let leader_first = || {
        watch.collect_leader();
        descendants()
    };
    let swept = procs::sweep(leader_first, SWEEP_LIMIT);
    watch.collect_leader();
    watch.notices.send(&Notice::Gone(Departure { swept, removed: watch.files.remove() }));
    watched
}

fn descendants() -> Vec<procs::Proc> {
    ProcTable::read().descendants(getpid().as_raw())
}

/// Where the guardian tells what happens.
struct Notices(File);

impl Notices {
    /// The reader may be gone; that shows as end of file where we read.
    fn send(&self, notice: &Notice) {
        if let Ok(mut line) = serde_json::to_string(notice) {
            line.push('\n');
            let _ = (&self.0).write_all(line.as_bytes());
        }
    }
}

#[allow(unsafe_code)]
fn start(order: SpawnOrder) -> io::Result<Child> {
    let guardian = getpid();
    let mut command = program::command(&order.program);
    // What the engine prints is its log; standard output is for notices.
    let log = io::stderr().as_fd().try_clone_to_owned()?;
    command.args(order.args).stdin(Stdio::null()).stdout(log).process_group(0);
    for name in order.env_removed {
        command.env_remove(name);
    }
    command.envs(order.env);
    // SAFETY: runs in the forked child before exec and calls only prctl, pthread_sigmask and getppid, which are
    // async-signal-safe; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The guardian may have died between fork and prctl: then no signal would ever come.
            if getppid() != guardian {
                return Err(Errno::ESRCH.into());
            }
            SigSet::all().thread_unblock()?;
            Ok(())
        });
    }
    command.spawn()
}

struct Watch {
    orders: File,
    notices: Notices,
    child_events: SignalFd,
    /// The engine is leader of a group of its own.
    group: i32,
    engine: Option<Child>,
    silent_waits: Option<u32>,
    files: Inventory,
}

impl Watch {
    /// Returns when topobench's end of the pipe is closed or silent for too long, or when the leader has ended and its
    /// helpers left or outstayed [`LINGER`].
    fn until_the_end(&mut self) -> io::Result<()> {
        let mut left_at: Option<Instant> = None;
        let mut silent = 0;
        loop {
            let timeout = match (left_at, self.silent_waits) {
                (Some(_), _) => PollTimeout::from(20u8),
                (None, Some(_)) => PollTimeout::from(1000u16),
                (None, None) => PollTimeout::NONE,
            };
            let (asked, child_event) = self.wait(timeout)?;
            silent = if asked { 0 } else { silent + u32::from(!child_event) };
            if left_at.is_none() && self.silent_waits.is_some_and(|limit| silent > limit) {
                return Ok(());
            }
            if child_event {
                while matches!(self.child_events.read_signal(), Ok(Some(_))) {}
                if self.collect_leader() {
                    left_at = Some(Instant::now());
                }
                descendants().iter().for_each(procs::reap);
            }
            if asked && !self.obey()? {
                return Ok(());
            }
            if left_at.is_some_and(|at| at.elapsed() > LINGER || descendants().is_empty()) {
                return Ok(());
            }
        }
    }

    fn wait(&self, timeout: PollTimeout) -> io::Result<(bool, bool)> {
        let mut fds = [readable(self.orders.as_fd()), readable(self.child_events.as_fd())];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [orders, child] = fds.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        Ok((orders, child))
    }

    fn look(&mut self) {
        let pids: Vec<i32> = descendants().iter().filter(|p| !p.zombie).map(|p| p.pid).collect();
        self.files.add(Inventory::of(&pids));
    }

    /// Reads requests; false at end of file.
    fn obey(&mut self) -> io::Result<bool> {
        let mut requests = [0u8; 16];
        match self.orders.read(&mut requests) {
            Ok(0) => Ok(false),
            Ok(n) => {
                if requests[..n].iter().any(|request| *request != ALIVE) {
                    self.look();
                }
                if requests[..n].contains(&LOOK) {
                    self.notices.send(&Notice::Seen(self.files.clone()));
                }
                // Without its leader the group's number may already belong to strangers.
                if requests[..n].contains(&TERMINATE) && self.engine.is_some() {
                    let _ = killpg(Pid::from_raw(self.group), Signal::SIGTERM);
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            // A broken pipe says the same as a closed one.
            Err(_) => Ok(false),
        }
    }

    /// True once, when the leader's exit is seen; reports it.
    fn collect_leader(&mut self) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        match engine.try_wait() {
            Ok(None) => false,
            Ok(Some(status)) => {
                self.notices.send(&Notice::Exited { code: status.code(), signal: status.signal() });
                self.engine = None;
                true
            }
            // Reaped by the sweep between two looks: its SIGKILL was what ended it.
            Err(_) => {
                self.notices.send(&Notice::Exited { code: None, signal: Some(Signal::SIGKILL as i32) });
                self.engine = None;
                true
            }
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}
