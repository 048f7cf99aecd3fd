//! `topobench doctor`: what this machine can run, what its load client can carry, and what is missing. Starts no
//! engine, unless `--kv` asks for a hand-over.

mod capacity;
mod client;
mod facts;
mod hand_over;
mod launchers;
mod link;
mod python;
mod surroundings;
mod text;

use super::args::DoctorArgs;
use super::exit::{CliError, Exit};
use super::out;
use crate::launch::preflight;
use crate::launch::program::{self, Program};
use crate::observe::gpus::Gpus;
use crate::plan::environment::{self, Environment};
use crate::plan::secrecy::EngineEnv;
use crate::record::host::HostFacts;
use facts::{DoctorReport, ProgramFacts};
use hand_over::Vllm;
use std::path::Path;
use surroundings::Surroundings;

/// Below this a sweep with many streams runs out of file descriptors.
const FEW_DESCRIPTORS: u64 = 4096;

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, CliError> {
    let mut report = examine()?;
    if !args.quick {
        report.client = Some(client::measure().map_err(|e| CliError::new(Exit::Internal, e))?);
    }
    if args.kv {
        let vllm = report.programs.iter().find(|p| p.name == "vllm").and_then(|program| {
            let has_nixl = program.python.as_ref().and_then(|p| p.nixl_imports) == Some(true);
            Some(Vllm { path: program.path.clone()?, has_nixl })
        });
        report.kv = Some(hand_over::measure_all(&report.gpus, vllm.as_ref(), args)?);
    }
    if args.json {
        out::json(&report)?;
    } else {
        out::text(&text::of(&report))?;
    }
    Ok(Exit::Good)
}

fn examine() -> Result<DoctorReport, CliError> {
    let env = Environment::of_process()?;
    let gpus = Gpus::detect().list();
    let programs: Vec<_> = ["vllm", "enginesim"].into_iter().map(program).collect();
    let visible = [environment::CUDA_VISIBLE_DEVICES, environment::HIP_VISIBLE_DEVICES];
    let here = Surroundings { env: &env, root: "/".into(), gpus: &gpus, has_program: surroundings::is_on_path };
    let (container, shares, launchers) = (here.container(), here.shares(), launchers::launchers(&here));
    let mut report = DoctorReport {
        topobench: env!("CARGO_PKG_VERSION"),
        host: HostFacts::of_this_machine(),
        visible_devices: visible.into_iter().filter_map(|n| Some((n, env.get(n)?.to_string()))).collect(),
        shared_memory_free_bytes: free_bytes("/dev/shm"),
        open_files: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok(),
        api_key: env.api_key().is_some(),
        can_run: Vec::new(),
        missing: Vec::new(),
        launchers,
        container,
        shares,
        client: None,
        kv: None,
        gpus,
        programs,
    };
    conclude(&mut report);
    Ok(report)
}

fn program(name: &'static str) -> ProgramFacts {
    let program = Program::find(name).ok();
    let version = program.as_ref().and_then(version_of);
    let python = program.as_ref().and_then(Program::file).filter(|_| name == "vllm").and_then(python::examine);
    let path = program.and_then(|program| match program.file() {
        Some(file) => Some(file.to_path_buf()),
        None => std::env::current_exe().ok(),
    });
    ProgramFacts { name, path: path.map(|p| p.display().to_string()), version, python }
}

fn version_of(program: &Program) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let guardian = Path::new(program::THIS);
    let env = EngineEnv::default();
    let probe = preflight::probe_version(program, &env, guardian);
    runtime.block_on(probe).ok()?.ok().map(|version| version.to_string())
}

fn free_bytes(path: &str) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

fn conclude(report: &mut DoctorReport) {
    let found = |name: &str| report.programs.iter().find(|p| p.name == name && p.path.is_some());
    let gpus = report.gpus.len();
    let (mut can, mut missing) = (Vec::new(), Vec::new());
    match found("enginesim") {
        Some(_) => can.push("topobench ab simple nixl --engine sim     (simulated engine, no GPU needed)".to_string()),
        None => missing.push("enginesim is neither on PATH nor beside topobench".to_string()),
    }
    match found("vllm") {
        None => missing.push("vllm is not on PATH: pip install vllm, or activate its environment".to_string()),
        Some(vllm) => {
            let nixl = vllm.python.as_ref().is_some_and(|p| p.nixl_imports == Some(true));
            match gpus {
                0 if nixl => can.push(
                    "topobench ab simple nixl --engine cpu --model DIR     (real vLLM on the CPU, tiny models)"
                        .to_string(),
                ),
                0 => can.push(
                    "topobench simple --engine cpu --model DIR     (real vLLM on the CPU, tiny models)".to_string(),
                ),
                1 => can.push("topobench simple     (one GPU; prefill and decode want two)".to_string()),
                n if nixl => can.push(format!("topobench ab simple nixl     (on up to {n} GPUs)")),
                n => can.push(format!("topobench simple --tp {n}")),
            }
            if !nixl {
                let why = vllm
                    .python
                    .as_ref()
                    .and_then(|p| p.nixl_error.clone())
                    .unwrap_or_else(|| "its Python could not be asked".to_string());
                missing.push(format!("NIXL does not import where vllm runs ({why}): pip install nixl"));
            }
        }
    }
    if let Some((soft, hard)) =
        report.open_files.filter(|(soft, hard)| *soft < FEW_DESCRIPTORS && *hard < FEW_DESCRIPTORS)
    {
        missing.push(format!("only {soft} open files are allowed (hard limit {hard}): raise it with `ulimit -n` for many concurrent streams"));
    }
    report.can_run = can;
    report.missing = missing;
}
