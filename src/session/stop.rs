//! Ctrl-C: the first stops politely, the second at once.

use super::events::{EventSink, SessionEvent};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals asked for so far.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Finish nothing new: cut the point, keep what was measured, tear down with grace.
    pub politely: CancellationToken,
    /// Tear down without grace.
    pub at_once: CancellationToken,
    /// Nothing is running any more: a signal ends the program as it does by default.
    pub over: CancellationToken,
}

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

impl Stop {
    /// Listens to SIGINT, SIGTERM and SIGHUP for the rest of the runtime's life.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn on_signals(events: EventSink) -> std::io::Result<Stop> {
        let stop = Stop::default();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let heard = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if heard.over.is_cancelled() {
                    std::process::exit(INTERRUPTED);
                }
                if heard.politely.is_cancelled() {
                    heard.at_once.cancel();
                    continue;
                }
                events(SessionEvent::Interrupted);
                heard.politely.cancel();
            }
        });
        Ok(stop)
    }
}
