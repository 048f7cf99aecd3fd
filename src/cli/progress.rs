//! Events to a terminal (bars), to plain lines where stderr is no terminal, or to JSON lines. Always on stderr.

use super::terminal::{escaped, escaped_json};
use crate::session::events::{EventSink, SessionEvent, point_words};
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
            if let Some(line) = event.told() {
                say(&escaped(&line));
            }
        }),
        ProgressFormat::Bars => {
            let bars = Mutex::new(ProgressBars::default());
            Arc::new(move |event| bars.lock().unwrap_or_else(PoisonError::into_inner).show(&event))
        }
    }
}

/// Tells where the live page is.
pub(super) fn say_address(style: ProgressFormat, url: &str) {
    match style {
        ProgressFormat::Json => say(&serde_json::json!({ "event": "live", "url": url }).to_string()),
        ProgressFormat::Bars | ProgressFormat::Lines => say(&format!("live: {url}")),
    }
}

/// A line on stderr. `eprintln!` panics when its reader has gone, as with a terminal that was closed in mid-run: the run
/// must end in order all the same.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
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
                bar.set_prefix(format!("[{number}{of}] {arm} {}", point_words(*key)));
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
        if let Some(line) = event.told() {
            let _ = self.multi.println(escaped(&line));
        }
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
