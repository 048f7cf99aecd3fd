//! The doctor's report in words. Writing into a `String` cannot fail.

use super::{ProgramFacts, Report};
use std::fmt::Write as _;

/// The report as a person reads it.
pub(super) fn of(report: &Report) -> String {
    let mut text = String::new();
    let out = &mut text;
    let unknown = || "unknown".to_string();
    let host = &report.host;
    let _ = writeln!(out, "topobench {} on {}", report.topobench, host.hostname.clone().unwrap_or_else(unknown));
    let _ = writeln!(
        out,
        "  {}, kernel {}",
        host.os.clone().unwrap_or_else(unknown),
        host.kernel.clone().unwrap_or_else(unknown)
    );
    let memory = host.memory_bytes.map_or_else(unknown, |b| format!("{:.0} GiB", b as f64 / f64::from(1 << 30)));
    let _ = writeln!(
        out,
        "  {} x {}, {memory}",
        host.cpus.map_or_else(unknown, |n| n.to_string()),
        host.cpu.clone().unwrap_or_else(unknown)
    );
    gpus(out, report);
    for program in &report.programs {
        self::program(out, program);
    }
    if let Some(bytes) = report.shared_memory_free_bytes {
        let _ = writeln!(out, "/dev/shm: {} MiB free", bytes >> 20);
    }
    let _ = writeln!(out, "API key in the environment: {}", if report.api_key { "yes" } else { "no" });
    if let Some(client) = &report.client {
        let _ = writeln!(out, "{client}");
    }
    let _ = writeln!(out, "\ncan run:");
    for line in &report.can_run {
        let _ = writeln!(out, "  {line}");
    }
    if !report.missing.is_empty() {
        let _ = writeln!(out, "missing:");
        for line in &report.missing {
            let _ = writeln!(out, "  {line}");
        }
    }
    text
}

fn gpus(out: &mut String, report: &Report) {
    let Some(first) = report.gpus.first() else {
        let _ = writeln!(out, "GPUs: none (no NVIDIA or AMD driver answers)");
        return;
    };
    let driver = first.driver.as_deref().unwrap_or("unknown");
    let _ = writeln!(
        out,
        "GPUs: {} (driver {driver}{})",
        report.gpus.len(),
        first.cuda.as_ref().map(|c| format!(", CUDA {c}")).unwrap_or_default()
    );
    for gpu in &report.gpus {
        let gib = |bytes: Option<u64>| {
            bytes.map_or_else(|| "?".to_string(), |b| format!("{:.1}", b as f64 / f64::from(1 << 30)))
        };
        let _ = writeln!(
            out,
            "  {}: {}, {} of {} GiB used, {}",
            gpu.index,
            gpu.name,
            gib(gpu.memory_used_bytes),
            gib(gpu.memory_total_bytes),
            gpu.uuid
        );
        for process in &gpu.processes {
            let _ = writeln!(out, "     in use by pid {}", process.pid);
        }
        for peer in &gpu.peers {
            // Over NVLink the common ancestor on the PCI bus says nothing.
            let path = match (peer.nvlink, peer.topology.as_deref()) {
                (Some(true), _) => "NVLink",
                (_, Some(ancestor)) => ancestor,
                (_, None) => "unknown path",
            };
            let p2p = match (peer.p2p_read, peer.p2p_write) {
                (Some(true), Some(true)) => "P2P read and write",
                (Some(false), _) | (_, Some(false)) => "no P2P",
                _ => "P2P unknown",
            };
            let _ = writeln!(out, "     to GPU {}: {path}, {p2p}", peer.index);
        }
    }
    for (name, value) in &report.visible_devices {
        let _ = writeln!(out, "  {name}={value}");
    }
}

fn program(out: &mut String, program: &ProgramFacts) {
    let Some(path) = &program.path else {
        let _ = writeln!(out, "{}: not found", program.name);
        return;
    };
    let _ = writeln!(out, "{}: {} ({path})", program.name, program.version.as_deref().unwrap_or("unknown version"));
    let Some(python) = &program.python else { return };
    for (package, version) in &python.packages {
        let _ = writeln!(out, "  {package} {version}");
    }
    if let Some(ucx) = &python.ucx {
        let _ = writeln!(out, "  UCX {ucx}");
    }
    if let Some(error) = &python.nixl_error {
        let _ = writeln!(out, "  NIXL does not import: {error}");
    }
}
