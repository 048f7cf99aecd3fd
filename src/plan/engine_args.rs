//! What may not stand among an engine's arguments or in its environment: whatever makes it take more GPUs than
//! topobench counts. A run that used twice the GPUs it reports would be a wrong answer that looks right.

use super::environment::Environment;
use super::error::PlanError;
use super::gpu_flags::refusal;
use super::topology::{Role, Topology};

/// vLLM reads its data-parallel size from these where no flag gives it.
const REFUSED_VARIABLES: &str = "VLLM_DP_";
const DATA_PARALLEL_SIZE: &str = "VLLM_DP_SIZE";
const DATA_PARALLEL: &str =
    "leave it out and give --dp (or --prefill-dp, --decode-dp), or data_parallel in the topology file";

/// Checks everything that reaches the engines of a topology beside topobench's own arguments.
///
/// # Errors
/// The first flag or variable that changes the number of GPUs, and an argument that is empty.
pub(super) fn check(topology: &Topology, typed: &[String], env: &Environment) -> Result<(), PlanError> {
    check_list(typed, "from --engine-arg or after `--`")?;
    check_list(&topology.args, &format!("from args of topology `{}`", topology.name))?;
    for (role, group) in topology.groups() {
        check_list(&group.args, &format!("from args in [{}] of topology `{}`", table_of(role), topology.name))?;
    }
    if let Some((name, _)) = topology.env.iter().find(|(name, _)| name.starts_with(REFUSED_VARIABLES)) {
        let origin = format!("from env of topology `{}`", topology.name);
        return Err(PlanError::EngineArg { arg: name.clone(), origin, remedy: DATA_PARALLEL });
    }
    match env.get(DATA_PARALLEL_SIZE).filter(|size| *size != "1") {
        Some(size) => Err(PlanError::EngineArg {
            arg: format!("{DATA_PARALLEL_SIZE}={size}"),
            origin: "from the environment".to_string(),
            remedy: "unset it and give --dp (or --prefill-dp, --decode-dp), or data_parallel in the topology file",
        }),
        None => Ok(()),
    }
}

/// The name of a role's table in a topology file.
pub(super) fn table_of(role: Role) -> &'static str {
    match role {
        Role::Replica => "group",
        Role::Prefill => "prefill",
        Role::Decode => "decode",
    }
}

fn check_list(args: &[String], origin: &str) -> Result<(), PlanError> {
    if args.iter().any(|arg| arg.trim().is_empty()) {
        return Err(PlanError::Value {
            what: format!("an engine argument ({origin})"),
            value: String::new(),
            remedy: "leave empty arguments out: an engine takes them for the model's name".to_string(),
        });
    }
    match args.iter().find_map(|arg| Some((arg, refusal(arg)?))) {
        Some((arg, remedy)) => Err(PlanError::EngineArg { arg: arg.clone(), origin: origin.to_string(), remedy }),
        None => Ok(()),
    }
}
