//! Events to a terminal (bars), to plain lines where stderr is no terminal, or to JSON lines. Always on stderr.

use super::terminal::{escaped, escaped_json};
use crate::outcome::PointFacts;
use crate::session::events::{EventSink, SessionEvent};
use crate::words;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgressFormat {
    Bars,
    Lines,
    Json,
}

impl ProgressFormat {
    /// ProgressBars only where somebody looks at a terminal.
    pub(super) fn choose(json: bool) -> ProgressFormat {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => ProgressFormat::Json,
            (false, true) => ProgressFormat::Bars,
            (false, false) => ProgressFormat::Lines,
        }
    }
}

/// A sink that shows events in the chosen style.
pub(super) fn sink(style: ProgressFormat) -> EventSink {
    match style {
        ProgressFormat::Json => Arc::new(|event| {
            if let Ok(line) = serde_json::to_string(&event) {
                say(&escaped_json(&line));
            }
        }),
        ProgressFormat::Lines => Arc::new(|event| {
            if let Some(line) = line(&event) {
                say(&escaped(&line));
            }
        }),
        ProgressFormat::Bars => {
            let bars = Mutex::new(ProgressBars::default());
            Arc::new(move |event| bars.lock().unwrap_or_else(PoisonError::into_inner).show(&event))
        }
    }
}

/// A line on stderr. `eprintln!` panics when its reader has gone, as with a terminal that was closed in mid-run: the run
/// must end in order all the same.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The lasting line of an event; `None` for those that only move a bar.
fn line(event: &SessionEvent) -> Option<String> {
    Some(match event {
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
        SessionEvent::TornDown { arm, left, .. } => format!("warning: {arm}: could not be freed: {}", left.join(", ")),
        SessionEvent::Interrupted => {
            "interrupted: stopping politely, keeping what was measured (again: at once)".to_string()
        }
        SessionEvent::RunFinished { arm, dir, status } => format!("{arm}: {} - {}", status.word(), dir.display()),
        SessionEvent::PointStarted { .. } | SessionEvent::PointProgress { .. } | SessionEvent::TearingDown { .. } => {
            return None;
        }
    })
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
fn time_left(secs: f64) -> String {
    if secs >= 90.0 { format!("{:.0} min", secs / 60.0) } else { format!("{secs:.0} s") }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// One bar for the point under load, one spinner for each starting engine.
#[derive(Default)]
struct ProgressBars {
    multi: MultiProgress,
    point: Option<ProgressBar>,
    engines: BTreeMap<String, ProgressBar>,
}

impl ProgressBars {
    fn show(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::EngineProgress { arm, instance, phase } => {
                let bar = self
                    .engines
                    .entry(format!("{arm} {instance}"))
                    .or_insert_with(|| self.multi.add(ProgressBar::new_spinner()));
                bar.enable_steady_tick(std::time::Duration::from_millis(120));
                bar.set_message(escaped(&format!("{arm} {instance}: {phase}")).into_owned());
                return;
            }
            SessionEvent::Ready { .. } | SessionEvent::TornDown { .. } => {
                for (_, bar) in std::mem::take(&mut self.engines) {
                    bar.finish_and_clear();
                }
            }
            SessionEvent::PointStarted { arm, key, offered, number, of } => {
                let bar = self.multi.add(ProgressBar::new(u64::from(*offered)));
                bar.set_style(bar_style());
                let of = of.map(|of| format!("/{of}")).unwrap_or_default();
                bar.set_prefix(format!("[{number}{of}] {arm} {}{}", words::named(key.rate), numbered(key.attempt)));
                self.point = Some(bar);
            }
            SessionEvent::PointProgress { sent, done, failed, eta_secs, .. } => {
                if let Some(bar) = &self.point {
                    bar.set_position(u64::from(done + failed));
                    bar.set_message(format!("{sent} sent, {failed} failed, last one due in {eta_secs:.0} s"));
                }
            }
            SessionEvent::PointFinished { .. } => {
                if let Some(bar) = self.point.take() {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        if let Some(line) = line(event) {
            let _ = self.multi.println(escaped(&line));
        }
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
