//! Why a fleet did not come up. All of it is exit code 3.

use super::argv::ArgvError;
use super::diagnose::{Cause, CauseKind};
use super::phase::Phase;
use super::ports::{Holder, PortError};
use super::preflight::PreflightError;
use super::process::{ExitStatus, SpawnError};
use super::slurm::NodeError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why a launch failed. Whatever had been started is gone again when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Argv(#[from] ArgvError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{instance}: {source}")]
    Spawn { instance: String, source: SpawnError },
    #[error(transparent)]
    Start(Box<StartError>),
    #[error("the launch was interrupted; everything it had started is gone")]
    Cancelled,
}

/// An instance that started and did not become ready.
#[derive(Debug, thiserror::Error)]
pub struct StartError {
    pub instance: String,
    pub problem: StartProblem,
    /// How long it had been starting.
    pub after: Duration,
    pub phase: Phase,
    /// What its log gives away.
    pub cause: Option<Cause>,
    /// The log's last lines, oldest first.
    pub log_tail: Vec<String>,
    pub log_path: PathBuf,
}

/// What kept an instance from becoming ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartProblem {
    Exited(ExitStatus),
    /// No progress in the log for this long.
    Stuck(Duration),
    /// Its log says that it will never be ready, although it lives.
    Doomed,
    /// Its HTTP port answers, and somebody else listens there.
    Impostor {
        port: u16,
        holder: Option<Holder>,
    },
    /// It serves other models.
    WrongModel {
        expected: String,
        found: Vec<String>,
    },
    /// It says it is ready and gives no token.
    NoToken(String),
}

/// Lines of the log that a message quotes.
const QUOTED: usize = 12;

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.instance)?;
        match &self.problem {
            StartProblem::Exited(status) => write!(f, "ended while starting ({status}")?,
            StartProblem::Stuck(silent) => write!(f, "is stuck (no progress in its log for {} s", silent.as_secs())?,
            StartProblem::Doomed => write!(f, "will never be ready (its log says so")?,
            StartProblem::Impostor { port, .. } => write!(f, "is not who answers on port {port} (readiness refused")?,
            StartProblem::WrongModel { .. } => write!(f, "serves another model (readiness refused")?,
            StartProblem::NoToken(_) => write!(f, "answers /health and gives no token (readiness refused")?,
        }
        write!(f, ", {} s after its start, while {})", self.after.as_secs(), self.phase.words())?;
        self.explain(f)?;
        let skipped = self.log_tail.len().saturating_sub(QUOTED);
        if self.log_tail.is_empty() {
            return write!(f, "\n  its log {} is empty", self.log_path.display());
        }
        write!(f, "\n  last lines of {}:", self.log_path.display())?;
        self.log_tail[skipped..].iter().try_for_each(|line| write!(f, "\n    | {}", cut(line)))
    }
}

impl StartError {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut say = |what: &str, remedy: &str| write!(f, "\n  cause: {what}\n  remedy: {remedy}");
        match (&self.problem, &self.cause) {
            (StartProblem::Impostor { holder: Some(holder), .. }, _) => say(
                &format!("pid {} listens there: {}", holder.pid, holder.command),
                "stop that process and start again",
            ),
            (StartProblem::Impostor { holder: None, .. }, _) => {
                say("the listener belongs to another user", "stop that process and start again")
            }
            (StartProblem::WrongModel { expected, found }, _) => say(
                &format!("asked for `{expected}`, it serves `{}`", found.join("`, `")),
                "check --model and --served-model-name",
            ),
            (StartProblem::NoToken(detail), None) => say(detail, "look into its log"),
            (_, Some(cause)) => {
                say(cause.kind.what(), cause.kind.remedy())?;
                write!(f, "\n  evidence: {}", cut(&cause.evidence))
            }
            (StartProblem::Exited(ExitStatus::Signal(9)), None) => say(
                "probably the kernel's OOM killer (see dmesg), or somebody's kill -9",
                CauseKind::HostOutOfMemory.remedy(),
            ),
            (StartProblem::Stuck(_), None) => say(
                "its log does not tell",
                "look at the last lines; if it only needs longer, give a longer ready timeout",
            ),
            (StartProblem::Exited(_) | StartProblem::Doomed, None) => say("not recognised", "look at the last lines"),
        }
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::diagnose::diagnose;

    fn error(problem: StartProblem, log: &[&str]) -> StartError {
        let log_tail: Vec<String> = log.iter().map(|line| (*line).to_string()).collect();
        StartError {
            instance: "decode-1".into(),
            problem,
            after: Duration::from_millis(18_400),
            phase: Phase::LoadingWeights,
            cause: diagnose(&log_tail),
            log_tail,
            log_path: "logs/decode-1.log".into(),
        }
    }

    #[test]
    fn an_exit_is_told_with_cause_remedy_and_last_lines() {
        let log = ["INFO loading", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB."];
        insta::assert_snapshot!(error(StartProblem::Exited(ExitStatus::Code(1)), &log), @r"
        decode-1 ended while starting (exit code 1, 18 s after its start, while loading weights)
          cause: the GPU ran out of memory
          remedy: lower --gpu-memory-utilization, --max-model-len or --max-num-seqs, or raise the tensor-parallel size
          evidence: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.
          last lines of logs/decode-1.log:
            | INFO loading
            | torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.
        ");
    }

    #[test]
    fn an_impostor_is_named() {
        let holder = Some(Holder { pid: 4711, command: "python3 -m http.server 8100".into() });
        insta::assert_snapshot!(error(StartProblem::Impostor { port: 8100, holder }, &[]), @r"
        decode-1 is not who answers on port 8100 (readiness refused, 18 s after its start, while loading weights)
          cause: pid 4711 listens there: python3 -m http.server 8100
          remedy: stop that process and start again
          its log logs/decode-1.log is empty
        ");
    }

    #[test]
    fn a_silent_end_by_sigkill_points_at_the_oom_killer() {
        let said = error(StartProblem::Exited(ExitStatus::Signal(9)), &["INFO loading"]).to_string();
        assert!(said.contains("killed by SIGKILL") && said.contains("OOM killer"), "{said}");
    }
}
