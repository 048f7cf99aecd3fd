//! Log lines that look like vLLM's, on stdout where vLLM writes them; tracebacks go to stderr.
//!
//! Writing blocks when nobody drains the pipe, exactly as it does in vLLM. A closed pipe is not
//! worth dying for.

use std::io::Write;

/// Process of vLLM that a line claims to come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    ApiServer,
    EngineCore,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "APIServer",
            Self::EngineCore => "EngineCore",
        }
    }
}

/// One line of vLLM's own logger.
pub(super) fn info(source: Source, place: &str, message: &str) {
    line(source, "INFO", place, message);
}

pub(super) fn warning(source: Source, place: &str, message: &str) {
    line(source, "WARNING", place, message);
}

pub(super) fn error(source: Source, place: &str, message: &str) {
    line(source, "ERROR", place, message);
}

fn line(source: Source, level: &str, place: &str, message: &str) {
    let now = chrono::Local::now().format("%m-%d %H:%M:%S");
    for part in message.lines() {
        raw(source, &format!("{level} {now} [{place}] {part}"));
    }
}

/// One line of uvicorn's logger.
pub(super) fn uvicorn(message: &str) {
    raw(Source::ApiServer, &format!("INFO:     {message}"));
}

fn raw(source: Source, text: &str) {
    let line = format!("({} pid={}) {text}\n", source.name(), std::process::id());
    // A reader that went away must not end the engine.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// Lines of a traceback, as an exception in Python prints them.
pub(super) fn traceback(lines: &[&str]) {
    let text = format!("Traceback (most recent call last):\n{}\n", lines.join("\n"));
    // As above.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
