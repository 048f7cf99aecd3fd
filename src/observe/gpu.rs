//! A GPU as it stands, and as it fares under load: what every driver tells, as far as it does.

use crate::units::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A GPU as it stands: goes into the manifest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GpuInfo {
    /// As in `CUDA_VISIBLE_DEVICES` with `CUDA_DEVICE_ORDER=PCI_BUS_ID`, or `HIP_VISIBLE_DEVICES`. On nodes of a Slurm job it
    /// counts through all of them.
    pub index: u32,
    /// The node of a Slurm job that it belongs to, and its index there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_node: Option<(String, u32)>,
    /// `GPU-...` of NVIDIA; the unique id of AMD; empty if the driver gives none.
    pub uuid: String,
    pub name: String,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub driver: Option<String>,
    /// CUDA version that the driver supports.
    pub cuda: Option<String>,
    pub pci_bus_id: Option<String>,
    pub pcie_generation_max: Option<u32>,
    pub pcie_width_max: Option<u32>,
    pub numa_node: Option<u32>,
    pub ecc: Option<bool>,
    pub mig: Option<bool>,
    pub persistence: Option<bool>,
    pub compute_mode: Option<String>,
    pub power_limit_watts: Option<f64>,
    /// Processes that compute on it.
    pub processes: Vec<GpuProcess>,
    /// Its ways to the other GPUs.
    pub peers: Vec<GpuPeer>,
}

impl GpuInfo {
    /// As a plan names it: by its index, on a node of a Slurm job after the node's name.
    pub fn called(&self) -> String {
        match &self.on_node {
            Some((node, index)) => format!("{node}:{index}"),
            None => self.index.to_string(),
        }
    }

    /// Whether it belongs to this node of a Slurm job; `None` is this machine.
    pub fn is_on(&self, node: Option<&str>) -> bool {
        self.on_node.as_ref().map(|(name, _)| name.as_str()) == node
    }

    /// Whether this id, as in `CUDA_VISIBLE_DEVICES`, is its index or an unambiguous beginning of its UUID. On a node of a
    /// Slurm job the node's name comes before it: `n1:0`.
    pub fn is_called(&self, id: &str) -> bool {
        let (index, id) = match (&self.on_node, id.split_once(':')) {
            (Some((node, index)), Some((named, id))) if node == named => (*index, id),
            (None, _) => (self.index, id),
            (Some(_), _) => return false,
        };
        index.to_string() == id || (id.len() > 4 && self.uuid.starts_with(id))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuProcess {
    pub pid: u32,
    pub memory_bytes: Option<u64>,
}

/// The way from one GPU to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuPeer {
    pub index: u32,
    /// Where their PCI paths meet: `internal`, `single`, `multiple`, `host_bridge`, `node`, `system`.
    pub topology: Option<String>,
    pub p2p_read: Option<bool>,
    pub p2p_write: Option<bool>,
    pub nvlink: Option<bool>,
    /// Active NVLinks between the two, directly or through switches: the 18 of `nvidia-smi topo`'s NV18.
    pub nvlinks: Option<u32>,
}

/// A GPU at one moment: a row of gpu.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuSample {
    /// Since the epoch given to the sampler.
    pub at: Offset,
    pub gpu: u32,
    pub utilization_percent: Option<u32>,
    pub memory_used_bytes: Option<u64>,
    pub temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
    pub power_limit_watts: Option<f64>,
    pub sm_clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    pub throttle: Option<Throttle>,
    /// Since the driver was loaded.
    pub energy_joules: Option<f64>,
    pub pcie_generation: Option<u32>,
    pub pcie_width: Option<u32>,
}

impl GpuSample {
    pub fn empty(at: Offset, gpu: u32) -> Self {
        GpuSample {
            at,
            gpu,
            utilization_percent: None,
            memory_used_bytes: None,
            temperature_celsius: None,
            power_watts: None,
            power_limit_watts: None,
            sm_clock_mhz: None,
            memory_clock_mhz: None,
            throttle: None,
            energy_joules: None,
            pcie_generation: None,
            pcie_width: None,
        }
    }
}

/// NVML's clock throttle reasons (`nvmlClocksThrottleReasons`, nvml.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle(pub u64);

impl Throttle {
    const NAMES: [(u64, &'static str); 9] = [
        (0x1, "gpu_idle"),
        (0x2, "applications_clocks_setting"),
        (0x4, "sw_power_cap"),
        (0x8, "hw_slowdown"),
        (0x10, "sync_boost"),
        (0x20, "sw_thermal_slowdown"),
        (0x40, "hw_thermal_slowdown"),
        (0x80, "hw_power_brake_slowdown"),
        (0x100, "display_clock_setting"),
    ];
    /// A GPU slowed by its cooling or its supply measures the room, not the deployment. The power cap is not among
    /// them: it is how a GPU runs under load.
    const DOUBTFUL: u64 = 0x8 | 0x20 | 0x40 | 0x80;

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }

    /// Those reasons that make a point doubtful.
    pub fn doubtful(self) -> Throttle {
        Throttle(self.0 & Self::DOUBTFUL)
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join("|"))
    }
}

impl Serialize for Throttle {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// The names that [`Throttle`] is written with.
impl<'de> Deserialize<'de> for Throttle {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let names = String::deserialize(d)?;
        let bit = |name: &str| Self::NAMES.iter().find(|(_, known)| *known == name).map_or(0, |(bit, _)| *bit);
        Ok(Throttle(names.split('|').fold(0, |bits, name| bits | bit(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_reasons_have_names() {
        assert_eq!(Throttle(0x44).to_string(), "sw_power_cap|hw_thermal_slowdown");
        assert_eq!(Throttle(0).to_string(), "none");
        assert_eq!(Throttle(0x44).doubtful(), Throttle(0x40), "the power cap is how a GPU runs under load");
        for bits in [0, 0x1, 0x44] {
            let written = serde_json::to_string(&Throttle(bits)).expect("writes");
            assert_eq!(serde_json::from_str::<Throttle>(&written).expect("reads"), Throttle(bits));
        }
    }

    #[test]
    fn a_gpu_of_a_node_is_called_by_the_nodes_name_and_its_index_there() {
        let gpu = GpuInfo { index: 5, on_node: Some(("n2".into(), 1)), uuid: "GPU-8f3a".into(), ..GpuInfo::default() };
        assert!(gpu.is_called("n2:1") && gpu.is_called("n2:GPU-8f"));
        assert!(!gpu.is_called("n1:1") && !gpu.is_called("5") && !gpu.is_called("1"));
    }
}
