//! The doctor's report in words. Writing into a `String` cannot fail.

use super::facts::{DoctorReport, ProgramFacts};
use crate::words::bytes;
use std::fmt::Write as _;

/// The report as a person reads it.
pub(super) fn of(report: &DoctorReport) -> String {
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
    let memory = host.memory_bytes.map_or_else(unknown, bytes);
    let _ = writeln!(
        out,
        "  {} x {}, {memory}",
        host.cpus.map_or_else(unknown, |n| n.to_string()),
        host.cpu.clone().unwrap_or_else(unknown)
    );
    gpus(out, report);
    if let Some(container) = report.container {
        let _ = writeln!(out, "this is {container}");
    }
    for share in &report.shares {
        let _ = writeln!(out, "  {share}");
    }
    let _ = writeln!(
        out,
        "engines can be started:\n  local: {}\n  slurm: {}",
        report.launchers.local, report.launchers.slurm
    );
    for node in &report.launchers.nodes {
        let gpus = if node.gpus.is_empty() { "no GPUs".to_string() } else { format!("GPU {}", node.gpus.join(",")) };
        let names = node.names.first().map(|name| format!(" ({name})")).unwrap_or_default();
        let _ = writeln!(out, "     {} at {}: {gpus}{names}", node.name, node.address);
    }
    let _ = writeln!(out, "  ray: {}\n  kubernetes: {}", report.launchers.ray, report.launchers.kubernetes);
    for program in &report.programs {
        self::program(out, program);
    }
    if let Some(free) = report.shared_memory_free_bytes {
        let _ = writeln!(out, "/dev/shm: {} free", bytes(free));
    }
    let _ = writeln!(out, "API key in the environment: {}", if report.api_key { "yes" } else { "no" });
    if let Some(client) = &report.client {
        let _ = writeln!(out, "{client}");
    }
    if let Some(kv) = &report.kv {
        let _ = writeln!(out, "{kv}");
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

fn gpus(out: &mut String, report: &DoctorReport) {
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
        let memory = |told: Option<u64>| told.map_or_else(|| "?".to_string(), bytes);
        let _ = writeln!(
            out,
            "  {}: {}, {} of {} used, {}",
            gpu.index,
            gpu.name,
            memory(gpu.memory_used_bytes),
            memory(gpu.memory_total_bytes),
            gpu.uuid
        );
        for process in &gpu.processes {
            let _ = writeln!(out, "     in use by pid {}", process.pid);
        }
        for peer in &gpu.peers {
            // Over NVLink the common ancestor on the PCI bus says nothing.
            let path = match (peer.nvlink, peer.nvlinks, peer.topology.as_deref()) {
                (Some(true), Some(links), _) => format!("NVLink (NV{links})"),
                (Some(true), None, _) => "NVLink".to_string(),
                (_, _, Some(ancestor)) => ancestor.to_string(),
                (_, _, None) => "unknown path".to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::gpu::{GpuInfo, GpuPeer};

    fn gpu(index: u32, peer: GpuPeer) -> GpuInfo {
        GpuInfo {
            index,
            name: "NVIDIA H100 80GB HBM3".to_string(),
            uuid: format!("GPU-{index}"),
            driver: Some("580.159.04".to_string()),
            cuda: Some("13.0".to_string()),
            memory_total_bytes: Some(85_520_809_984),
            memory_used_bytes: Some(0),
            peers: vec![peer],
            ..GpuInfo::default()
        }
    }

    #[test]
    fn the_way_between_gpus_is_named_as_nvidia_smi_names_it() {
        let peer = |index, nvlink, nvlinks| GpuPeer {
            index,
            topology: Some("host_bridge".to_string()),
            p2p_read: Some(true),
            p2p_write: Some(nvlink),
            nvlink: Some(nvlink),
            nvlinks,
        };
        let report = DoctorReport {
            gpus: vec![gpu(0, peer(1, true, Some(18))), gpu(1, peer(0, true, None)), gpu(2, peer(0, false, None))],
            ..DoctorReport::default()
        };
        let mut words = String::new();
        gpus(&mut words, &report);
        insta::assert_snapshot!(words, @r"
        GPUs: 3 (driver 580.159.04, CUDA 13.0)
          0: NVIDIA H100 80GB HBM3, 0 B of 79.6 GiB used, GPU-0
             to GPU 1: NVLink (NV18), P2P read and write
          1: NVIDIA H100 80GB HBM3, 0 B of 79.6 GiB used, GPU-1
             to GPU 0: NVLink, P2P read and write
          2: NVIDIA H100 80GB HBM3, 0 B of 79.6 GiB used, GPU-2
             to GPU 0: host_bridge, no P2P
        ");
    }
}
