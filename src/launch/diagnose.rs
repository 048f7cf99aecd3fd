//! Why an engine did not come up, read from the end of its log. Pure; the wordings are those of vLLM 0.10 to 0.32,
//! PyTorch, Hugging Face and the kernel.

use serde::Serialize;

/// A cause that the log gives away, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub kind: CauseKind,
    /// The line that shows it.
    pub evidence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    GpuMemoryHeld,
    GpuOutOfMemory,
    NoRoomForKvCache,
    HostOutOfMemory,
    SharedMemoryFull,
    NoGpu,
    BadArgument,
    ModelNotFound,
    ModelGated,
    TensorParallelMismatch,
    NixlMissing,
    SideChannelInUse,
    PortInUse,
    NcclFailed,
    ModuleMissing,
    /// The first exception of a process of the engine; nothing more is known of it.
    Exception,
}

impl CauseKind {
    pub fn what(self) -> &'static str {
        match self {
            CauseKind::GpuMemoryHeld => "the GPU's memory is already in use",
            CauseKind::GpuOutOfMemory => "the GPU ran out of memory",
            CauseKind::NoRoomForKvCache => "no GPU memory is left for the KV cache",
            CauseKind::HostOutOfMemory => "the host ran out of memory",
            CauseKind::SharedMemoryFull => "/dev/shm is full",
            CauseKind::NoGpu => "the engine found no GPU",
            CauseKind::BadArgument => "the engine does not know an argument",
            CauseKind::ModelNotFound => "the model was not found",
            CauseKind::ModelGated => "access to the model was refused",
            CauseKind::TensorParallelMismatch => "the model cannot be divided over this many GPUs",
            CauseKind::NixlMissing => "NIXL is not installed where the engine runs",
            CauseKind::SideChannelInUse => "a port of the engine's side channels is taken",
            CauseKind::PortInUse => "the HTTP port is taken",
            CauseKind::NcclFailed => "NCCL could not connect the GPUs",
            CauseKind::ModuleMissing => "a Python package is missing where the engine runs",
            CauseKind::Exception => "an exception in the engine",
        }
    }

    pub fn remedy(self) -> &'static str {
        match self {
            CauseKind::GpuMemoryHeld => "end the processes on that GPU (nvidia-smi), or lower --gpu-memory-utilization",
            CauseKind::GpuOutOfMemory => {
                "lower --gpu-memory-utilization, --max-model-len or --max-num-seqs, or raise the tensor-parallel size"
            }
            CauseKind::NoRoomForKvCache => {
                "raise --gpu-memory-utilization, lower --max-model-len, or raise the tensor-parallel size"
            }
            CauseKind::HostOutOfMemory => "run fewer instances at once, or give the machine (or container) more memory",
            CauseKind::SharedMemoryFull => "enlarge /dev/shm (docker run --shm-size 16g or --ipc=host)",
            CauseKind::NoGpu => "check nvidia-smi or rocm-smi, and CUDA_VISIBLE_DEVICES of this shell",
            CauseKind::BadArgument => {
                "check the args of the topology file and --engine-arg against this version of the engine"
            }
            CauseKind::ModelNotFound => {
                "check --model: a directory with config.json, or a Hugging Face id that is cached or reachable"
            }
            CauseKind::ModelGated => "accept the model's licence on Hugging Face and set HF_TOKEN",
            CauseKind::TensorParallelMismatch => "choose a tensor-parallel size that divides the attention heads",
            CauseKind::NixlMissing => "install it beside vLLM: pip install nixl (for ROCm: build it from source)",
            CauseKind::SideChannelInUse => {
                "end the process that holds it, or set VLLM_NIXL_SIDE_CHANNEL_PORT in env to start elsewhere"
            }
            CauseKind::PortInUse => "end the process that holds it and start again",
            CauseKind::NcclFailed => {
                "check the GPUs' links (nvidia-smi topo -m), /dev/shm, and NCCL_* of this shell; NCCL_DEBUG=INFO tells more"
            }
            CauseKind::ModuleMissing => "install it beside the engine (pip install), or do without what asks for it",
            CauseKind::Exception => "the engine's log has its traceback",
        }
    }
}

