//! What happens during a run, told to whoever shows it. The session knows nothing of terminals.

use crate::outcome::{PointFacts, PointKey, RunStatus};
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
