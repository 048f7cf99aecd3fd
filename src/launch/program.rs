//! Which file runs when a topology names a program: one on PATH, one beside topobench, or topobench itself.
//!
//! topobench may carry further programs, as busybox does: `main` has a table of them, and a process whose `argv[0]` is
//! one of their names is that program. Where a topology's program is found nowhere else, an engine's guardian starts
//! its own executable under that name. Nothing here knows what such a program is or does.

use nix::sys::prctl;
use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

/// This executable. Works even if the file was replaced meanwhile.
pub const THIS: &str = "/proc/self/exe";

/// This executable as another machine finds it, if it has the same files under the same names.
pub(super) fn elsewhere(program: &Path) -> PathBuf {
    let this = || std::env::current_exe().ok().filter(|_| program == Path::new(THIS));
    this().unwrap_or_else(|| program.to_path_buf())
}

/// A program that topobench carries.
#[derive(Debug)]
pub struct CarriedProgram {
    pub name: &'static str,
    pub main: fn() -> ExitCode,
}

static CARRIED: OnceLock<&'static [CarriedProgram]> = OnceLock::new();

/// Makes `programs` known, and runs the one under whose name this process was started: to be asked before anything
/// else looks at the arguments.
pub fn run_if_asked(programs: &'static [CarriedProgram]) -> Option<ExitCode> {
    let programs = CARRIED.get_or_init(|| programs);
    let argv0 = std::env::args_os().next()?;
    let name = Path::new(&argv0).file_name()?;
    let program = programs.iter().find(|program| name == program.name)?;
    // The kernel named the process after the file; `ps` and `pkill` are to see the program.
    if let Ok(name) = CString::new(program.name) {
        let _ = prctl::set_name(&name);
    }
    Some((program.main)())
}

fn carried(name: &str) -> Option<&'static str> {
    CARRIED.get()?.iter().map(|program| program.name).find(|carried| *carried == name)
}

#[derive(Debug, thiserror::Error)]
#[error(
    "program `{name}` was not found on PATH{}: install it (pip install vllm), activate its environment, or set program \
     in the topology file",
    .beside.as_ref().map(|dir| format!(" or in {}", dir.display())).unwrap_or_default()
)]
pub struct ProgramNotFound {
    name: String,
    /// topobench's own directory.
    beside: Option<PathBuf>,
}

/// A program that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    File(PathBuf),
    /// topobench itself, under this name.
    Carried(&'static str),
}

impl Program {
    /// On PATH, else beside this program, else carried by it.
    pub fn find(name: &str) -> Result<Self, ProgramNotFound> {
        if let Ok(path) = which::which(name) {
            return Ok(Program::File(path));
        }
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
        if let Some(path) = beside.as_ref().and_then(|dir| which::which(dir.join(name)).ok()) {
            return Ok(Program::File(path));
        }
        let missing = || ProgramNotFound { name: name.to_string(), beside };
        carried(name).map(Program::Carried).ok_or_else(missing)
    }

    /// The file, where the program has one of its own.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Program::File(path) => Some(path),
            Program::Carried(_) => None,
        }
    }
}

/// As an engine's command names it: the path of a file, the bare name of a carried program.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Program::File(path) => path.display().fmt(f),
            Program::Carried(name) => f.write_str(name),
        }
    }
}

/// The command that starts what [`Program`]'s words name.
pub(super) fn command(program: &str) -> Command {
    match carried(program) {
        None => Command::new(program),
        Some(name) => {
            use std::os::unix::process::CommandExt as _;
            let mut command = Command::new(THIS);
            command.arg0(name);
            command
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_where_it_was_sought_and_what_to_do() {
        let error = Program::find("no-such-engine-anywhere").expect_err("is missing");
        let said = error.to_string();
        assert!(said.contains("`no-such-engine-anywhere`") && said.contains("PATH or in /"), "{said}");
        assert!(Program::find("sh").is_ok_and(|program| program.file().is_some()));
    }
}
