//! Where the events of our libraries go: to stderr, as RUST_LOG asks.

use std::io::Write;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Installs the subscriber. `level` holds where RUST_LOG is not set.
pub(super) fn init(level: LevelFilter) {
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let targets = match asked.as_deref().map(str::parse::<Targets>) {
        None => Targets::new().with_default(level),
        Some(Ok(targets)) => targets,
        Some(Err(e)) => {
            super::out::warn(format!("RUST_LOG is not understood ({e}); give a level, or target=level,.."));
            Targets::new().with_default(level)
        }
    };
    let format = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Escaping(std::io::stderr()));
    // A second one in this process, as in tests, changes nothing.
    let _ = tracing_subscriber::registry().with(format).with(targets).try_init();
}

/// Events quote what engines said.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(super::terminal::escaped(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
