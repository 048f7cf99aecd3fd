//! Which of the free GPUs an instance takes: GPUs that are near each other, and so that others find such, too.
//!
//! Ranks of an instance talk in every step: over NVLink where they are joined by it, else through the host, which is slower
//! from one NUMA node to another. Where GPUs lie is told by the driver; where it isn't, they are taken in their order.

use std::collections::BTreeMap;

/// Where a GPU lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GpuPlace {
    /// GPUs of one number are joined by NVLink, directly, over each other or over switches.
    pub island: Option<u32>,
    pub numa_node: Option<u32>,
}

/// A GPU that may be taken: its position in the pool, and where it lies.
pub(super) type FreeGpu = (usize, GpuPlace);

/// `wanted` of them, by position, in the pool's order: of one island and NUMA node if there are enough, else of one island,
/// else of one node. Of several places that would do, the one with the fewest free GPUs. All that there are, if they are
/// fewer.
pub(super) fn nearest(free: &[FreeGpu], wanted: usize) -> Vec<usize> {
    let levels: [fn(GpuPlace) -> GpuPlace; 4] = [
        |place| place,
        |place| GpuPlace { numa_node: None, ..place },
        |place| GpuPlace { island: None, ..place },
        |_| GpuPlace::default(),
    ];
    let enough = levels.iter().find_map(|level| smallest(groups(free, level), wanted));
    let among = enough.unwrap_or_else(|| free.to_vec());
    // Whole places first, so that what is left over of one is as little as can be.
    let mut parts = groups(&among, levels[0]);
    parts.sort_by_key(|part| (std::cmp::Reverse(part.len()), part[0].0));
    let mut taken: Vec<usize> = parts.into_iter().flatten().map(|(at, _)| at).take(wanted).collect();
    taken.sort_unstable();
    taken
}

/// In the order of their first GPU.
fn groups(free: &[FreeGpu], level: impl Fn(GpuPlace) -> GpuPlace) -> Vec<Vec<FreeGpu>> {
    let mut groups: BTreeMap<GpuPlace, Vec<FreeGpu>> = BTreeMap::new();
    for gpu in free {
        groups.entry(level(gpu.1)).or_default().push(*gpu);
    }
    let mut groups: Vec<Vec<FreeGpu>> = groups.into_values().collect();
    groups.sort_by_key(|group| group[0].0);
    groups
}

fn smallest(groups: Vec<Vec<FreeGpu>>, wanted: usize) -> Option<Vec<FreeGpu>> {
    groups.into_iter().filter(|group| group.len() >= wanted).min_by_key(Vec::len)
}

/// In how many places an instance lies: 1 is best.
pub(super) fn spread(places: impl Iterator<Item = GpuPlace>) -> usize {
    let mut places: Vec<GpuPlace> = places.collect();
    places.sort_unstable();
    places.dedup();
    places.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(numa: &[u32], islands: &[u32]) -> Vec<FreeGpu> {
        let place = |(node, island): (&u32, &u32)| GpuPlace { island: Some(*island), numa_node: Some(*node) };
        numa.iter().zip(islands).map(place).enumerate().collect()
    }

    /// As `nvidia-smi topo -m` shows them in public reports: DGX H100 (vllm-project/vllm#13855), DGX A100 (NVIDIA/nccl#1505),
    /// both with all GPUs on NVSwitch; and four pairs on bridges, two a socket.
    fn dgx_h100() -> Vec<FreeGpu> {
        host(&[0, 0, 0, 0, 1, 1, 1, 1], &[0; 8])
    }

    fn dgx_a100() -> Vec<FreeGpu> {
        host(&[3, 3, 1, 1, 7, 7, 5, 5], &[0; 8])
    }

    fn bridged_pairs() -> Vec<FreeGpu> {
        host(&[0, 0, 0, 0, 1, 1, 1, 1], &[0, 1, 0, 1, 4, 4, 6, 6])
    }

    /// GPUs of instances of these sizes, one after another.
    fn placed(free: &[FreeGpu], sizes: &[usize]) -> Vec<Vec<usize>> {
        let mut free = free.to_vec();
        let mut take = |wanted: &usize| {
            let taken = nearest(&free, *wanted);
            free.retain(|(at, _)| !taken.contains(at));
            taken
        };
        sizes.iter().map(&mut take).collect()
    }

    #[test]
    fn an_instance_stays_on_its_numa_node() {
        assert_eq!(placed(&dgx_h100(), &[1, 1, 4, 2]), [vec![0], vec![1], vec![4, 5, 6, 7], vec![2, 3]]);
        assert_eq!(placed(&dgx_h100(), &[1, 4, 1]), [vec![0], vec![4, 5, 6, 7], vec![1]]);
        assert_eq!(placed(&dgx_a100(), &[1, 2, 1, 2, 2]), [vec![0], vec![2, 3], vec![1], vec![4, 5], vec![6, 7]]);
    }

    #[test]
    fn pairs_on_a_bridge_are_kept_together_even_where_their_numbers_are_apart() {
        assert_eq!(placed(&bridged_pairs(), &[2, 2, 1, 2]), [vec![0, 2], vec![1, 3], vec![4], vec![6, 7]]);
        assert_eq!(placed(&bridged_pairs(), &[4]), [vec![0, 1, 2, 3]], "two pairs of one node");
        assert_eq!(placed(&bridged_pairs(), &[1, 4]), [vec![0], vec![4, 5, 6, 7]]);
    }

    #[test]
    fn what_fits_no_place_takes_whole_ones_first() {
        assert_eq!(placed(&dgx_h100(), &[8]), [vec![0, 1, 2, 3, 4, 5, 6, 7]]);
        assert_eq!(placed(&dgx_h100(), &[1, 6]), [vec![0], vec![1, 2, 4, 5, 6, 7]], "the whole node and two more");
        assert_eq!(placed(&dgx_a100(), &[4]), [vec![0, 1, 2, 3]]);
    }

    #[test]
    fn where_nothing_is_told_gpus_are_taken_in_their_order() {
        let free: Vec<FreeGpu> = (0..6).map(|at| (at, GpuPlace::default())).collect();
        assert_eq!(placed(&free, &[2, 1, 2, 4]), [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
    }
}
