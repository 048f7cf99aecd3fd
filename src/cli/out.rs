//! Data on stdout. A reader that has seen enough (`| head`) is no error; a full disk behind `>` is.

use super::exit::{CliError, Exit};
use super::terminal::{escaped, escaped_but_colours, escaped_json};
use std::io::{ErrorKind, IsTerminal, Write};

/// Text, with the colours of our own tables where there are any.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    match colours_are_welcome() {
        true => write(&escaped_but_colours(text)),
        false => write(&escaped(text)),
    }
}

pub(super) fn line(line: impl std::fmt::Display) -> Result<(), CliError> {
    text(&format!("{line}\n"))
}

/// Pretty JSON and a newline.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(value).map_err(|e| CliError::new(Exit::Internal, e))?;
    write(&format!("{}\n", escaped_json(&json)))
}

fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(CliError::new(
            Exit::Internal,
            format!(
                "cannot write to stdout: {e}\nhint: check where it leads; what was measured is in the run's directory"
            ),
        )),
        _ => Ok(()),
    }
}

/// Colours only for a person who hasn't declined them.
pub(super) fn colours_are_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
}

/// On stderr, which may be gone too.
pub(super) fn warn(text: impl std::fmt::Display) {
    note(format!("warning: {text}"));
}

/// A remark on stderr.
pub(super) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", escaped(&text.to_string()));
}

/// A question on stderr; the answer follows on the same line.
pub(super) fn ask(text: impl std::fmt::Display) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{}", escaped(&text.to_string())).and_then(|()| stderr.flush());
}
