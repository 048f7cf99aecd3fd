//! Instances as steps of a Slurm job.
//!
//! Every instance is one step (`srun --overlap`) on the node that holds its GPUs - or one on each of its nodes, if it is
//! larger than one - and what runs in it is the guardian
//! that engines have everywhere: its standard streams are srun's, so orders, notices and the engine's log travel as
//! Slurm carries them, without a port of their own. On every node one more step holds a small agent of the same binary
//! ([`agent`]), which is asked what only the node can know: which ports are free and who holds them, what its GPUs are
//! and how they fare.
//!
//! Nothing outlives topobench. Its end closes srun's standard input, which ends agent and guardians, and these their
//! engines. Where srun is killed together with topobench, Slurm tells the step nothing; so topobench is heard from every
//! few seconds, and who hears nothing for a minute ends. A cancelled job, its time limit and a node that fails end steps
//! through Slurm itself.

mod agent;
mod allocation;
mod node;
mod protocol;
mod step;

pub use agent::run_if_asked;
pub use allocation::{Allocation, AllocationError};
pub use node::NodeError;
pub(super) use node::{BEAT, Node};
pub use protocol::NodeFacts;
pub(super) use protocol::SILENT_WAITS;

use futures_util::future::join_all;
use std::path::Path;

/// A variable that is set to something.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the nodes of a job have, each asked through a step of a second.
///
/// # Errors
/// Names a node that no step reaches.
pub async fn survey(job: &Allocation, program: &Path) -> Result<Vec<NodeFacts>, NodeError> {
    let nodes = join_all(job.nodes.iter().map(|name| Node::reach(&job.id, name, program))).await;
    nodes.into_iter().map(|node| Ok(node?.facts().clone())).collect()
}
