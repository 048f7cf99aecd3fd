//! Which GPUs a plan may use.

use crate::observe::gpu::GpuInfo;
use crate::plan::environment::{self, Environment};
use crate::plan::gpus::{GpuPool, Vendor};
use crate::plan::placement::GpuPlace;

/// The inherited visible devices (UUIDs kept), else what the driver lists in its order.
pub(super) fn of(env: &Environment, known: &[GpuInfo]) -> GpuPool {
    if known.is_empty() {
        return GpuPool::none();
    }
    let amd = known.iter().any(|g| g.name.to_uppercase().contains("AMD"));
    let vendor = if amd { Vendor::Hip } else { Vendor::Cuda };
    let mut variables = [environment::CUDA_VISIBLE_DEVICES, environment::HIP_VISIBLE_DEVICES];
    if amd {
        // ROCm obeys both, its own first.
        variables.reverse();
    }
    let visible = variables.into_iter().take(if amd { 2 } else { 1 }).find(|name| env.is_set(name));
    let pool = match visible {
        Some(name) => listed(name, env.get(name).unwrap_or_default(), vendor),
        None => GpuPool {
            vendor,
            ids: known.iter().map(|g| g.index.to_string()).collect(),
            places: Vec::new(),
            nodes: Vec::new(),
            origin: "the GPUs of this machine".to_string(),
        },
    };
    let place =
        |id: &String| known.iter().find(|g| g.is_called(id)).map_or_else(GpuPlace::default, |g| place(g, known));
    GpuPool { places: pool.ids.iter().map(place).collect(), ..pool }
}

fn place(gpu: &GpuInfo, known: &[GpuInfo]) -> GpuPlace {
    GpuPlace { island: island(gpu, known), numa_node: gpu.numa_node }
}

/// The lowest index among the GPUs that NVLink joins it with, over one another too; `None` without NVLink.
fn island(gpu: &GpuInfo, known: &[GpuInfo]) -> Option<u32> {
    let mut joined = vec![gpu.index];
    let mut next = 0;
    while let Some(index) = joined.get(next).copied() {
        let peers = known.iter().find(|g| g.index == index).into_iter().flat_map(|g| &g.peers);
        let new = peers.filter(|p| p.nvlink == Some(true)).map(|p| p.index);
        let new: Vec<u32> = new.filter(|peer| !joined.contains(peer)).collect();
        joined.extend(new);
        next += 1;
    }
    joined.into_iter().min().filter(|_| next > 1)
}

/// By CUDA's convention an empty list hides every device, and so does -1 from where it stands.
fn listed(name: &str, list: &str, vendor: Vendor) -> GpuPool {
    let ids = list.split(',').map(str::trim).filter(|id| !id.is_empty()).take_while(|id| *id != "-1");
    let ids: Vec<String> = ids.map(str::to_string).collect();
    match ids.is_empty() {
        true => GpuPool { origin: format!("{name} hides all GPUs"), ..GpuPool::none() },
        false => GpuPool { vendor, ids, places: Vec::new(), nodes: Vec::new(), origin: name.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::gpu::GpuPeer;

    fn machine(names: &[&str]) -> Vec<GpuInfo> {
        let gpu = |(index, name): (u32, &&str)| GpuInfo { index, name: name.to_string(), ..GpuInfo::default() };
        (0..).zip(names).map(gpu).collect()
    }

    fn ids(pool: &GpuPool) -> Vec<&str> {
        pool.ids.iter().map(String::as_str).collect()
    }

    #[test]
    fn visible_devices_are_kept_as_they_are_called_and_in_their_order() {
        let known = machine(&["NVIDIA H100 80GB HBM3"; 4]);
        let env = Environment::of([("CUDA_VISIBLE_DEVICES", " 3, GPU-8f3a ,MIG-1/2/0")]);
        let pool = of(&env, &known);
        assert_eq!(ids(&pool), ["3", "GPU-8f3a", "MIG-1/2/0"]);
        assert_eq!((pool.vendor, pool.origin.as_str()), (Vendor::Cuda, "CUDA_VISIBLE_DEVICES"));
        assert_eq!(ids(&of(&Environment::default(), &known)), ["0", "1", "2", "3"]);
    }

    #[test]
    fn what_is_hidden_stays_hidden() {
        let known = machine(&["NVIDIA L4"; 2]);
        for list in ["", "-1", ","] {
            let pool = of(&Environment::of([("CUDA_VISIBLE_DEVICES", list)]), &known);
            assert_eq!((pool.vendor, pool.ids.len()), (Vendor::None, 0), "{list}");
            assert!(pool.origin.contains("CUDA_VISIBLE_DEVICES"), "{}", pool.origin);
        }
        assert_eq!(ids(&of(&Environment::of([("CUDA_VISIBLE_DEVICES", "1,-1,0")]), &known)), ["1"]);
    }

    #[test]
    fn each_vendor_obeys_its_own_variable() {
        let both = Environment::of([("CUDA_VISIBLE_DEVICES", "0"), ("HIP_VISIBLE_DEVICES", "1")]);
        assert_eq!(ids(&of(&both, &machine(&["NVIDIA L4"; 2]))), ["0"]);
        let amd = of(&both, &machine(&["AMD Instinct MI300X"; 2]));
        assert_eq!((ids(&amd), amd.vendor), (vec!["1"], Vendor::Hip));
        let only_hip = Environment::of([("HIP_VISIBLE_DEVICES", "1")]);
        assert_eq!(ids(&of(&only_hip, &machine(&["NVIDIA L4"; 2]))), ["0", "1"], "CUDA does not know it");
    }

    #[test]
    fn a_machine_without_gpus_has_none_whatever_is_visible() {
        let pool = of(&Environment::of([("CUDA_VISIBLE_DEVICES", "0,1")]), &[]);
        assert_eq!((pool.vendor, pool.ids.len()), (Vendor::None, 0));
    }

    #[test]
    fn gpus_on_a_bridge_are_one_island_whatever_they_are_called() {
        let peer = |index| GpuPeer {
            index,
            topology: None,
            p2p_read: None,
            p2p_write: None,
            nvlink: Some(true),
            nvlinks: None,
        };
        let mut known = machine(&["NVIDIA A100 80GB PCIe"; 5]);
        for (gpu, other) in [(0, 2), (2, 0), (1, 3), (3, 1)] {
            known[gpu].peers = vec![peer(other)];
            known[gpu].numa_node = Some(0);
        }
        known[3].uuid = "GPU-5d21-ab".to_string();
        let env = Environment::of([("CUDA_VISIBLE_DEVICES", "2,GPU-5d21,4")]);
        let on = |island| GpuPlace { island: Some(island), numa_node: Some(0) };
        assert_eq!(of(&env, &known).places, [on(0), on(1), GpuPlace::default()]);
    }
}
