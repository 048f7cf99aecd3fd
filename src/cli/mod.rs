//! Arguments, one file a subcommand, exit codes. Everything that is done is done in other rooms.

#[macro_use]
mod streams;

mod args;
mod compare;
mod doctor;
mod dry_run;
mod exit;
mod list;
mod plot;
mod proxy;
mod show;
mod show_runs;
mod slo;
mod sweep;

pub use exit::{Exit, Failure};

use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Parses the command line, runs the command, says what went wrong.
pub fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
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
    let Some((_, matches)) = matches.subcommand() else { return ExitCode::from(Exit::Usage.code()) };
    match dispatch(cli.command, matches) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command, matches: &clap::ArgMatches) -> Result<Exit, Failure> {
    match command {
        Command::Simple(args) => sweep::simple(&args, matches),
        Command::Nixl(args) => sweep::nixl(&args, matches),
        Command::Run(args) => sweep::run(&args, matches),
        Command::Ab(args) => sweep::ab(&args, matches),
        Command::List(args) => list::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Compare(args) => compare::run(&args, matches),
        Command::Plot(args) => plot::run(&args, matches),
        Command::Show(args) => show::run(&args, matches),
    }
}

/// Pretty JSON and a newline on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::new(Exit::Internal, e))?;
    println!("{text}");
    Ok(())
}