/// Marks of a line, most telling first: all its words must occur.
const MARKS: [(&[&str], CauseKind); 37] = [
    (&["ZMQError: Address already in use"], CauseKind::SideChannelInUse),
    (&["is less than desired GPU memory utilization"], CauseKind::GpuMemoryHeld),
    (&["No available memory for the cache blocks"], CauseKind::NoRoomForKvCache),
    (&["larger than the available KV cache memory"], CauseKind::NoRoomForKvCache),
    (&["larger than the maximum number of tokens that can be stored in KV cache"], CauseKind::NoRoomForKvCache),
    (&["CUDA out of memory"], CauseKind::GpuOutOfMemory),
    (&["HIP out of memory"], CauseKind::GpuOutOfMemory),
    (&["OutOfMemoryError"], CauseKind::GpuOutOfMemory),
    (&["CUDA error: out of memory"], CauseKind::GpuOutOfMemory),
    (&["insufficient shared memory (shm)"], CauseKind::SharedMemoryFull),
    (&["No space left on device", "/psm_"], CauseKind::SharedMemoryFull),
    (&["No space left on device", "/dev/shm"], CauseKind::SharedMemoryFull),
    (&["error while creating shared memory segment"], CauseKind::SharedMemoryFull),
    (&["Cannot allocate memory"], CauseKind::HostOutOfMemory),
    (&["DefaultCPUAllocator: can't allocate memory"], CauseKind::HostOutOfMemory),
    (&["MemoryError"], CauseKind::HostOutOfMemory),
    (&["error: unrecognized arguments"], CauseKind::BadArgument),
    (&["error: argument "], CauseKind::BadArgument),
    (&["error: ambiguous option"], CauseKind::BadArgument),
    (&["gated repo"], CauseKind::ModelGated),
    (&["GatedRepoError"], CauseKind::ModelGated),
    (&["401 Client Error"], CauseKind::ModelGated),
    (&["is not a local folder and is not a valid model identifier"], CauseKind::ModelNotFound),
    (&["Invalid repository ID or local directory specified"], CauseKind::ModelNotFound),
    (&["Repository Not Found"], CauseKind::ModelNotFound),
    (&["couldn't connect to 'https://huggingface.co'"], CauseKind::ModelNotFound),
    (&["Cannot find the requested files in the local cache"], CauseKind::ModelNotFound),
    (&["OfflineModeIsEnabled"], CauseKind::ModelNotFound),
    (&["must be divisible by tensor parallel size"], CauseKind::TensorParallelMismatch),
    (&["NIXL is not available"], CauseKind::NixlMissing),
    (&["No module named 'nixl"], CauseKind::NixlMissing),
    (&["error while attempting to bind on address"], CauseKind::PortInUse),
    (&["[Errno 98] Address already in use"], CauseKind::PortInUse),
    (&["No CUDA GPUs are available"], CauseKind::NoGpu),
    (&["Failed to infer device type"], CauseKind::NoGpu),
    (&["NCCL error"], CauseKind::NcclFailed),
    (&["ModuleNotFoundError: No module named"], CauseKind::ModuleMissing),
];

/// What other processes say when one of them has failed.
const CONSEQUENCES: [&str; 4] =
    ["See root cause above", "See stack trace for root cause", "Engine core proc", "EngineDeadError"];

/// The cause that the last lines of a log give away. A telling mark anywhere wins over a vaguer one, since vLLM wraps
/// the first error in a chain of consequences; among equal marks the first line wins.
pub fn diagnose(log_tail: &[String]) -> Option<Cause> {
    let marked = MARKS.iter().find_map(|(words, kind)| {
        let line = log_tail.iter().find(|line| words.iter().all(|word| line.contains(word)))?;
        Some(Cause { kind: *kind, evidence: without_prefix(line).to_string() })
    });
    marked.or_else(|| {
        let mut lines = log_tail.iter().map(|line| without_prefix(line));
        let first = lines.find(|line| is_exception(line) && !CONSEQUENCES.iter().any(|words| line.contains(words)))?;
        Some(Cause { kind: CauseKind::Exception, evidence: first.to_string() })
    })
}

