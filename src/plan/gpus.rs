//! Which GPUs each instance gets. Pure: the caller says which GPUs there are.

use super::deployment::{GpuAssignment, JobNode};
use super::error::PlanError;
use super::parallelism::Parallelism;
use super::placement::{self, FreeGpu, GpuPlace};
use super::topology::{EngineGroup, GpuChoice, Role, Topology};
use std::collections::BTreeSet;

/// The GPUs a plan may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuPool {
    pub vendor: Vendor,
    /// Indices or UUIDs, in the order they are handed out.
    pub ids: Vec<String>,
    /// Where each of them lies; empty where nobody tells.
    pub places: Vec<GpuPlace>,
    /// The nodes of a Slurm job that they are on, as the names before the colons say; none where all are on this machine.
    pub nodes: Vec<JobNode>,
    /// Where the list comes from, for messages.
    pub origin: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    Cuda,
    Hip,
    /// The engine simulates them.
    Virtual,
    /// There are none: engines compute on the CPU, and their number is not limited.
    None,
}

impl GpuPool {
    pub fn virtual_devices(count: u32) -> Self {
        GpuPool {
            vendor: Vendor::Virtual,
            ids: (0..count).map(|i| i.to_string()).collect(),
            places: Vec::new(),
            nodes: Vec::new(),
            origin: format!("devices = {count} in the topology file"),
        }
    }

    pub fn none() -> Self {
        GpuPool {
            vendor: Vendor::None,
            ids: Vec::new(),
            places: Vec::new(),
            nodes: Vec::new(),
            origin: "no GPU found".to_string(),
        }
    }

    /// The first of them alone, this many.
    pub fn limit_to(&mut self, gpus: u32) {
        self.ids.truncate(gpus as usize);
        self.places.truncate(gpus as usize);
    }

    fn place(&self, at: usize) -> GpuPlace {
        self.places.get(at).copied().unwrap_or_default()
    }

    /// In how many places the instances lie, all together.
    fn spread(&self, arm: &ArmGpus) -> usize {
        let at = |id: &String| self.ids.iter().position(|other| other == id);
        let places = |gpus: &GpuAssignment| gpus.ids().iter().filter_map(at).map(|at| self.place(at)).collect();
        arm.iter().map(|(_, _, gpus)| placement::spread(Vec::into_iter(places(gpus)))).sum()
    }

    /// Whether a GPU that a file names has to be one of these, and isn't.
    fn must_list(&self, id: &String) -> bool {
        (self.vendor == Vendor::Virtual || !self.nodes.is_empty()) && !self.ids.contains(id)
    }

    /// The nodes of an arm's instance at this position: where its GPUs are, or one after the other where there are none.
    pub fn nodes_of(&self, position: usize, gpus: &GpuAssignment) -> Vec<JobNode> {
        if gpus.ids().is_empty() {
            return self.nodes.get(position % self.nodes.len().max(1)).into_iter().cloned().collect();
        }
        let mut names: Vec<&str> = gpus.ids().iter().filter_map(|id| node_name(id)).collect();
        names.dedup();
        names.into_iter().filter_map(|name| self.nodes.iter().find(|node| node.name == name)).cloned().collect()
    }

    /// GPUs of the largest node.
    pub fn largest_node(&self) -> usize {
        let on = |node: &JobNode| self.ids.iter().filter(|id| node_name(id) == Some(&node.name)).count();
        self.nodes.iter().map(on).max().unwrap_or(self.ids.len())
    }

    /// Those of the unused GPUs that an engine gets: near each other, and on one node. One that is larger than any node gets
    /// as many on each of as few as can share it. Fewer where there are not enough.
    fn together(&self, unused: &[FreeGpu], size: Parallelism) -> Vec<usize> {
        let wanted = size.gpus() as usize;
        if self.nodes.is_empty() {
            return placement::nearest(unused, wanted);
        }
        let on = |node: &JobNode| {
            let is_there = |at: usize| node_name(&self.ids[at]) == Some(&node.name);
            unused.iter().copied().filter(|(at, _)| is_there(*at)).collect::<Vec<_>>()
        };
        let free: Vec<Vec<FreeGpu>> = self.nodes.iter().map(on).collect();
        let mut counts = if wanted > self.largest_node() { 2..=self.nodes.len() } else { 1..=1 };
        let shared = |nodes: usize| {
            let each = wanted / nodes;
            let enough = free.iter().filter(|there| there.len() >= each).take(nodes);
            let shares: Vec<Vec<usize>> = enough.map(|there| placement::nearest(there, each)).collect();
            (shares.len() == nodes).then(|| shares.concat())
        };
        counts.find_map(|nodes| size.can_share(nodes as u32).then(|| shared(nodes)).flatten()).unwrap_or_default()
    }

