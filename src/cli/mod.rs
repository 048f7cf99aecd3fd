//! Arguments, one file a subcommand, exit codes. Everything that is done is done in other rooms.

mod ab;
mod aggregate;
mod args;
mod attach;
mod bench;
mod best;
mod calibrate;
mod compare;
mod completions;
mod doctor;
mod dry_run;
mod exit;
mod given;
mod gpu_pool;
mod launcher;
mod limits;
mod list;
mod listing;
mod live;
mod logging;
mod man;
mod measure;
mod nixl;
mod out;
mod plot;
mod predict;
mod prepare;
mod present;
mod preset;
mod presets;
mod progress;
mod proxy;
mod prune;
mod resume;
mod run;
mod show;
mod simple;
mod slo;
mod slurm;
mod sweep;
mod terminal;
mod threads;
mod when;

pub use exit::{CliError, Exit};

use args::{Cli, Command, SlurmArgs, SlurmCommand};
use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

/// Parses the command line, runs the command, says what went wrong.
pub fn main() -> ExitCode {
    limits::let_writes_fail();
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(Exit::Usage.code());
        }
    };
    // The proxy alone has nothing else to say; a sweep tells what it does by itself.
    let level = if matches!(cli.command, Command::Proxy(_)) { LevelFilter::INFO } else { LevelFilter::OFF };
    logging::init(level);
    let Some((_, matches)) = matches.subcommand() else { return ExitCode::from(Exit::Usage.code()) };
    match dispatch(cli.command, matches) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out::note(format!("error: {}", failure.message));
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command, matches: &clap::ArgMatches) -> Result<Exit, CliError> {
    match command {
        Command::Simple(args) => simple::run(&args, matches),
        Command::Nixl(args) => nixl::run(&args, matches),
        Command::Run(args) => run::run(&args, matches),
        Command::Ab(args) => ab::run(&args, matches),
        Command::Bench(args) => bench::run(&args, self::command()),
        Command::Sweep(args) => sweep::run(&args, matches),
        Command::Presets(args) => presets::run(&args),
        Command::Aggregate(args) => aggregate::run(&args, matches),
        Command::Best(args) => best::run(&args, matches),
        Command::Slurm(SlurmArgs { command: SlurmCommand::Submit(args) }) => slurm::submit(&args),
        Command::List(args) => list::run(&args),
        Command::Predict(args) => predict::run(&args, matches),
        Command::Calibrate(args) => calibrate::run(&args, matches),
        Command::Doctor(args) => doctor::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Compare(args) => compare::run(&args, matches),
        Command::Plot(args) => plot::run(&args, matches),
        Command::Show(args) => show::run(&args, matches),
        Command::Live(args) => live::run(&args),
        Command::Completions(args) => completions::run(&args, self::command()),
        Command::Man(args) => man::run(&args, self::command()),
    }
}

/// `--duration -3` is a number that makes no sense, and no unknown flag. Of repeated flags the last wins, as in vLLM, so
/// that scripts can put defaults before `"$@"`.
fn command() -> clap::Command {
    let numbers_may_be_negative = |arg: clap::Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    Cli::command().mut_subcommands(|command| command.args_override_self(true).mut_args(numbers_may_be_negative))
}
