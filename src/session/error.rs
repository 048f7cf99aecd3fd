//! Why a run could not be made or went no further. Every variant knows its exit code's meaning (see `cli::exit`).

use crate::drive::DriveError;
use crate::launch::LaunchError;
use crate::plan::workload::WorkloadError;
use crate::record::RecordError;
use crate::units::RequestRate;
use crate::words;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("{0}")]
    Workload(#[from] WorkloadError),
    #[error("{arm}: {source}")]
    Launch { arm: String, source: Box<LaunchError> },
    #[error("{arm}: the proxy did not start: {detail}")]
    Proxy { arm: String, detail: String },
    #[error("{arm}: {url} is not the server this run expects: {detail}\nhint: {hint}")]
    Identity { arm: String, url: String, detail: String, hint: String },
    #[error(
        "{arm}: no counters can be read at {url}: {detail}\nhint: check --metrics-url; a page of metrics is an engine's own (http://HOST:PORT/metrics), Prometheus is prometheus+http://HOST:PORT, and headers come from --header or TOPOBENCH_HEADERS"
    )]
    Metrics { arm: String, url: String, detail: String },
    #[error("{arm}: the smoke request {what} failed: {detail}\nhint: {hint}")]
    Smoke { arm: String, what: String, detail: String, hint: String },
    #[error(
        "{arm}: {requests} warm-up requests were answered, but no KV reached {who}: the prompts were computed there\nhint: check the NIXL lines in the decode instances' logs ({logs})"
    )]
    NoKvTransfer { arm: String, requests: u32, who: String, logs: String },
    #[error(
        "{arm}: a request of {tokens} tokens does not fit into the model's context of {context} tokens\nhint: shorten the workload, or raise --max-model-len"
    )]
    Context { arm: String, tokens: u32, context: u32 },
    #[error(
        "{arm}: {instance} {how} while the fleet was warmed up\nhint: its log is {log}; its last lines:{}", quoted(.tail)
    )]
    DiedWarmingUp { arm: String, instance: String, how: String, log: String, tail: Vec<String> },
    #[error(
        "{arm}: {instance} {how}; it is the second engine that was lost, and the run ends here\nhint: its log is {log}; --on-failure skip goes on however many are lost"
    )]
    EngineLostAgain { arm: String, instance: String, how: String, log: String },
    #[error("{arm}: {instance} {how}; the run ends here, as --on-failure stop asks\nhint: its log is {log}")]
    EngineLost { arm: String, instance: String, how: String, log: String },
    #[error(
        "this run cannot go on: {dataset} or its tokenizer has changed since, and would give other requests at {} (attempt {attempt}) than were recorded\nhint: put the files back as they were, or start a new run",
        words::named(*.rate)
    )]
    TraceChanged { dataset: String, rate: RequestRate, attempt: u32 },
    #[error("{0}")]
    Drive(#[from] DriveError),
    #[error("{0}")]
    Record(#[from] RecordError),
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: std::io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl SessionError {
    /// Whether it is the arm's own engines that failed: another arm may do well.
    pub(super) fn is_of_an_arm(&self) -> bool {
        use SessionError as E;
        matches!(
            self,
            E::Launch { .. }
                | E::Proxy { .. }
                | E::Identity { .. }
                | E::Metrics { .. }
                | E::Smoke { .. }
                | E::NoKvTransfer { .. }
                | E::Context { .. }
                | E::DiedWarmingUp { .. }
                | E::EngineLost { .. }
                | E::EngineLostAgain { .. }
        )
    }

    /// Whether a fleet that came up before may come up if it is tried again.
    pub(super) fn may_pass(&self) -> bool {
        use SessionError as E;
        match self {
            E::Launch { source, .. } => matches!(**source, LaunchError::Start(_)),
            _ => matches!(self, E::DiedWarmingUp { .. } | E::Smoke { .. } | E::NoKvTransfer { .. }),
        }
    }
}

/// Lines of a log that a message quotes.
const QUOTED: usize = 12;

fn quoted(tail: &[String]) -> String {
    let skipped = tail.len().saturating_sub(QUOTED);
    tail[skipped..].iter().map(|line| format!("\n    | {}", line.chars().take(300).collect::<String>())).collect()
}