    /// Whether an engine can run on these GPUs as far as their nodes are concerned.
    fn can_hold(&self, size: Parallelism, ids: &[String]) -> bool {
        if self.nodes.is_empty() {
            return true;
        }
        let shares: Vec<_> = ids.chunk_by(|a, b| node_name(a) == node_name(b)).collect();
        let names: BTreeSet<_> = shares.iter().map(|share| node_name(&share[0])).collect();
        let even = shares.iter().all(|share| share.len() == shares[0].len());
        even && names.len() == shares.len() && size.can_share(shares.len() as u32)
    }

    fn assignment(&self, ids: Vec<String>) -> GpuAssignment {
        match self.vendor {
            Vendor::Cuda => GpuAssignment::Cuda(ids),
            Vendor::Hip => GpuAssignment::Hip(ids),
            Vendor::Virtual => GpuAssignment::Virtual(ids),
            Vendor::None => GpuAssignment::None,
        }
    }
}

/// Of `n1:0`.
fn node_name(id: &str) -> Option<&str> {
    id.split_once(':').map(|(name, _)| name)
}

/// The GPUs of an arm's instances in launch order.
pub type ArmGpus = Vec<(Role, u32, GpuAssignment)>;

/// Hands out GPUs: those that a file lists, and the next free ones for everybody else. Arms lie side by side where the
/// pool is large enough for all at once; else every arm takes from the start.
pub fn assign(arms: &[(&str, &Topology)], pool: &GpuPool) -> Result<Vec<ArmGpus>, PlanError> {
    for (arm, topology) in arms {
        check_counts(arm, topology, pool)?;
    }
    let listed: BTreeSet<&str> = arms.iter().flat_map(|(_, t)| listed_ids(t)).collect();
    let reserved = pool.ids.iter().filter(|id| listed.contains(id.as_str())).count();
    let auto: usize = arms.iter().map(|(_, t)| auto_gpus(t)).sum();
    let side_by_side = auto + reserved <= pool.ids.len();
    let mut taken = listed;
    arms.iter()
        .map(|(arm, topology)| {
            if !side_by_side {
                taken = listed_ids(topology).collect();
            }
            assign_arm(arm, topology, pool, &mut taken)
        })
        .collect()
}

/// GPUs that the topology's file lists, whichever group they are for.
fn listed_ids(topology: &Topology) -> impl Iterator<Item = &str> {
    let lists = topology.groups().filter_map(|(_, group)| match &group.gpus {
        GpuChoice::PerInstance(lists) => Some(lists),
        GpuChoice::Auto => None,
    });
    lists.flatten().flatten().map(String::as_str)
}

fn auto_gpus(topology: &Topology) -> usize {
    topology.groups().filter(|(_, g)| g.gpus == GpuChoice::Auto).map(|(_, g)| g.gpu_count() as usize).sum()
}

fn check_counts(arm: &str, topology: &Topology, pool: &GpuPool) -> Result<(), PlanError> {
    let need = topology.gpu_count();
    if pool.vendor != Vendor::None && need as usize > pool.ids.len() {
        return Err(PlanError::TooManyGpus {
            arm: arm.to_string(),
            size: topology.size_label(),
            need,
            have: pool.ids.len(),
            source_of_count: pool.origin.clone(),
        });
    }
    Ok(())
}

/// In launch order, or the large instances first, whichever keeps more of them together.
fn assign_arm<'a>(
    arm: &str,
    topology: &Topology,
    pool: &'a GpuPool,
    taken: &mut BTreeSet<&'a str>,
) -> Result<ArmGpus, PlanError> {
    let instances: Vec<(Role, u32, &EngineGroup)> = topology
        .groups()
        .flat_map(|(role, group)| (0..group.replicas).map(move |index| (role, index, group)))
        .collect();
    let mut large_first: Vec<usize> = (0..instances.len()).collect();
    large_first.sort_by_key(|at| std::cmp::Reverse(instances[*at].2.parallelism().gpus()));
    let in_order = |order: Vec<usize>| {
        let mut taken = taken.clone();
        let mut placed = Vec::new();
        for at in order {
            let (role, index, group) = instances[at];
            let ids = match &group.gpus {
                GpuChoice::Auto => free(arm, topology, group, pool, &mut taken)?,
                GpuChoice::PerInstance(lists) => listed(arm, group, lists, index, pool)?,
            };
            placed.push((at, (role, index, pool.assignment(ids))));
        }
        placed.sort_by_key(|(at, _)| *at);
        let gpus: ArmGpus = placed.into_iter().map(|(_, gpus)| gpus).collect();
        Ok((pool.spread(&gpus), gpus, taken))
    };
    let (_, gpus, all) = match (in_order((0..instances.len()).collect()), in_order(large_first)) {
        (Ok(launch), Ok(large)) if large.0 < launch.0 => large,
        (Ok(launch), Ok(_)) => launch,
        (Ok(fits), Err(_)) | (Err(_), Ok(fits)) => fits,
        (Err(error), Err(_)) => return Err(error),
    };
    *taken = all;
    Ok(gpus)
}

