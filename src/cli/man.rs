//! `topobench man`: the manual pages, one a command, made from the same definitions as `--help`.

use super::args::ManArgs;
use super::exit::{CliError, Exit};
use super::out;

/// # Errors
/// If the directory can't be made or a page can't be written.
pub(super) fn run(args: &ManArgs, command: clap::Command) -> Result<Exit, CliError> {
    let written = std::fs::create_dir_all(&args.dir).and_then(|()| clap_mangen::generate_to(command, &args.dir));
    written.map_err(|e| CliError::new(Exit::Internal, format!("cannot write to {}: {e}", args.dir.display())))?;
    out::text(&format!("manual pages are in {}\n", args.dir.display()))?;
    Ok(Exit::Good)
}
