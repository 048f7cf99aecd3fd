//! How large a deployment is that serves requests whole.

use crate::plan::arm::{EngineSizes, Sizes};
use crate::plan::typed::whole_number;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SizeArgs {
    /// Tensor-parallel size: GPUs that share every layer of one instance [default: 1] [env: TENSOR_PARALLEL_SIZE]
    #[arg(long, visible_alias = "tensor-parallel-size", value_parser = whole_number::<u32>)]
    pub tp: Option<u32>,
    /// Data-parallel size: copies of the attention layers in one instance, each with its own queue [default: 1]
    #[arg(long, visible_alias = "data-parallel-size", value_parser = whole_number::<u32>)]
    pub dp: Option<u32>,
    /// Pipeline-parallel size: stages of one instance [default: 1]
    #[arg(long, visible_alias = "pipeline-parallel-size", value_parser = whole_number::<u32>)]
    pub pp: Option<u32>,
    /// Expert parallel: whole experts on each GPU of an instance, for mixtures of experts
    #[arg(long, visible_alias = "enable-expert-parallel")]
    pub ep: bool,
    /// Instances; more than one are balanced by the proxy [default: 1]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub replicas: Option<u32>,
}

impl SizeArgs {
    pub(crate) fn sizes(&self) -> Sizes {
        // A switch that wasn't given leaves the topology file's.
        let engine = EngineSizes { tp: self.tp, dp: self.dp, pp: self.pp, ep: self.ep.then_some(true) };
        Sizes { replicas: self.replicas, engine, ..Sizes::default() }
    }
}
