//! What this machine's client can carry: the load of [`run_point`] against a server of its own on loopback, at rising
//! rates, until it is late.
//!
//! The server writes 128 chunks of vLLM's shape a request at a fixed pace, from one thread in this process. It takes its
//! share of the machine, as engines on other machines or on GPUs wouldn't: what is found is a lower bound, far below the
//! truth on one core or two. Deliberately absent: pinning, which would find what an idle machine carries and not this
//! one, as it is now.

mod server;

use crate::drive::{Deadlines, Destination, DriveError, Pace, PointSpec, Progress, run_point};
use crate::outcome::RequestRecord;
use crate::plan::dataset::Dataset;
use crate::plan::lengths::{Lengths, Prefixes};
use crate::plan::load::{Extent, Load, Workload};
use crate::plan::workload::{PrepareContext, PreparedWorkload, WorkloadError};
use crate::units::{RequestRate, TokenCount};
pub(super) use server::TOKENS;
use server::{ITL, TTFT};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long each rate is held.
const HOLD: Duration = Duration::from_millis(1500);
/// Sends may be so late at the 99th percentile: the strictest limit that makes a point invalid.
const MOST_LAG: Duration = Duration::from_millis(2);
/// Last tokens may be so late beside the server's pace at the 99th percentile: four gaps between tokens.
const MOST_BEHIND: Duration = Duration::from_millis(20);

/// One rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RateStep {
    pub(super) rate: RequestRate,
    pub(super) sent: u32,
    pub(super) completed: u32,
    /// sent - due, 99th percentile.
    pub(super) lag_p99: Duration,
    /// Last token beside the pace at which the server means to write it, 99th percentile.
    pub(super) behind_p99: Duration,
}

impl RateStep {
    /// Whether the client carried it.
    pub(super) fn is_good(&self) -> bool {
        self.sent > 0 && self.completed == self.sent && self.lag_p99 <= MOST_LAG && self.behind_p99 <= MOST_BEHIND
    }
}

/// What the client carried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Capacity {
    /// In rising order; only the last can be one that it didn't carry.
    pub(super) steps: Vec<RateStep>,
    /// Cores that client and server shared.
    pub(super) cores: usize,
}

impl Capacity {
    /// The highest rate that was carried; `None` if not even the lowest was.
    pub(super) fn best(&self) -> Option<&RateStep> {
        self.steps.iter().rev().find(|step| step.is_good())
    }

    /// Whether every rate that was tried was carried: the true limit lies higher.
    pub(super) fn is_open_ended(&self) -> bool {
        self.steps.last().is_some_and(RateStep::is_good)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CapacityError {
    #[error("the loopback server could not start: {0}")]
    Server(#[from] io::Error),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// Tries the rates in order, until one isn't carried; about two seconds each.
pub(super) async fn measure(rates: &[RequestRate]) -> Result<Capacity, CapacityError> {
    let server = server::start()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut capacity = Capacity { steps: Vec::new(), cores };
    for rate in rates {
        let step = try_rate(server.port, *rate).await?;
        capacity.steps.push(step);
        if !step.is_good() {
            break;
        }
    }
    Ok(capacity)
}

async fn try_rate(port: u16, rate: RequestRate) -> Result<RateStep, CapacityError> {
    let (sink, mut records) = mpsc::unbounded_channel();
    let spec = spec(port, rate)?;
    let report = run_point(spec, sink, CancellationToken::new(), Arc::new(Progress::default())).await?;
    let mut all = Vec::new();
    records.recv_many(&mut all, usize::MAX).await;
    let pace = (TTFT + ITL * (TOKENS - 1)).as_secs_f64();
    let behind = |r: &RequestRecord| Some(r.timeline.last_token?.secs_since(r.timeline.sent?) - pace);
    Ok(RateStep {
        rate,
        sent: report.counts.sent,
        completed: report.counts.completed,
        lag_p99: p99(all.iter().filter_map(RequestRecord::lag_secs)),
        behind_p99: p99(all.iter().filter_map(behind)),
    })
}

/// Order statistic; zero for nothing and for what is early.
fn p99(secs: impl Iterator<Item = f64>) -> Duration {
    let mut secs: Vec<f64> = secs.collect();
    secs.sort_by(f64::total_cmp);
    let at = (secs.len() * 99).div_ceil(100).saturating_sub(1);
    secs.get(at).and_then(|s| Duration::try_from_secs_f64(*s).ok()).unwrap_or_default()
}

fn spec(port: u16, rate: RequestRate) -> Result<PointSpec, WorkloadError> {
    let fixed = |n| Lengths::Fixed { tokens: TokenCount(n) };
    let dataset = Dataset::Random {
        input: fixed(256),
        output: fixed(TOKENS),
        prefix_len: TokenCount(0),
        prefixes: Prefixes::default(),
    };
    let workload = Workload::completions(dataset);
    let load = Load::poisson(vec![rate], Extent::Duration(HOLD));
    let prompts = PreparedWorkload::prepare(&workload, &load, PrepareContext::default())?;
    Ok(PointSpec {
        schedule: Arc::new(prompts.schedule(rate, 1)?),
        prompts: Arc::new(prompts),
        target: Destination::new(format!("http://127.0.0.1:{port}"), "loopback", &workload),
        id_prefix: format!("capacity-{rate}"),
        deadlines: Deadlines::default(),
        drain: Duration::from_secs(10),
        pace: Pace::Open,
        keep_text: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> RequestRate {
        RequestRate::new(per_second).expect("positive")
    }

    fn good() -> RateStep {
        let (lag_p99, behind_p99) = (Duration::from_micros(300), Duration::from_millis(3));
        RateStep { rate: rate(50.0), sent: 75, completed: 75, lag_p99, behind_p99 }
    }

    #[test]
    fn a_late_send_a_late_token_and_a_lost_request_each_end_it() {
        assert!(good().is_good());
        assert!(!RateStep { lag_p99: Duration::from_micros(2001), ..good() }.is_good());
        assert!(!RateStep { behind_p99: Duration::from_millis(21), ..good() }.is_good());
        assert!(!RateStep { completed: 74, ..good() }.is_good());
        assert!(!RateStep { sent: 0, completed: 0, ..good() }.is_good());
    }

    #[test]
    fn the_highest_carried_rate_is_the_result_and_none_is_said_to_be_none() {
        let late = RateStep { rate: rate(100.0), lag_p99: Duration::from_secs(1), ..good() };
        let found = Capacity { steps: vec![good(), late], cores: 2 };
        assert_eq!((found.best(), found.is_open_ended()), (Some(&good()), false));
        assert_eq!(Capacity { steps: vec![late], cores: 2 }.best(), None);
        assert!(Capacity { steps: vec![good()], cores: 2 }.is_open_ended());
    }

    #[tokio::test]
    async fn the_loopback_server_answers_every_request_at_its_pace() {
        let server = server::start().expect("starts");
        let step = try_rate(server.port, rate(10.0)).await.expect("runs");
        assert!(step.sent > 0 && step.completed == step.sent, "{step:?}");
    }
}
