//! Data on stdout. A reader that has seen enough (`| head`) is no error; a full disk behind `>` is.

use super::exit::{Exit, Failure};
use std::io::{ErrorKind, Write};

/// Text as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Internal,
            format!(
                "cannot write to stdout: {e}\nhint: check where it leads; what was measured is in the run's directory"
            ),
        )),
        _ => Ok(()),
    }
}

pub fn line(line: impl std::fmt::Display) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Pretty JSON and a newline.
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(|e| Failure::new(Exit::Internal, e))?)
}

/// On stderr, which may be gone too.
pub fn warn(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// A remark on stderr.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A question on stderr; the answer follows on the same line.
pub fn ask(text: impl std::fmt::Display) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}
