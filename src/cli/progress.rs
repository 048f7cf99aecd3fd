//! Events to a terminal (bars), to plain lines where stderr is no terminal, or to JSON lines. Always on stderr.

use super::terminal::{escaped, escaped_json};
use crate::session::events::{Event, Sink};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Bars,
    Lines,
    Json,
}

impl Style {
    /// Bars only where somebody looks at a terminal.
    pub(super) fn choose(json: bool) -> Style {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        }
    }
}

/// A sink that shows events in the chosen style.
pub(super) fn sink(style: Style) -> Sink {
    match style {
        Style::Json => Arc::new(|event| {
            if let Ok(line) = serde_json::to_string(&event) {
                say(&escaped_json(&line));
            }
        }),
        Style::Lines => Arc::new(|event| {
            if let Some(line) = line(&event) {
                say(&escaped(&line));
            }
        }),
        Style::Bars => {
            let bars = Mutex::new(Bars::default());
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
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Warning { text } => format!("warning: {text}"),
        Event::RunCreated { arm, dir } => format!("{arm}: results go to {}", dir.display()),
        Event::Launching { arm, instances } => format!("{arm}: starting {instances} engine{}", plural(*instances)),
        Event::EngineProgress { arm, instance, phase } => format!("{arm}: {instance}: {phase}"),
        Event::Ready { arm, secs } => format!("{arm}: ready after {secs:.1} s"),
        Event::WarmingUp { arm, requests } => {
            format!("{arm}: warming up with {requests} request{}", plural(*requests as usize))
        }
        Event::HandOverSteady { arm, requests, secs, descriptors } => {
            let pieces = descriptors.map_or_else(String::new, |n| format!(" at {n:.0} descriptors a prompt"));
            format!("{arm}: hand-over steady{pieces} after {requests} more requests ({secs:.0} s)")
        }
        Event::PointFinished { arm, completed, facts } => {
            let trouble = if facts.why.is_empty() { String::new() } else { format!(" - {}", facts.why.join("; ")) };
            format!(
                "{arm}: {} req/s{}: {completed} of {} completed in {:.1} s{trouble}",
                facts.key.rate,
                attempt(facts.key.attempt),
                facts.offered,
                facts.duration_secs
            )
        }
        Event::EngineDied { arm, instance, how } | Event::EngineMute { arm, instance, how } => {
            format!("{arm}: {instance} {how}")
        }
        Event::TornDown { arm, secs, left } if left.is_empty() => {
            format!("{arm}: stopped, nothing left running ({secs:.1} s)")
        }
        Event::TornDown { arm, left, .. } => format!("warning: {arm}: could not be freed: {}", left.join(", ")),
        Event::Interrupted => "interrupted: stopping politely, keeping what was measured (again: at once)".to_string(),
        Event::RunFinished { arm, dir, status } => format!("{arm}: {} - {}", status.word(), dir.display()),
        Event::PointStarted { .. } | Event::PointProgress { .. } | Event::TearingDown { .. } => return None,
    })
}

fn attempt(attempt: u32) -> String {
    if attempt == 1 { String::new() } else { format!(" (attempt {attempt})") }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// One bar for the point under load, one spinner for each starting engine.
#[derive(Default)]
struct Bars {
    multi: MultiProgress,
    point: Option<ProgressBar>,
    engines: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, event: &Event) {
        match event {
            Event::EngineProgress { arm, instance, phase } => {
                let bar = self
                    .engines
                    .entry(format!("{arm} {instance}"))
                    .or_insert_with(|| self.multi.add(ProgressBar::new_spinner()));
                bar.enable_steady_tick(std::time::Duration::from_millis(120));
                bar.set_message(escaped(&format!("{arm} {instance}: {phase}")).into_owned());
                return;
            }
            Event::Ready { .. } | Event::TornDown { .. } => {
                for (_, bar) in std::mem::take(&mut self.engines) {
                    bar.finish_and_clear();
                }
            }
            Event::PointStarted { arm, key, offered, number, of } => {
                let bar = self.multi.add(ProgressBar::new(u64::from(*offered)));
                bar.set_style(bar_style());
                let of = of.map(|of| format!("/{of}")).unwrap_or_default();
                bar.set_prefix(format!("[{number}{of}] {arm} {} req/s{}", key.rate, attempt(key.attempt)));
                self.point = Some(bar);
            }
            Event::PointProgress { sent, done, failed, eta_secs, .. } => {
                if let Some(bar) = &self.point {
                    bar.set_position(u64::from(done + failed));
                    bar.set_message(format!("{sent} sent, {failed} failed, last one due in {eta_secs:.0} s"));
                }
            }
            Event::PointFinished { .. } => {
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