/// `ValueError: what was wrong`, the last line of a Python traceback.
fn is_exception(line: &str) -> bool {
    let Some((name, _)) = line.split_once(": ") else { return false };
    let is_path = name.split('.').all(|part| {
        part.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    is_path && (name.ends_with("Error") || name.ends_with("Exception"))
}

/// Whether this line means that the start will hang for ever, although the process lives on.
pub fn is_doom(line: &str) -> bool {
    line.contains("ZMQError: Address already in use")
}

/// Without `(EngineCore pid=1) ERROR 11-21 21:26:32 [async_llm.py:906] `, or the process alone.
fn without_prefix(line: &str) -> &str {
    let after_place = line.find(".py:").and_then(|at| line[at..].find("] ").map(|end| at + end + 2));
    let after_process = || line.strip_prefix('(').and_then(|rest| rest.find(") ").map(|end| end + 3));
    line[after_place.or_else(after_process).unwrap_or(0)..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(log: &str) -> Option<Cause> {
        diagnose(&log.lines().map(str::to_string).collect::<Vec<_>>())
    }

    fn kind(log: &str) -> Option<CauseKind> {
        cause(log).map(|cause| cause.kind)
    }

    #[test]
    fn a_side_channel_clash_is_read_from_a_real_log() {
        let log = include_str!("../../tests/fixtures/launch/side_channel_in_use_cpu_0.32.log");
        let cause = cause(log).expect("is recognised");
        assert_eq!(cause.kind, CauseKind::SideChannelInUse);
        assert_eq!(cause.evidence, "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:5611')");
        assert!(log.lines().any(is_doom));
    }

    #[test]
    fn a_sound_start_gives_no_cause_away() {
        let log = include_str!("../../tests/fixtures/launch/startup_h100_0.22.log");
        assert_eq!(cause(log), None);
        assert!(!log.lines().any(is_doom));
    }

    #[test]
    fn the_first_error_wins_over_its_consequences() {
        let log = "(EngineCore pid=7) ERROR 11-21 21:26:32 [core.py:900] ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.\n\
                   (APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above.\n\
                   [rank0]: NCCL error: unhandled system error";
        let cause = cause(log).expect("is recognised");
        assert_eq!(cause.kind, CauseKind::NoRoomForKvCache);
        assert!(cause.evidence.starts_with("ValueError: No available memory"), "{}", cause.evidence);
    }

    #[test]
    fn an_exception_that_nobody_knows_is_told_by_its_first_line() {
        let log = "(Worker pid=7) ERROR 11-28 14:42:51 [core.py:1330]     from somewhere import (\n\
                   (Worker pid=7) ERROR 11-28 14:42:51 [core.py:1330] ModuleNotFoundError: No module named 'flashinfer'\n\
                   (APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above.";
        let missing = cause(log).expect("is recognised");
        assert_eq!(
            (missing.kind, missing.evidence.as_str()),
            (CauseKind::ModuleMissing, "ModuleNotFoundError: No module named 'flashinfer'")
        );
        let log = "(EngineCore pid=7) Traceback (most recent call last):\n\
                   (EngineCore pid=7)   File \"a.py\", line 3, in b\n\
                   (EngineCore pid=7) triton.compiler.errors.CompilationError: at 12:8\n\
                   (APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above.";
        let unknown = cause(log).expect("is told");
        assert_eq!(
            (unknown.kind, unknown.evidence.as_str()),
            (CauseKind::Exception, "triton.compiler.errors.CompilationError: at 12:8")
        );
        assert_eq!(
            kind("(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above."),
            None
        );
        assert_eq!(kind("INFO: this is no Error: it only looks like one"), None);
    }

    #[test]
    fn common_failures_are_told_apart() {
        assert_eq!(
            kind("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB."),
            Some(CauseKind::GpuOutOfMemory)
        );
        assert_eq!(
            kind(
                "ValueError: Free memory on device (3.1/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2 GiB)."
            ),
            Some(CauseKind::GpuMemoryHeld)
        );
        assert_eq!(kind("vllm: error: unrecognized arguments: --no-such-flag"), Some(CauseKind::BadArgument));
        assert_eq!(
            kind(
                "OSError: qwen/nope is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'"
            ),
            Some(CauseKind::ModelNotFound)
        );
        assert_eq!(kind("RuntimeError: NIXL is not available"), Some(CauseKind::NixlMissing));
        assert_eq!(
            kind(
                "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8100): address already in use"
            ),
            Some(CauseKind::PortInUse)
        );
        assert_eq!(
            kind("OSError: [Errno 28] No space left on device: '/psm_1a2b3c4d'"),
            Some(CauseKind::SharedMemoryFull)
        );
        assert_eq!(kind("Segmentation fault (core dumped)"), None);
        assert_eq!(diagnose(&[]), None);
    }
}
