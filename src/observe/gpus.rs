//! The machine's GPUs, whoever made them.
//!
//! NVIDIA's are read through NVML, AMD's through sysfs, Hygon's DCUs through `hy-smi`. Without any there are no GPUs, which is
//! an answer and no error.

use super::amd::AmdGpus;
use super::dcu::DcuGpus;
use super::gpu::{GpuInfo, GpuSample};
use super::nvml::NvmlGpus;
use crate::units::Offset;
use std::sync::OnceLock;

/// The GPUs of this machine, by driver.
#[derive(Debug)]
pub enum Gpus {
    Nvml(NvmlGpus),
    Amd(AmdGpus),
    Dcu(DcuGpus),
    None,
}

impl Gpus {
    /// This machine's: NVIDIA's first, then AMD's. The driver is opened once in a process: where persistence mode is
    /// off it starts its GPUs anew for everybody who comes while nobody else holds them.
    pub fn detect() -> &'static Gpus {
        static FOUND: OnceLock<Gpus> = OnceLock::new();
        FOUND.get_or_init(|| {
            let nvidia = NvmlGpus::load().map(Gpus::Nvml);
            let amd = || AmdGpus::find().map(Gpus::Amd);
            nvidia.or_else(amd).or_else(|| DcuGpus::find().map(Gpus::Dcu)).unwrap_or(Gpus::None)
        })
    }

    pub fn list(&self) -> Vec<GpuInfo> {
        match self {
            Gpus::Nvml(gpus) => gpus.list(),
            Gpus::Amd(gpus) => gpus.list(),
            Gpus::Dcu(gpus) => gpus.list(),
            Gpus::None => Vec::new(),
        }
    }

    /// One sample for each GPU.
    pub fn sample(&self, at: Offset) -> Vec<GpuSample> {
        match self {
            Gpus::Nvml(gpus) => gpus.sample(at),
            Gpus::Amd(gpus) => gpus.sample(at),
            Gpus::Dcu(gpus) => gpus.sample(at),
            Gpus::None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_has_no_gpus_and_no_panic() {
        assert!(Gpus::None.list().is_empty());
        // Whatever this machine has, asking must be safe.
        let gpus = Gpus::detect();
        assert_eq!(gpus.list().len(), gpus.sample(Offset::ZERO).len());
    }
}
