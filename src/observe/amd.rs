//! AMD GPUs from the files of the amdgpu driver (`/sys/class/drm/card*/device`), no tool needed.
//!
//! What the files don't tell stays absent: processes, links, an energy counter (energy is integrated from power).

use super::gpu::{GpuInfo, GpuSample};
use crate::units::Offset;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

const AMD_VENDOR: &str = "0x1002";

/// The AMD GPUs of this machine, in the order of their cards, which is that of `HIP_VISIBLE_DEVICES`.
#[derive(Debug)]
pub struct AmdGpus {
    /// `.../card1/device`, by index.
    devices: Vec<PathBuf>,
    driver: Option<String>,
}

impl AmdGpus {
    /// `None` without such a GPU.
    pub fn find() -> Option<Self> {
        Self::at(Path::new("/sys/class/drm"))
    }

    pub(super) fn at(drm: &Path) -> Option<Self> {
        let mut cards: Vec<(u32, PathBuf)> = fs::read_dir(drm)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                // `card0` is a card, `card0-DP-1` one of its connectors.
                let number = entry.file_name().to_str()?.strip_prefix("card")?.parse().ok()?;
                Some((number, entry.path().join("device")))
            })
            .filter(|(_, device)| text(device, "vendor").as_deref() == Some(AMD_VENDOR))
            // A display chip without memory counters computes nothing.
            .filter(|(_, device)| device.join("mem_info_vram_total").exists())
            .collect();
        cards.sort();
        let devices: Vec<PathBuf> = cards.into_iter().map(|(_, device)| device).collect();
        let driver = fs::read_to_string("/sys/module/amdgpu/version").ok().map(|v| v.trim().to_string());
        (!devices.is_empty()).then_some(AmdGpus { devices, driver })
    }

    pub fn list(&self) -> Vec<GpuInfo> {
        let describe = |(index, device): (usize, &PathBuf)| GpuInfo {
            index: index as u32,
            uuid: text(device, "unique_id").unwrap_or_default(),
            name: text(device, "product_name").filter(|n| !n.is_empty()).unwrap_or_else(|| unnamed(device)),
            memory_total_bytes: number(device, "mem_info_vram_total"),
            memory_used_bytes: number(device, "mem_info_vram_used"),
            driver: self.driver.clone(),
            pci_bus_id: fs::canonicalize(device).ok().and_then(|p| Some(p.file_name()?.to_str()?.to_string())),
            // -1 stands for a machine with one node.
            numa_node: number(device, "numa_node"),
            power_limit_watts: hwmon::<f64>(device, "power1_cap").map(|microwatts| microwatts / 1e6),
            ..GpuInfo::default()
        };
        self.devices.iter().enumerate().map(describe).collect()
    }

    pub fn sample(&self, at: Offset) -> Vec<GpuSample> {
        let sample = |(index, device): (usize, &PathBuf)| GpuSample {
            utilization_percent: number(device, "gpu_busy_percent"),
            memory_used_bytes: number(device, "mem_info_vram_used"),
            temperature_celsius: hwmon::<f64>(device, "temp1_input").map(|millidegrees| millidegrees / 1e3),
            // Newer cards have the instantaneous value only.
            power_watts: hwmon::<f64>(device, "power1_average")
                .or_else(|| hwmon(device, "power1_input"))
                .map(|microwatts| microwatts / 1e6),
            power_limit_watts: hwmon::<f64>(device, "power1_cap").map(|microwatts| microwatts / 1e6),
            sm_clock_mhz: text(device, "pp_dpm_sclk").as_deref().and_then(active_clock),
            memory_clock_mhz: text(device, "pp_dpm_mclk").as_deref().and_then(active_clock),
            ..GpuSample::empty(at, index as u32)
        };
        self.devices.iter().enumerate().map(sample).collect()
    }
}

fn text(device: &Path, file: &str) -> Option<String> {
    Some(fs::read_to_string(device.join(file)).ok()?.trim().to_string())
}

fn number<T: FromStr>(device: &Path, file: &str) -> Option<T> {
    text(device, file)?.parse().ok()
}

fn unnamed(device: &Path) -> String {
    format!("AMD GPU {}", text(device, "device").unwrap_or_default()).trim_end().to_string()
}

/// A file of the card's only `hwmon/hwmonN`.
fn hwmon<T: FromStr>(device: &Path, file: &str) -> Option<T> {
    fs::read_dir(device.join("hwmon")).ok()?.flatten().find_map(|hwmon| number(&hwmon.path(), file))
}

/// `1: 2100Mhz *`: the line with the star.
fn active_clock(levels: &str) -> Option<u32> {
    let active = levels.lines().find(|line| line.trim_end().ends_with('*'))?;
    let value = active.split(':').nth(1)?.trim();
    value[..value.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sysfs with one AMD card, one of its connectors, and another vendor's card.
    pub(crate) fn one_card() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let files = [
            ("card0/device/vendor", "0x8086\n"),
            ("card1-DP-1/status", "connected\n"),
            ("card1/device/vendor", "0x1002\n"),
            ("card1/device/unique_id", "7c1f0a2b3c4d5e6f\n"),
            ("card1/device/product_name", "AMD Instinct MI300X\n"),
            ("card1/device/mem_info_vram_total", "206141652992\n"),
            ("card1/device/mem_info_vram_used", "298844160\n"),
            ("card1/device/gpu_busy_percent", "97\n"),
            ("card1/device/numa_node", "-1\n"),
            ("card1/device/pp_dpm_sclk", "0: 132Mhz\n1: 2100Mhz *\n"),
            ("card1/device/hwmon/hwmon3/temp1_input", "61000\n"),
            ("card1/device/hwmon/hwmon3/power1_average", "512000000\n"),
        ];
        for (path, contents) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            fs::write(path, contents).expect("writes");
        }
        dir
    }

    #[test]
    fn a_card_is_read_and_everything_else_passed_over() {
        let tree = one_card();
        let gpus = AmdGpus::at(tree.path()).expect("a card");
        let list = gpus.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].name.as_str(), list[0].uuid.as_str()), ("AMD Instinct MI300X", "7c1f0a2b3c4d5e6f"));
        assert_eq!(list[0].memory_total_bytes, Some(206_141_652_992));
        assert_eq!(list[0].numa_node, None);
        let sample = &gpus.sample(Offset::ZERO)[0];
        assert_eq!((sample.sm_clock_mhz, sample.utilization_percent), (Some(2100), Some(97)));
        assert_eq!((sample.temperature_celsius, sample.power_watts), (Some(61.0), Some(512.0)));
        assert_eq!((sample.memory_clock_mhz, sample.energy_joules), (None, None));
    }

    #[test]
    fn a_machine_without_cards_has_none() {
        let empty = tempfile::tempdir().expect("a directory");
        assert!(AmdGpus::at(empty.path()).is_none());
        assert!(AmdGpus::at(Path::new("/no/such/directory")).is_none());
    }
}
