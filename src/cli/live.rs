//! The live page: `--live` of a measuring command, and `topobench live RUN` for a run of another process or of the past.

use super::args::LiveArgs;
use super::exit::{CliError, Exit};
use super::out;
use super::progress::{self, ProgressFormat};
use crate::live::{LiveError, LiveServer, Watched};
use crate::record::read::stamp_position;
use crate::record::{RecordError, catalog, race};
use crate::session::events::EventSink;
use std::path::{Path, PathBuf};

/// Where the progress of a measurement is shown.
#[derive(Debug)]
pub(super) struct Showing {
    /// As JSON lines on stderr.
    pub(super) json: bool,
    /// The port of the live page, 0 for any; `None`: no page.
    pub(super) live: Option<u16>,
    pub(super) watched: Watched,
}

impl Showing {
    /// A session's own runs.
    pub(super) fn session(json: bool, live: Option<u16>) -> Showing {
        Showing { json, live, watched: Watched::Session }
    }

    /// Where events go, and the page that is served for as long as its server is kept.
    pub(super) fn start(self) -> Result<(EventSink, Option<LiveServer>), CliError> {
        let format = ProgressFormat::choose(self.json);
        let shown = progress::sink(format);
        let Some(port) = self.live else { return Ok((shown, None)) };
        let server = LiveServer::start(port, self.watched, true).map_err(refusal)?;
        progress::say_address(format, server.url());
        Ok((server.sink(shown), Some(server)))
    }
}

/// Serves until it is interrupted.
pub(super) fn run(args: &LiveArgs) -> Result<Exit, CliError> {
    let watched = Watched::of(&find(&args.result_dir, &args.run)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::new(Exit::Internal, format!("cannot start the runtime: {e}")))?;
    let server = LiveServer::start(args.port, watched, false).map_err(refusal)?;
    out::line(format!("live: {}", server.url()))?;
    out::note("Ctrl-C ends it");
    runtime.block_on(interrupted()).map_err(|e| CliError::new(Exit::Internal, format!("cannot hear Ctrl-C: {e}")))?;
    Ok(Exit::Good)
}

async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

fn refusal(error: LiveError) -> CliError {
    match error {
        LiveError::Port { .. } => CliError::usage(error),
        LiveError::Threads(_) => CliError::new(Exit::Internal, error),
    }
}

/// A directory, or the run or race that a word means; `latest` is the later of the last run and the last race.
fn find(result_dir: &Path, word: &str) -> Result<PathBuf, CliError> {
    if Path::new(word).is_dir() {
        return Ok(PathBuf::from(word));
    }
    let (run, race) = (catalog::resolve(result_dir, word), race::find(result_dir, word));
    Ok(match (run, race) {
        (Ok(run), Ok(race)) if stamp(&race) > stamp(&run) => race,
        (Ok(run), _) => run,
        (Err(RecordError::NotFound { .. }), Ok(race)) => race,
        (Err(error), _) => return Err(error.into()),
    })
}

/// When a directory was made, as its name tells.
fn stamp(dir: &Path) -> Option<String> {
    let name = dir.file_name()?.to_string_lossy().into_owned();
    stamp_position(&name).map(|at| name[at..at + 15].to_string())
}
