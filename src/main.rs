mod enginesim;

use std::process::ExitCode;
use topobench::launch::program::{self, CarriedProgram};
use topobench::launch::{guardian, slurm};

/// The programs that this one is too, when it is started under their names.
const CARRIED: [CarriedProgram; 1] = [CarriedProgram { name: "enginesim", main: enginesim::main }];

fn main() -> ExitCode {
    program::run_if_asked(&CARRIED)
        .or_else(guardian::run_if_asked)
        .or_else(slurm::run_if_asked)
        .unwrap_or_else(topobench::cli::main)
}
