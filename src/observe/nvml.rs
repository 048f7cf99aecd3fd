//! NVIDIA GPUs through NVML, which is loaded at run time: a machine without the driver has none, and that is all.
//!
//! Every field is asked for on its own and may be refused on its own (virtual GPUs, old cards, MIG).

use super::gpu::{GpuInfo, GpuPeer, GpuProcess, GpuSample, Throttle};
use super::pci;
use crate::units::Offset;
use nvml_wrapper::enum_wrappers::device::{Clock, P2pCapabilitiesIndex, P2pStatus, TemperatureSensor, TopologyLevel};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};

/// More than any card has (18 on Hopper and Blackwell).
const MAX_NVLINKS: u32 = 36;

/// The NVIDIA GPUs of this machine.
#[derive(Debug)]
pub struct NvmlGpus {
    /// Twelve kilobytes of function pointers.
    nvml: Box<Nvml>,
}

impl NvmlGpus {
    /// `None` without the driver or without a GPU.
    pub fn load() -> Option<Self> {
        // Only the versioned name comes with the driver; the bare one belongs to the toolkit.
        let versioned = || Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init();
        let nvml = versioned().or_else(|_| Nvml::init()).ok()?;
        (nvml.device_count().ok()? > 0).then(|| NvmlGpus { nvml: Box::new(nvml) })
    }

    fn devices(&self) -> impl Iterator<Item = (u32, Device<'_>)> {
        let count = self.nvml.device_count().unwrap_or(0);
        (0..count).filter_map(|index| Some((index, self.nvml.device_by_index(index).ok()?)))
    }

    pub fn list(&self) -> Vec<GpuInfo> {
        self.devices().map(|(index, device)| self.describe(index, &device)).collect()
    }

    fn describe(&self, index: u32, device: &Device<'_>) -> GpuInfo {
        let memory = device.memory_info().ok();
        let cuda = self.nvml.sys_cuda_driver_version().ok();
        let bus_id = device.pci_info().ok().map(|pci| pci.bus_id);
        GpuInfo {
            on_node: None,
            index,
            uuid: device.uuid().unwrap_or_default(),
            name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_string()),
            memory_total_bytes: memory.as_ref().map(|m| m.total),
            memory_used_bytes: memory.as_ref().map(|m| m.used),
            driver: self.nvml.sys_driver_version().ok(),
            // 12080 means 12.8.
            cuda: cuda.map(|v| format!("{}.{}", v / 1000, v % 1000 / 10)),
            pci_bus_id: bus_id.clone(),
            pcie_generation_max: device.max_pcie_link_gen().ok(),
            pcie_width_max: device.max_pcie_link_width().ok(),
            numa_node: device.numa_node_id().ok().or_else(|| pci::numa_node(bus_id.as_deref()?)),
            ecc: device.is_ecc_enabled().ok().map(|ecc| ecc.currently_enabled),
            mig: device.mig_mode().ok().map(|mode| mode.current != 0),
            persistence: device.is_in_persistent_mode().ok(),
            compute_mode: device.compute_mode().ok().map(|mode| format!("{mode:?}")),
            power_limit_watts: device.enforced_power_limit().ok().map(watts),
            processes: processes(device),
            peers: self.peers(index, device),
        }
    }

    fn peers(&self, index: u32, device: &Device<'_>) -> Vec<GpuPeer> {
        let others = || self.devices().filter(|(peer, _)| *peer != index);
        let addresses: Vec<_> = others().map(|(i, peer)| (i, peer.pci_info().ok().map(|pci| pci.bus_id))).collect();
        let link = |(i, peer)| {
            let link = link(device, i, peer);
            let nvlinks = (link.nvlink == Some(true)).then(|| active_nvlinks(device, i, &addresses)).flatten();
            GpuPeer { nvlinks, ..link }
        };
        others().map(link).collect()
    }

    pub fn sample(&self, at: Offset) -> Vec<GpuSample> {
        self.devices().map(|(index, device)| sample(&device, index, at)).collect()
    }
}

fn processes(device: &Device<'_>) -> Vec<GpuProcess> {
    let memory = |used| match used {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    let process = |p: nvml_wrapper::struct_wrappers::device::ProcessInfo| GpuProcess {
        pid: p.pid,
        memory_bytes: memory(p.used_gpu_memory),
    };
    device.running_compute_processes().unwrap_or_default().into_iter().map(process).collect()
}

fn link(device: &Device<'_>, index: u32, peer: Device<'_>) -> GpuPeer {
    let can = |what| device.p2p_status(&peer, what).ok().map(|status| status == P2pStatus::Ok);
    let (p2p_read, p2p_write) = (can(P2pCapabilitiesIndex::Read), can(P2pCapabilitiesIndex::Write));
    let nvlink = can(P2pCapabilitiesIndex::NvLink);
    let level = device.topology_common_ancestor(peer).ok().map(|level| match level {
        TopologyLevel::Internal => "internal",
        TopologyLevel::Single => "single",
        TopologyLevel::Multiple => "multiple",
        TopologyLevel::HostBridge => "host_bridge",
        TopologyLevel::Node => "node",
        TopologyLevel::System => "system",
    });
    GpuPeer { index, topology: level.map(str::to_string), p2p_read, p2p_write, nvlink, nvlinks: None }
}

/// Links that end at the peer itself, or, where none does, those that end at no other GPU that is seen here: at a
/// switch, which reaches every GPU over all of them, or, in a virtual machine, at an address of the host's.
fn active_nvlinks(device: &Device<'_>, index: u32, others: &[(u32, Option<String>)]) -> Option<u32> {
    let (mut direct, mut elsewhere) = (0, 0);
    for link in (0..MAX_NVLINKS).map(|link| device.link_wrapper_for(link)) {
        // Past the last link of the card the driver answers with an error.
        if !link.is_active().unwrap_or(false) {
            continue;
        }
        let end = link.remote_pci_info().ok().map(|pci| pci.bus_id);
        let at = others.iter().find(|(_, bus)| bus.is_some() && *bus == end).map(|(index, _)| *index);
        direct += u32::from(at == Some(index));
        elsewhere += u32::from(at.is_none());
    }
    [direct, elsewhere].into_iter().find(|links| *links > 0)
}

fn sample(device: &Device<'_>, index: u32, at: Offset) -> GpuSample {
    GpuSample {
        utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        memory_used_bytes: device.memory_info().ok().map(|memory| memory.used),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        power_watts: device.power_usage().ok().map(watts),
        power_limit_watts: device.enforced_power_limit().ok().map(watts),
        sm_clock_mhz: device.clock_info(Clock::SM).ok(),
        memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
        throttle: device.current_throttle_reasons().ok().map(|reasons| Throttle(reasons.bits())),
        energy_joules: device.total_energy_consumption().ok().map(|millijoules| millijoules as f64 / 1e3),
        pcie_generation: device.current_pcie_link_gen().ok(),
        pcie_width: device.current_pcie_link_width().ok(),
        ..GpuSample::empty(at, index)
    }
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1e3
}
