//! What happens during a run, told to whoever shows it. The session knows nothing of terminals.

use crate::outcome::{PointFacts, PointKey, RunStatus};
use crate::words;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SessionEvent {
    Warning {
        text: String,
    },
    RunCreated {
        arm: String,
        dir: PathBuf,
    },
    Launching {
        arm: String,
        instances: usize,
    },
    /// What a starting engine's log shows: loading, compiling, capturing ..
    EngineProgress {
        arm: String,
        instance: String,
        phase: String,
    },
    Ready {
        arm: String,
        secs: f64,
    },
    WarmingUp {
        arm: String,
        requests: u32,
    },
    /// The warm-up of a prefill/decode arm went on until handing over cost the same from round to round.
    HandOverSteady {
        arm: String,
        requests: usize,
        secs: f64,
        /// A transfer, in the last round.
        descriptors: Option<f64>,
    },
    PointStarted {
        arm: String,
        #[serde(flatten)]
        key: PointKey,
        offered: u32,
        /// Position among all points, from 1.
        number: usize,
        /// How many there are, where that is known beforehand.
        of: Option<usize>,
    },
    /// How far a grid of several runs is.
    GridProgress {
        done: usize,
        total: usize,
        /// `None` before anything was measured.
        secs_left: Option<f64>,
    },
    PointProgress {
        arm: String,
        #[serde(flatten)]
        key: PointKey,
        offered: u32,
        sent: u32,
        done: u32,
        failed: u32,
        elapsed_secs: f64,
        /// Seconds until the last request is due; the last answers take longer.
        eta_secs: f64,
    },
    /// What a search knows by now.
    Known {
        text: String,
        /// Of its budget, seconds.
        left_secs: f64,
    },
    PointFinished {
        arm: String,
        completed: u32,
        facts: Box<PointFacts>,
    },
    EngineDied {
        arm: String,
        instance: String,
        how: String,
    },
    /// An engine lives and gives no token.
    EngineMute {
        arm: String,
        instance: String,
        how: String,
    },
    TearingDown {
        arm: String,
    },
    TornDown {
        arm: String,
        secs: f64,
        /// Processes or ports that could not be freed.
        left: Vec<String>,
    },
    /// The first Ctrl-C: stopping politely.
    Interrupted,
    RunFinished {
        arm: String,
        dir: PathBuf,
        status: RunStatus,
    },
}

impl SessionEvent {
    /// Its lasting line, where there is one; `None` for what only moves a bar.
    pub fn told(&self) -> Option<String> {
        Some(match self {
            SessionEvent::Warning { text } => format!("warning: {text}"),
            SessionEvent::RunCreated { arm, dir } => format!("{arm}: results go to {}", dir.display()),
            SessionEvent::Launching { arm, instances } => {
                format!("{arm}: starting {instances} engine{}", plural(*instances))
            }
            SessionEvent::EngineProgress { arm, instance, phase } => format!("{arm}: {instance}: {phase}"),
            SessionEvent::Ready { arm, secs } => format!("{arm}: ready after {secs:.1} s"),
            SessionEvent::WarmingUp { arm, requests } => {
                format!("{arm}: warming up with {requests} request{}", plural(*requests as usize))
            }
            SessionEvent::HandOverSteady { arm, requests, secs, descriptors } => {
                let pieces = descriptors.map_or_else(String::new, |n| format!(" at {n:.0} descriptors a prompt"));
                format!("{arm}: hand-over steady{pieces} after {requests} more requests ({secs:.0} s)")
            }
            SessionEvent::Known { text, left_secs } => format!("known so far: {text}; {} left", time_left(*left_secs)),
            SessionEvent::PointFinished { arm, facts, .. } if facts.stopped.is_some() => {
                format!(
                    "{arm}: {} req/s{}: ended after {:.1} s, far below the target",
                    facts.key.rate,
                    attempt(facts),
                    facts.stopped.map_or(0.0, |stop| stop.after_secs)
                )
            }
            SessionEvent::PointFinished { arm, completed, facts } => {
                let trouble = if facts.why.is_empty() { String::new() } else { format!(" - {}", facts.why.join("; ")) };
                format!(
                    "{arm}: {}{}: {completed} of {} completed in {:.1} s{trouble}",
                    words::named(facts.key.rate),
                    attempt(facts),
                    facts.offered,
                    facts.duration_secs
                )
            }
            SessionEvent::GridProgress { done, total, secs_left } => {
                let left = secs_left.filter(|_| done < total).map(|secs| format!(", about {} left", time_left(secs)));
                format!("[{done}/{total}]{}", left.unwrap_or_default())
            }
            SessionEvent::EngineDied { arm, instance, how } | SessionEvent::EngineMute { arm, instance, how } => {
                format!("{arm}: {instance} {how}")
            }
            SessionEvent::TornDown { arm, secs, left } if left.is_empty() => {
                format!("{arm}: stopped, nothing left running ({secs:.1} s)")
            }
            SessionEvent::TornDown { arm, left, .. } => {
                format!("warning: {arm}: could not be freed: {}", left.join(", "))
            }
            SessionEvent::Interrupted => {
                "interrupted: stopping politely, keeping what was measured (again: at once)".to_string()
            }
            SessionEvent::RunFinished { arm, dir, status } => format!("{arm}: {} - {}", status.word(), dir.display()),
            SessionEvent::PointStarted { .. }
            | SessionEvent::PointProgress { .. }
            | SessionEvent::TearingDown { .. } => {
                return None;
            }
        })
    }
}

/// `4.0 req/s`, with its attempt where it is a repeat.
pub fn point_words(key: PointKey) -> String {
    format!("{}{}", words::named(key.rate), numbered(key.attempt))
}

fn attempt(facts: &PointFacts) -> String {
    match facts.key.attempt {
        _ if facts.pilot => " (pilot)".to_string(),
        n => numbered(n),
    }
}

fn numbered(attempt: u32) -> String {
    if attempt == 1 { String::new() } else { format!(" (attempt {attempt})") }
}

/// `6 min`, or `40 s` where that is little.
pub fn time_left(secs: f64) -> String {
    if secs >= 90.0 { format!("{:.0} min", secs / 60.0) } else { format!("{secs:.0} s") }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Where events go; called from several threads.
pub type EventSink = Arc<dyn Fn(SessionEvent) + Send + Sync>;

/// What warnings said, for the manifest.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// A sink that passes every event on to `sink` and keeps the warnings among them.
    pub fn kept_from(&self, sink: &EventSink) -> EventSink {
        let (kept, sink) = (Arc::clone(&self.0), Arc::clone(sink));
        Arc::new(move |event| {
            if let SessionEvent::Warning { text } = &event {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
            }
            sink(event);
        })
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
