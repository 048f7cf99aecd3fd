//! Why a plan was refused. Every message names the value, the place and the remedy; the exit code is 2.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum PlanError {
    #[error("cannot read the topology file {path}: {source}\nhint: give a file that exists, or a name: {known}")]
    TopologyUnreadable { path: String, known: String, source: std::io::Error },
    #[error("there is no topology `{name}`\nhint: known here: {known}; or give the path of a .toml or .yaml file")]
    TopologyUnknown { name: String, known: String },
    #[error(
        "there is no topology `{name}` for --engine {engine}\nhint: put one at topologies/{name}-{engine}.toml; engines with one: {known}"
    )]
    EngineUnknown { name: String, engine: String, known: String },
    #[error("topology {origin} is not valid: {detail}")]
    TopologyInvalid { origin: String, detail: String },
    #[error(
        "settings to try ({origin}): {detail}\nhint: list [[simple]] and [[nixl]] entries with settings = {{ flag = value }}, or give --tune off"
    )]
    Tuning { origin: String, detail: String },
    #[error("arm `{arm}`: {detail}\nhint: {remedy}")]
    Arm { arm: String, detail: String, remedy: String },
    #[error(
        "arm `{arm}` needs {need} GPUs ({size}) and there are {have} ({source_of_count})\nhint: use fewer or smaller instances"
    )]
    TooManyGpus { arm: String, size: String, need: u32, have: usize, source_of_count: String },
    #[error(
        "arm `{arm}` ({size}) needs {wanted} GPUs on one node for an engine, and no node has so many left ({origin})\nhint: use smaller instances, or ask for more nodes"
    )]
    NoNode { arm: String, size: String, wanted: u32, origin: String },
    #[error(
        "arm `{arm}` ({size}) has an engine of {wanted} GPUs, which is larger than a node, and no nodes have room for the same share of it ({origin})\nhint: vLLM wants as many GPUs on every node, with whole data-parallel ranks on a node or a rank over whole nodes: choose such sizes, or ask for more nodes"
    )]
    NoParts { arm: String, size: String, wanted: u32, origin: String },
    #[error(
        "arm `{arm}`: instance {instance} ({size}) can't run on the GPUs that `gpus` lists for it: {listed}\nhint: list those of one node, or of several nodes one after another, as many of each, with whole data-parallel ranks on a node or a rank over whole nodes"
    )]
    GpuParts { arm: String, instance: u32, size: String, listed: String },
    #[error(
        "arm `{arm}`: `gpus` lists {lists} instances, and the group has {replicas} replicas\nhint: give one list for each instance, or gpus = \"auto\""
    )]
    GpuLists { arm: String, lists: usize, replicas: u32 },
    #[error(
        "arm `{arm}`: `gpus` lists GPU {id}, and there are {known} ({origin})\nhint: list GPUs that are there, or gpus = \"auto\""
    )]
    GpuUnknown { arm: String, id: String, known: String, origin: String },
    #[error(
        "arm `{arm}`: instance {instance} takes {takes} GPUs ({size}), and `gpus` lists {got} for it\nhint: list tensor_parallel x data_parallel x pipeline_parallel GPUs"
    )]
    GpuListLength { arm: String, instance: u32, size: String, takes: u32, got: usize },
    #[error(
        "{} ({origin}) changes how many GPUs an engine takes, and topobench has to count them\nhint: {remedy}",
        crate::plan::mask::masked_text(arg)
    )]
    EngineArg { arg: String, origin: String, remedy: &'static str },
    #[error("invalid value `{value}` for {what}\nhint: {remedy}")]
    Value { what: String, value: String, remedy: String },
    #[error("{what} is missing\nhint: {remedy}")]
    Missing { what: String, remedy: String },
    #[error(
        "{what} of {input} input + {output} output tokens does not fit into the model's context of {context} tokens (from {origin})\nhint: shorten --random-input-len or --random-output-len, raise --max-model-len with --engine-arg, or give --overlong clip"
    )]
    ContextOverflow { what: String, input: u32, output: u32, context: u32, origin: String },
    #[error("SLO `{word}`: {detail}\nhint: {remedy}")]
    Slo { word: String, detail: String, remedy: String },
    #[error(transparent)]
    Workload(#[from] crate::plan::workload::WorkloadError),
}

impl PlanError {
    pub(super) fn value(what: &str, value: impl ToString, remedy: &str) -> PlanError {
        PlanError::Value { what: what.to_string(), value: value.to_string(), remedy: remedy.to_string() }
    }
}
