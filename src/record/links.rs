//! What `doctor --kv` measured between this machine's GPUs, kept for the runs that come after: without it nobody can say
//! that a hand-over is bound by the link.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const FILE: &str = "topobench/links.json";

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// UUIDs of the GPUs, in NVML's order: others have other links.
    gpus: Vec<String>,
    slowest_bytes_per_sec: f64,
}

/// In the user's cache directory; `None` where there is no home.
fn place() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).map(|dir| dir.join(FILE))
}

/// Keeps the slowest link between these GPUs; where it is kept.
///
/// # Errors
/// When it can't be written.
pub fn keep(gpus: Vec<String>, slowest_bytes_per_sec: f64) -> std::io::Result<PathBuf> {
    let place = place().ok_or_else(|| std::io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))?;
    if let Some(dir) = place.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&place, serde_json::to_vec(&Kept { gpus, slowest_bytes_per_sec })?)?;
    Ok(place)
}

/// The slowest link between these GPUs, bytes per second; `None` where nobody measured it.
pub fn slowest(gpus: &[String]) -> Option<f64> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(place()?).ok()?).ok()?;
    (kept.gpus == gpus && gpus.len() > 1).then_some(kept.slowest_bytes_per_sec)
}
