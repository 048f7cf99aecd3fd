//! A simulated vLLM: takes `vllm serve`'s command line, answers its HTTP surface and hands KV
//! over between instances, in the time that a model of the hardware says. No GPU, no weights.

mod answer;
mod args;
mod config;
mod engine;
mod faults;
mod generate;
mod handoff;
mod http;
mod log;
mod metrics;
mod nodes;
mod rank;
mod serve;
mod sidechannel;
mod startup;
mod tokenizer;

use std::process::ExitCode;

use args::Command;

/// Runs the program on this process's arguments.
pub(crate) fn main() -> ExitCode {
    match args::parse(std::env::args_os()).command {
        Command::Serve(args) => serve::run(*args),
        Command::Linger { own_session } => linger(own_session),
    }
}

/// Sleeps for ever.
fn linger(own_session: bool) -> ExitCode {
    if own_session && let Err(error) = nix::unistd::setsid() {
        eprintln!("enginesim linger: setsid: {error}");
    }
    loop {
        std::thread::park();
    }
}
