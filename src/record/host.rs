//! The machine a run was measured on.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    pub hostname: Option<String>,
    /// `PRETTY_NAME` of /etc/os-release.
    pub os: Option<String>,
    pub kernel: Option<String>,
    pub cpu: Option<String>,
    /// Processors this process may use.
    pub cpus: Option<usize>,
    pub memory_bytes: Option<u64>,
    /// The slowest link between its GPUs, as `doctor --kv` measured it; `None` where nobody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_link_bytes_per_sec: Option<f64>,
}

impl HostFacts {
    /// What can't be read stays absent.
    pub fn of_this_machine() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).ok().map(|s| s.trim().to_string());
        let field = |path: &str, key: &str, separator: char| {
            let text = std::fs::read_to_string(path).ok()?;
            let (_, value) = text.lines().find(|l| l.starts_with(key))?.split_once(separator)?;
            Some(value.trim().trim_matches('"').to_string())
        };
        let memory = field("/proc/meminfo", "MemTotal", ':');
        HostFacts {
            hostname: line("/proc/sys/kernel/hostname"),
            os: field("/etc/os-release", "PRETTY_NAME", '='),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu: field("/proc/cpuinfo", "model name", ':'),
            cpus: std::thread::available_parallelism().ok().map(usize::from),
            memory_bytes: memory.and_then(|m| m.trim_end_matches(" kB").parse::<u64>().ok()).map(|kib| kib * 1024),
            kv_link_bytes_per_sec: None,
        }
    }
}
