//! One point of a sweep: the whole schedule against one target.

use super::connection::Connector;
use super::exchange::{Clock, Deadlines};
use super::look_ahead::{AskedWriting, Writing, WrittenRequest};
use super::progress::{Counts, Progress};
use super::sessions::SessionWorker;
use super::target::{Authority, Destination, RequestWriter, TargetError};
use super::turns::Turns;
use super::worker::{Common, Slots, Worker};
use crate::outcome::RequestRecord;
use crate::plan::workload::{PreparedWorkload, Schedule};
use crate::units::Offset;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Between everything being ready and time zero: long enough for the workers' threads to start and connect.
const LEAD: Duration = Duration::from_millis(50);
/// One worker reads 150,000 chunks a second; more of them only where cores abound.
const CORES_PER_WORKER: usize = 8;
const MOST_WORKERS: usize = 8;

/// Everything that one point needs.
#[derive(Debug, Clone)]
pub struct PointSpec {
    pub schedule: Arc<Schedule>,
    /// Renders the schedule's prompts.
    pub prompts: Arc<PreparedWorkload>,
    pub target: Destination,
    /// Requests get `<prefix>-<index>` as `X-Request-Id`; it must differ between points.
    pub id_prefix: String,
    pub deadlines: Deadlines,
    /// How long answers may take after the last send; then they are unfinished.
    pub drain: Duration,
    pub pace: Pace,
    pub keep_text: bool,
}

/// What lets a request go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Its due time.
    Open,
    /// Its due time and a free slot, of this many; the wait for one counts as latency.
    Limited(u32),
    /// A free slot, of this many: a request is due when the one before it in its slot has ended.
    Closed(u32),
}

impl Pace {
    fn slots(self) -> Option<u32> {
        match self {
            Pace::Open => None,
            Pace::Limited(n) | Pace::Closed(n) => Some(n),
        }
    }
}

/// What became of the point as a whole; the requests' own fates are in the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadReport {
    /// Offset zero of all records, for stamps taken elsewhere in this process.
    pub time_zero: Instant,
    /// The same moment on the wall clock.
    pub started_at: SystemTime,
    /// When the last outcome was known; zero if nothing was sent.
    pub last_end: Offset,
    pub counts: Counts,
    /// Whether it was cut short from outside.
    pub cancelled: bool,
}

/// A point that couldn't begin, or whose load crashed; never the server's fault.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the load's thread `{thread}` could not start: {source}")]
    Start { thread: String, source: io::Error },
    #[error("the load's thread `{thread}` crashed; what was recorded until then is valid, the point is not")]
    Broken { thread: String },
}

/// Sends the whole schedule and puts one record a request into `records`, sent or not, in order of outcome.
/// Whoever receives a record tells `progress.backlog` when it is done with it: the load waits once too many are not.
/// Returns when every request has its record; on `cancel` within a second, with the rest as unfinished.
pub async fn run_point(
    spec: PointSpec,
    records: UnboundedSender<RequestRecord>,
    cancel: CancellationToken,
    progress: Arc<Progress>,
) -> Result<LoadReport, DriveError> {
    let authority = Authority::parse(&spec.target.base_url)?;
    let writer = RequestWriter::new(&spec.target, &authority, &[])?;
    let connector = Connector::new(&authority, spec.target.access.insecure).await?;
    allow_many_connections();

    let (schedule, id_prefix) = (Arc::clone(&spec.schedule), spec.id_prefix.clone());
    let writing = Writing { schedule, prompts: spec.prompts, writer, id_prefix };
    let (written, primed) =
        WriteAhead::start(writing, spec.pace).map_err(|source| not_started("write-ahead", source))?;
    primed.await.map_err(|_| DriveError::Broken { thread: "write-ahead".into() })?;

    let (time_zero, started_at) = (Instant::now() + LEAD, SystemTime::now() + LEAD);
    progress.start(time_zero);
    let common = Arc::new(Common {
        schedule: spec.schedule,
        connector,
        clock: Clock { zero: time_zero },
        deadlines: spec.deadlines,
        drain: spec.drain,
        closed: matches!(spec.pace, Pace::Closed(_)),
        full_length: spec.target.is_full_length(),
        keep_text: spec.keep_text,
        id_prefix: spec.id_prefix,
        records,
        progress: Arc::clone(&progress),
        cancel: cancel.clone(),
        cut: AtomicBool::new(false),
    });
    let slots = || spec.pace.slots().map(Slots::new);
    let ends = match written {
        WriteAhead::Turns(writing) => {
            let worker = SessionWorker { common: Arc::clone(&common), writing, slots: slots() };
            vec![start_worker(0, move || worker.run())?]
        }
        WriteAhead::InOrder(queues) => {
            let of = queues.len();
            let worker = |(first, ready)| Worker { common: Arc::clone(&common), first, of, ready, slots: slots() };
            let workers = queues.into_iter().enumerate().map(worker);
            workers.map(|w| start_worker(w.first, move || w.run())).collect::<Result<Vec<_>, _>>()?
        }
    };
    for (first, end) in ends.into_iter().enumerate() {
        let thread = thread_name(first);
        let ended = end.await.map_err(|_| DriveError::Broken { thread: thread.clone() })?;
        ended.map_err(|source| not_started(&thread, source))?;
    }
    let (last_end, counts) = (progress.last_end(), progress.counts());
    Ok(LoadReport { time_zero, started_at, last_end, counts, cancelled: cancel.is_cancelled() })
}

/// Requests written ahead of need.
enum WriteAhead {
    /// For each worker its share, in the order of due times.
    InOrder(Vec<mpsc::Receiver<WrittenRequest>>),
    /// As they are asked for, since turns wait for each other. They get one worker.
    Turns(AskedWriting),
}

impl WriteAhead {
    fn start(writing: Writing, pace: Pace) -> io::Result<(WriteAhead, oneshot::Receiver<()>)> {
        if writing.schedule.turns.is_empty() {
            let (queues, primed) = writing.start(workers(pace))?;
            return Ok((WriteAhead::InOrder(queues), primed));
        }
        let first = Turns::of(&writing.schedule).first().to_vec();
        let (asked, primed) = writing.start_asked(&first)?;
        Ok((WriteAhead::Turns(asked), primed))
    }
}

fn start_worker<F>(
    number: usize,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<oneshot::Receiver<io::Result<()>>, DriveError>
where
    F: Future<Output = io::Result<()>>,
{
    let thread = thread_name(number);
    let (ended, end) = oneshot::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Nobody listens where the point's future was dropped.
        let _ = ended.send(runtime.and_then(|runtime| runtime.block_on(work())));
    };
    std::thread::Builder::new().name(thread.clone()).spawn(run).map_err(|source| not_started(&thread, source))?;
    Ok(end)
}

fn not_started(thread: &str, source: io::Error) -> DriveError {
    DriveError::Start { thread: thread.into(), source }
}

fn thread_name(worker: usize) -> String {
    format!("load-{worker}")
}

/// Slots are one queue, so they get one worker; else the schedule is dealt out.
fn workers(pace: Pace) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if pace.slots().is_some() { 1 } else { (cores / CORES_PER_WORKER).clamp(1, MOST_WORKERS) }
}

/// Every stream holds a socket, and the usual soft limit is 1024. Where the hard one is too low as well, the requests
/// that found no socket will say so.
fn allow_many_connections() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
