//! What Linux tells of a PCI device.

use std::path::Path;

/// The NUMA node that a GPU hangs from; `None` where there is only one, or a virtual machine hides it. NVML itself only
/// knows it of GPUs with memory on the CPU's bus.
pub(super) fn numa_node(bus_id: &str) -> Option<u32> {
    numa_node_below(Path::new("/sys/bus/pci/devices"), bus_id)
}

/// NVML writes `00000000:1B:00.0`, Linux `0000:1b:00.0`.
fn numa_node_below(devices: &Path, bus_id: &str) -> Option<u32> {
    let (domain, rest) = bus_id.split_once(':')?;
    let domain = domain.get(domain.len().saturating_sub(4)..)?;
    let device = format!("{domain}:{rest}").to_ascii_lowercase();
    // -1: not told.
    std::fs::read_to_string(devices.join(device).join("numa_node")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_found_by_the_address_as_nvml_writes_it() {
        let devices = tempfile::tempdir().expect("a directory");
        for (device, node) in [("0000:1b:00.0", "1\n"), ("0000:1c:00.0", "-1\n")] {
            let dir = devices.path().join(device);
            std::fs::create_dir(&dir).expect("made");
            std::fs::write(dir.join("numa_node"), node).expect("written");
        }
        let node = |bus_id| numa_node_below(devices.path(), bus_id);
        assert_eq!(node("00000000:1B:00.0"), Some(1));
        assert_eq!((node("00000000:1C:00.0"), node("00000000:9A:00.0"), node("")), (None, None, None));
    }
}
