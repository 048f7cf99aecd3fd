//! `topobench bench`: a command line of `vllm bench serve`, carried out on the server that it names.

mod translate;

use super::args::{BenchArgs, Cli, Command};
use super::exit::{CliError, Exit};
use super::{out, simple};
use crate::record::catalog;
use clap::FromArgMatches;
use std::path::{Path, PathBuf};
use translate::{Saved, Translated};

/// `parser` is the whole program's: what the words mean here is one of its own commands.
pub(super) fn run(args: &BenchArgs, parser: clap::Command) -> Result<Exit, CliError> {
    let Translated { words, saved, told } = translate::translate(&args.words).map_err(CliError::usage)?;
    told.iter().for_each(out::warn);
    let line = ["topobench".to_string(), "simple".to_string()].into_iter().chain(words);
    let matches = parser.try_get_matches_from(line).map_err(|e| CliError::usage(e.render()))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|e| CliError::usage(e.render()))?;
    let (Command::Simple(simple), Some((_, of_simple))) = (cli.command, matches.subcommand()) else {
        return Err(CliError::usage("bench measures one server"));
    };
    let exit = simple::run(&simple, of_simple)?;
    if let Some(saved) = saved.filter(|_| !simple.sweep.run.dry_run) {
        let run = catalog::resolve(&simple.sweep.run.result_dir, "latest")?;
        copy(&run, &saved)?;
    }
    Ok(exit)
}

/// Puts the run's file in vLLM's format where the command line wanted it.
fn copy(run: &Path, saved: &Saved) -> Result<(), CliError> {
    let is_export = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("vllm-") && n.to_string_lossy().ends_with(".json"))
    };
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut exports: Vec<PathBuf> = entries.filter(is_export).collect();
    exports.sort();
    for export in exports {
        let name = saved.name.clone().or_else(|| export.file_name().map(|n| n.to_string_lossy().into_owned()));
        let target = saved.dir.join(name.unwrap_or_default());
        let copied = std::fs::create_dir_all(&saved.dir).and_then(|()| std::fs::copy(&export, &target));
        copied.map_err(|e| {
            CliError::new(
                Exit::Internal,
                format!("cannot write {}: {e}\nhint: the same lies in {}", target.display(), export.display()),
            )
        })?;
        out::note(format!("result: {}", target.display()));
    }
    Ok(())
}
