//! `topobench slurm submit`: writes the batch script of a command and hands it to sbatch.

use super::args::SubmitArgs;
use super::exit::{CliError, Exit};
use super::out;
use crate::words;
use chrono::Local;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands of ours that start engines.
const MEASURING: [&str; 6] = ["simple", "nixl", "run", "ab", "sweep", "best"];

pub(super) fn submit(args: &SubmitArgs) -> Result<Exit, CliError> {
    let command = checked(&args.command)?;
    let program = std::env::current_exe().map_err(|e| CliError::new(Exit::Internal, e))?;
    let script = script(args, &program, &command);
    if args.dry_run {
        out::text(&script)?;
        return Ok(Exit::Good);
    }
    let path = write(&args.result_dir, &script)?;
    let asked = Command::new("sbatch").arg("--parsable").arg(&path).output();
    let told = asked.map_err(|e| {
        CliError::usage(format!(
            "cannot run sbatch: {e}\nhint: Slurm's commands must be on PATH; the script is {}",
            path.display()
        ))
    })?;
    if !told.status.success() {
        let said = String::from_utf8_lossy(&told.stderr).trim().to_string();
        return Err(CliError::usage(format!("sbatch refused {}: {said}", path.display())));
    }
    let said = String::from_utf8_lossy(&told.stdout).trim().to_string();
    // The cluster's name may follow.
    let job = said.split(';').next().unwrap_or_default();
    let log = args.result_dir.join(format!("slurm-{job}.out"));
    out::text(&format!("job {job} is submitted; its script is {}, its output {}\n", path.display(), log.display()))?;
    Ok(Exit::Good)
}

/// The command as the job runs it: with `--launcher slurm`.
fn checked(words: &[String]) -> Result<Vec<String>, CliError> {
    let name = words.first().map_or("", String::as_str);
    if !MEASURING.contains(&name) {
        return Err(CliError::usage(format!(
            "`{name}` starts no engines\nhint: after -- comes one of {}, with its flags",
            MEASURING.join(", ")
        )));
    }
    let mut command = words.to_vec();
    let given = words.iter().any(|word| word == "--launcher" || word.starts_with("--launcher="));
    if !given {
        command.splice(1..1, ["--launcher".to_string(), "slurm".to_string()]);
    }
    Ok(command)
}

fn script(args: &SubmitArgs, program: &Path, command: &[String]) -> String {
    let mut text = "#!/bin/bash\n".to_string();
    let mut option = |name: &str, value: String| {
        // Writing into a `String` cannot fail.
        let _ = writeln!(text, "#SBATCH --{name}={value}");
    };
    option("job-name", "topobench".to_string());
    option("nodes", args.nodes.to_string());
    if args.gpus_per_node > 0 {
        option("gres", format!("gpu:{}", args.gpus_per_node));
    }
    // One task a node: topobench starts everything else as steps that overlap.
    option("ntasks-per-node", "1".to_string());
    // A minute before its time is up topobench is asked to end, so that what was measured is closed properly.
    option("signal", "B:TERM@60".to_string());
    option("output", args.result_dir.join("slurm-%j.out").display().to_string());
    for line in &args.sbatch {
        let _ = writeln!(text, "#SBATCH {}", if line.starts_with('-') { line.clone() } else { format!("--{line}") });
    }
    let program = program.display().to_string();
    let words: Vec<&str> = std::iter::once(program.as_str()).chain(command.iter().map(String::as_str)).collect();
    // In place of the shell, which would end before topobench has taken its engines down.
    let _ = writeln!(text, "exec {}", words::shell(&words));
    text
}

fn write(dir: &Path, script: &str) -> Result<PathBuf, CliError> {
    let failed = |e: std::io::Error| CliError::usage(format!("cannot write to {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let path = dir.join(format!("slurm-{}.sh", Local::now().format("%Y%m%d_%H%M%S")));
    std::fs::write(&path, script).map_err(failed)?;
    Ok(path)
}
