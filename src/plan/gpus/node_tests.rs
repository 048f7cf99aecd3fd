//! GPUs of the nodes of a Slurm job.

use super::*;
use crate::plan::topology_file::parse_toml;

fn topology(text: &str) -> Topology {
    parse_toml(text, "test").expect("valid")
}

fn simple(group: &str) -> Topology {
    topology(&format!("name='a'\nkind='simple'\n[group]\n{group}"))
}

/// Nodes n1, n2 .. with so many GPUs each.
fn pool(gpus: &[u32]) -> GpuPool {
    let name = |at: usize| format!("n{}", at + 1);
    let node = |at| JobNode { name: name(at), address: format!("10.0.0.{}", at + 1) };
    let ids = gpus.iter().enumerate().flat_map(|(at, gpus)| (0..*gpus).map(move |gpu| format!("{}:{gpu}", name(at))));
    let counts: Vec<_> = gpus.iter().enumerate().map(|(at, gpus)| format!("{gpus} on {}", name(at))).collect();
    GpuPool {
        vendor: Vendor::Cuda,
        ids: ids.collect(),
        places: vec![],
        nodes: (0..gpus.len()).map(node).collect(),
        origin: format!("Slurm job 7: {}", counts.join(", ")),
    }
}

fn placed(topology: &Topology, pool: &GpuPool) -> Result<Vec<String>, String> {
    let arm = assign(&[("a", topology)], pool).map_err(|error| error.to_string())?.remove(0);
    Ok(arm.iter().map(|(_, _, gpus)| gpus.ids().join(" ")).collect())
}

fn names(nodes: Vec<JobNode>) -> String {
    nodes.into_iter().map(|node| node.name).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_engine_gets_its_gpus_on_one_node_and_fills_what_others_left() {
    let pool = pool(&[3, 3]);
    let pd =
        topology("name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=2\ntensor_parallel=2\n[decode]\nreplicas=2");
    assert_eq!(placed(&pd, &pool).expect("fits"), ["n1:0 n1:1", "n2:0 n2:1", "n1:2", "n2:2"]);
    let arm = assign(&[("b", &pd)], &pool).expect("fits").remove(0);
    let at = |position: usize| names(pool.nodes_of(position, &arm[position].2));
    assert_eq!([at(1), at(2)], ["n2", "n1"]);
    let cpu = |position| names(pool.nodes_of(position, &GpuAssignment::None));
    assert_eq!([cpu(0), cpu(1), cpu(2)], ["n1", "n2", "n1"]);
    insta::assert_snapshot!(placed(&simple("replicas=7"), &pool).expect_err("7 of 6"), @r"
    arm `a` needs 7 GPUs (7xTP1) and there are 6 (Slurm job 7: 3 on n1, 3 on n2)
    hint: use fewer or smaller instances
    ");
}

#[test]
fn small_engines_make_room_for_large_ones() {
    let pd =
        topology("name='b'\nkind='prefill-decode'\n[prefill]\nreplicas=2\n[decode]\nreplicas=2\ntensor_parallel=3");
    assert_eq!(placed(&pd, &pool(&[4, 4])).expect("fits"), ["n1:3", "n2:3", "n1:0 n1:1 n1:2", "n2:0 n2:1 n2:2"]);
}

#[test]
fn an_engine_larger_than_any_node_gets_as_many_gpus_on_each_of_the_fewest_that_can_share_it() {
    let two = pool(&[4, 4]);
    let over_both = "n1:0 n1:1 n1:2 n1:3 n2:0 n2:1 n2:2 n2:3";
    for size in ["tensor_parallel=8", "data_parallel=4\ntensor_parallel=2", "pipeline_parallel=2\ntensor_parallel=4"] {
        assert_eq!(placed(&simple(size), &two).expect("fits"), [over_both], "{size}");
    }
    assert_eq!(names(two.nodes_of(0, &GpuAssignment::Cuda(two.ids.clone()))), "n1 n2");
    // Two nodes would tear a rank of two GPUs.
    let three = simple("data_parallel=3\ntensor_parallel=2");
    assert_eq!(placed(&three, &pool(&[4, 4, 4])).expect("fits"), ["n1:0 n1:1 n2:0 n2:1 n3:0 n3:1"]);
    // The small node is passed over.
    assert_eq!(
        placed(&simple("tensor_parallel=6"), &pool(&[3, 2, 3])).expect("fits"),
        ["n1:0 n1:1 n1:2 n3:0 n3:1 n3:2"]
    );
}

#[test]
fn what_nodes_cannot_share_is_refused() {
    insta::assert_snapshot!(placed(&simple("tensor_parallel=5"), &pool(&[3, 3])).expect_err("5 over 2"), @r"
    arm `a` (TP5) has an engine of 5 GPUs, which is larger than a node, and no nodes have room for the same share of it (Slurm job 7: 3 on n1, 3 on n2)
    hint: vLLM wants as many GPUs on every node, with whole data-parallel ranks on a node or a rank over whole nodes: choose such sizes, or ask for more nodes
    ");
    let pd = |prefill: &str, decode: &str| {
        topology(&format!("name='b'\nkind='prefill-decode'\n[prefill]\n{prefill}\n[decode]\n{decode}"))
    };
    let wide =
        placed(&pd("tensor_parallel=2", "tensor_parallel=6"), &pool(&[4, 4])).expect_err("no room beside prefill");
    assert!(wide.contains("has an engine of 6 GPUs, which is larger than a node"), "{wide}");
    let full = pd("replicas=2\ntensor_parallel=2", "tensor_parallel=2");
    let full = placed(&full, &pool(&[3, 3])).expect_err("one is left on each");
    assert!(full.contains("needs 2 GPUs on one node for an engine, and no node has so many left"), "{full}");
}

#[test]
fn gpus_that_a_file_lists_lie_on_one_node_or_evenly_on_several() {
    let two = pool(&[4, 4]);
    let listed = |gpus: &str| simple(&format!("tensor_parallel=4\ngpus=[[{gpus}]]"));
    assert!(placed(&listed("'n2:0','n2:1','n2:2','n2:3'"), &two).is_ok());
    assert_eq!(placed(&listed("'n2:0','n2:1','n1:0','n1:3'"), &two).expect("even"), ["n2:0 n2:1 n1:0 n1:3"]);
    assert!(placed(&listed("'n1:0','n2:0','n1:1','n2:1'"), &two).is_err(), "in turn");
    insta::assert_snapshot!(placed(&listed("'n1:0','n1:1','n1:2','n2:0'"), &two).expect_err("3 and 1"), @r"
    arm `a`: instance 0 (TP4) can't run on the GPUs that `gpus` lists for it: n1:0, n1:1, n1:2, n2:0
    hint: list those of one node, or of several nodes one after another, as many of each, with whole data-parallel ranks on a node or a rank over whole nodes
    ");
}
