use std::process::ExitCode;

fn main() -> ExitCode {
    topobench::launch::guardian::run_if_asked().unwrap_or_else(topobench::cli::main)
}
