//! `topobench completions`: a shell's completions, made from the same definitions as `--help`.

use super::args::CompletionsArgs;
use super::exit::{CliError, Exit};
use super::out;

pub(super) fn run(args: &CompletionsArgs, mut command: clap::Command) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "topobench", &mut script);
    out::text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Good)
}