fn free<'a>(
    arm: &str,
    topology: &Topology,
    group: &EngineGroup,
    pool: &'a GpuPool,
    taken: &mut BTreeSet<&'a str>,
) -> Result<Vec<String>, PlanError> {
    let wanted = group.parallelism().gpus() as usize;
    let unused = pool.ids.iter().enumerate().filter(|(_, id)| !taken.contains(id.as_str()));
    let unused: Vec<_> = unused.map(|(at, _)| (at, pool.place(at))).collect();
    let ids: Vec<&str> =
        pool.together(&unused, group.parallelism()).into_iter().map(|at| pool.ids[at].as_str()).collect();
    taken.extend(ids.iter());
    if ids.len() < wanted && unused.len() >= wanted && pool.vendor != Vendor::None {
        let (arm, size, origin) = (arm.to_string(), topology.size_label(), pool.origin.clone());
        let (engine, larger) = (group.parallelism().gpus(), wanted > pool.largest_node());
        return Err(match larger {
            true => PlanError::NoParts { arm, size, wanted: engine, origin },
            false => PlanError::NoNode { arm, size, wanted: engine, origin },
        });
    }
    if ids.len() < wanted && pool.vendor != Vendor::None {
        return Err(PlanError::TooManyGpus {
            arm: arm.to_string(),
            size: topology.size_label(),
            need: topology.gpu_count(),
            have: pool.ids.len(),
            source_of_count: format!("{}, among them those that `gpus` lists", pool.origin),
        });
    }
    Ok(ids.into_iter().map(str::to_string).collect())
}

fn listed(
    arm: &str,
    group: &EngineGroup,
    lists: &[Vec<String>],
    index: u32,
    pool: &GpuPool,
) -> Result<Vec<String>, PlanError> {
    if lists.len() != group.replicas as usize {
        return Err(PlanError::GpuLists { arm: arm.to_string(), lists: lists.len(), replicas: group.replicas });
    }
    let ids = lists[index as usize].clone();
    let takes = group.parallelism().gpus();
    if ids.len() != takes as usize {
        return Err(PlanError::GpuListLength {
            arm: arm.to_string(),
            instance: index,
            size: group.parallelism().to_string(),
            takes,
            got: ids.len(),
        });
    }
    // Whether a real GPU is there is the driver's to say, when the engines are started; UUIDs come in several forms.
    if let Some(id) = ids.iter().find(|id| pool.must_list(id)) {
        return Err(PlanError::GpuUnknown {
            arm: arm.to_string(),
            id: id.clone(),
            known: pool.ids.join(", "),
            origin: pool.origin.clone(),
        });
    }
    if !pool.can_hold(group.parallelism(), &ids) {
        return Err(PlanError::GpuParts {
            arm: arm.to_string(),
            instance: index,
            size: group.parallelism().to_string(),
            listed: ids.join(", "),
        });
    }
    Ok(ids)
}

/// Whether no GPU belongs to two arms, so that all may stay up together. Engines on the CPU share it.
pub fn disjoint(arms: &[ArmGpus]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    arms.iter().enumerate().all(|(arm, gpus)| {
        gpus.iter().all(|(_, _, assignment)| {
            !matches!(assignment, GpuAssignment::None)
                && assignment.ids().iter().all(|id| {
                    let mine = seen.contains(&(arm, id.clone()));
                    let taken = (0..arm).any(|other| seen.contains(&(other, id.clone())));
                    mine || (!taken && seen.insert((arm, id.clone())))
                })
        })
    })
}

