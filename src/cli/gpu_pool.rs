//! Which GPUs a plan may use.

use crate::observe::gpu::GpuInfo;
use crate::plan::environment::{self, Environment};
use crate::plan::gpus::{GpuPool, Vendor};

/// The inherited visible devices (UUIDs kept), else what the driver lists in its order.
pub fn of(env: &Environment, known: &[GpuInfo]) -> GpuPool {
    let listed = |name: &'static str, vendor| {
        let ids: Vec<String> =
            env.get(name)?.split(',').map(|id| id.trim().to_string()).filter(|id| !id.is_empty()).collect();
        // `-1` hides every device, by CUDA's convention.
        let ids: Vec<String> = ids.into_iter().take_while(|id| id != "-1").collect();
        Some(match ids.is_empty() {
            true => GpuPool { origin: format!("{name} hides all GPUs"), ..GpuPool::none() },
            false => GpuPool { vendor, ids, origin: name.to_string() },
        })
    };
    let amd = known.first().is_some_and(|g| g.name.to_uppercase().contains("AMD"));
    let (first, second) = if amd {
        ((environment::HIP_VISIBLE_DEVICES, Vendor::Hip), (environment::CUDA_VISIBLE_DEVICES, Vendor::Hip))
    } else {
        ((environment::CUDA_VISIBLE_DEVICES, Vendor::Cuda), (environment::HIP_VISIBLE_DEVICES, Vendor::Hip))
    };
    if known.is_empty() {
        return GpuPool::none();
    }
    listed(first.0, first.1).or_else(|| listed(second.0, second.1)).unwrap_or_else(|| GpuPool {
        vendor: first.1,
        ids: known.iter().map(|g| g.index.to_string()).collect(),
        origin: "the GPUs of this machine".to_string(),
    })
}
