//! How fast one GPU's memory is copied into another's: what a hand-over could reach at best.

use super::python;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Importing torch and copying between eight GPUs takes half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Copies of 256 MiB, about the KV of 2,048 tokens of an 8B model.
const QUESTION: &str = r#"
import json, time, torch
size, rounds, out = 256 << 20, 10, []
gpus = range(torch.cuda.device_count())
memory = {g: torch.empty(size, dtype=torch.uint8, device=f"cuda:{g}") for g in gpus}
def wait(*which):
    for g in which:
        torch.cuda.synchronize(g)
for a in gpus:
    for b in gpus:
        if a == b:
            continue
        memory[b].copy_(memory[a])
        wait(a, b)
        began = time.perf_counter()
        for _ in range(rounds):
            memory[b].copy_(memory[a], non_blocking=True)
        wait(a, b)
        rate = rounds * size / (time.perf_counter() - began)
        out.append({"from": a, "to": b, "bytes_per_sec": rate, "direct": torch.cuda.can_device_access_peer(a, b)})
print(json.dumps(out))
"#;

/// One direction between two GPUs, as torch numbers them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LinkFacts {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) bytes_per_sec: f64,
    /// Whether one GPU reaches the other's memory itself.
    pub(super) direct: bool,
}

/// Every direction between the GPUs that vLLM's Python sees.
///
/// # Errors
/// In words, when that Python can't be asked.
pub(super) fn measure(vllm: &Path) -> Result<Vec<LinkFacts>, String> {
    python::ask(vllm, QUESTION, PATIENCE).ok_or_else(|| "the Python behind vllm doesn't answer with torch".to_string())
}