#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::topology_file::parse_toml;

    fn topology(text: &str) -> Topology {
        parse_toml(text, "test").expect("valid")
    }

    fn ids(arm: &ArmGpus) -> Vec<Vec<String>> {
        arm.iter().map(|(_, _, gpus)| gpus.ids().to_vec()).collect()
    }

    #[test]
    fn arms_lie_side_by_side_where_there_is_room_and_share_where_not() {
        let tp2 = topology("name='a'\nkind='simple'\n[group]\ntensor_parallel=2");
        let pd = topology("name='b'\nkind='prefill-decode'");
        let arms = [("a", &tp2), ("b", &pd)];
        let roomy = assign(&arms, &GpuPool::virtual_devices(4)).expect("fits");
        assert_eq!(ids(&roomy[0]), [["0", "1"]]);
        assert_eq!(ids(&roomy[1]), [["2"], ["3"]]);
        assert!(disjoint(&roomy));
        let tight = assign(&arms, &GpuPool::virtual_devices(3)).expect("fits one at a time");
        assert_eq!(ids(&tight[1]), [["0"], ["1"]]);
        assert!(!disjoint(&tight));
    }

    #[test]
    fn engines_on_the_cpu_are_never_disjoint_and_never_too_many() {
        let pd = topology("name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=50");
        let arms = assign(&[("b", &pd), ("c", &pd)], &GpuPool::none()).expect("no limit");
        assert_eq!(arms[0].len(), 51);
        assert!(!disjoint(&arms));
    }

    #[test]
    fn more_than_there_are_is_refused_with_both_numbers() {
        let pd =
            topology("name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=2\ntensor_parallel=2\n[decode]\nreplicas=5");
        let error = assign(&[("nixl", &pd)], &GpuPool::virtual_devices(8)).expect_err("9 of 8").to_string();
        assert!(error.contains("9 GPUs") && error.contains("there are 8") && error.contains("nixl"), "{error}");
    }

    #[test]
    fn lists_must_match_replicas_and_tensor_parallel() {
        let good = topology("name='a'\nkind='simple'\n[group]\nreplicas=2\ngpus=[[3],['GPU-x']]");
        let pool = GpuPool {
            vendor: Vendor::Cuda,
            ids: vec!["0".to_string(); 4],
            places: vec![],
            nodes: vec![],
            origin: String::new(),
        };
        let arms = assign(&[("a", &good)], &pool).expect("good");
        assert_eq!(ids(&arms[0]), [["3"], ["GPU-x"]]);
        for bad in ["replicas=2\ngpus=[[3]]", "replicas=1\ntensor_parallel=2\ngpus=[[3]]"] {
            let bad = topology(&format!("name='a'\nkind='simple'\n[group]\n{bad}"));
            assert!(assign(&[("a", &bad)], &GpuPool::virtual_devices(8)).is_err());
        }
    }

    #[test]
    fn others_keep_off_the_gpus_that_a_file_lists() {
        let pd = topology("name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=2\n[decode]\ngpus=[[1]]");
        let arms = assign(&[("b", &pd), ("c", &pd)], &GpuPool::virtual_devices(8)).expect("fits");
        assert_eq!(ids(&arms[0]), [["0"], ["2"], ["1"]]);
        let tight = assign(&[("b", &pd)], &GpuPool::virtual_devices(3)).expect("just fits");
        assert_eq!(ids(&tight[0]), [["0"], ["2"], ["1"]]);
    }

    #[test]
    fn a_simulated_gpu_that_is_not_there_is_named() {
        let bad = topology("name='a'\nkind='simple'\n[group]\ngpus=[[9]]");
        let error = assign(&[("a", &bad)], &GpuPool::virtual_devices(8)).expect_err("there is no 9").to_string();
        assert!(error.contains("GPU 9") && error.contains("0, 1, 2") && error.contains("devices = 8"), "{error}");
    }

    #[test]
    fn instances_stay_inside_a_numa_node_where_they_can() {
        // Three free on one node, four on the other: in launch order decode would be torn apart.
        let node = |node| GpuPlace { numa_node: Some(node), island: Some(0) };
        let pool = GpuPool { places: [0, 0, 0, 1, 1, 1, 1].map(node).into(), ..GpuPool::virtual_devices(7) };
        let pd = topology(
            "name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=3\n[decode]\nreplicas=1\ntensor_parallel=2\ndata_parallel=2",
        );
        let arms = assign(&[("b", &pd)], &pool).expect("fits");
        assert_eq!(ids(&arms[0]), [vec!["0"], vec!["1"], vec!["2"], vec!["3", "4", "5", "6"]]);
        let pd =
            topology("name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=2\ntensor_parallel=2\n[decode]\nreplicas=3");
        let arms = assign(&[("b", &pd)], &pool).expect("fits");
        assert_eq!(ids(&arms[0]), [vec!["0", "1"], vec!["3", "4"], vec!["2"], vec!["5"], vec!["6"]]);
    }
}
