//! A fleet's instances with their ports and commands, before anything is started, and the order in which they may start.

use super::argv::{self, EngineCommand, PartOf};
use super::error::LaunchError;
use super::host::Host;
use super::hosts::Hosts;
use super::ports::{self, PortError, PortLeases, PortNeed, PortRequest, Ports};
use super::version::EngineVersion;
use crate::plan::deployment::{FleetPlan, GpuAssignment, InstancePlan, JobNode};
use crate::plan::parallelism::Parallelism;
use crate::plan::topology::Role;
use serde::Serialize;
use std::collections::BTreeMap;

/// An instance with its ports and command, before its start.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedInstance {
    pub name: String,
    pub role: Role,
    pub index: u32,
    #[serde(flatten)]
    pub parallelism: Parallelism,
    pub gpus: GpuAssignment,
    /// `None`: this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<JobNode>,
    pub ports: Ports,
    pub command: EngineCommand,
    /// Those beside the first, where several nodes have a part of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_parts: Vec<PlannedPart>,
}

/// What one further node runs of an instance.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedPart {
    /// `replica-0@n2`.
    pub name: String,
    pub gpus: GpuAssignment,
    pub node: JobNode,
    pub ports: Ports,
    pub command: EngineCommand,
}

impl PlannedInstance {
    pub(super) fn base_url(&self) -> String {
        let address = self.node.as_ref().map_or("127.0.0.1", |node| &node.address);
        match address.contains(':') {
            true => format!("http://[{address}]:{}", self.ports.http),
            false => format!("http://{address}:{}", self.ports.http),
        }
    }
}

/// Chooses ports and builds the commands of a fleet; starts nothing. The ports stay leased while the second value
/// lives.
pub fn plan_commands(
    plan: &FleetPlan,
    http_port: Option<u16>,
    version: Option<EngineVersion>,
) -> Result<(Vec<PlannedInstance>, PortLeases), LaunchError> {
    let request = port_request(plan, http_port)?;
    let parts: Vec<PartPosition> = positions(plan).collect();
    let needs: Vec<PortNeed> = parts.iter().map(|position| position.need(plan)).collect();
    let (ports, leases) = ports::choose(&needs, request)?;
    Ok((with_ports(plan, parts.into_iter().zip(ports).collect(), version)?, leases))
}

/// A part of an instance, both by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PartPosition {
    instance: usize,
    part: usize,
}

impl PartPosition {
    fn need(self, plan: &FleetPlan) -> PortNeed {
        PortNeed { ranks: plan.instances[self.instance].parallelism.gpus(), serves: self.part == 0 }
    }

    fn is_on(self, plan: &FleetPlan, node: &str) -> bool {
        plan.instances[self.instance].node_of_part(self.part).is_some_and(|there| there.name == node)
    }
}

fn positions(plan: &FleetPlan) -> impl Iterator<Item = PartPosition> {
    let instances = plan.instances.iter().enumerate();
    instances.flat_map(|(instance, planned)| (0..planned.parts()).map(move |part| PartPosition { instance, part }))
}

/// [`plan_commands`] with ports that are free where each instance runs. Those on nodes stay taken while `hosts` are known.
pub(super) async fn plan_on(
    hosts: &Hosts,
    plan: &FleetPlan,
    http_port: Option<u16>,
    version: Option<EngineVersion>,
) -> Result<(Vec<PlannedInstance>, Option<PortLeases>), LaunchError> {
    if !hosts.are_nodes() {
        return plan_commands(plan, http_port, version).map(|(planned, leases)| (planned, Some(leases)));
    }
    let request = port_request(plan, http_port)?;
    let mut all = BTreeMap::new();
    for host in hosts.all() {
        let Host::Node(node) = host else { continue };
        let name = &node.facts().name;
        let there: Vec<PartPosition> = positions(plan).filter(|position| position.is_on(plan, name)).collect();
        let needs = there.iter().map(|position| position.need(plan)).collect();
        let refused = |detail| PortError::OnNode { node: name.clone(), detail };
        let ports = node.choose_ports(needs, request).await?.map_err(refused)?;
        all.extend(there.into_iter().zip(ports));
    }
    Ok((with_ports(plan, all, version)?, None))
}

fn port_request(plan: &FleetPlan, http_port: Option<u16>) -> Result<PortRequest, LaunchError> {
    Ok(PortRequest {
        http: http_port,
        side_channel: argv::requested_port(plan, argv::SIDE_CHANNEL_PORT)?,
        internal: argv::requested_port(plan, argv::INTERNAL_PORT)?,
    })
}

/// In the plan's order.
fn with_ports(
    plan: &FleetPlan,
    ports: BTreeMap<PartPosition, Ports>,
    version: Option<EngineVersion>,
) -> Result<Vec<PlannedInstance>, LaunchError> {
    let mut all: Vec<PlannedInstance> = Vec::new();
    for (PartPosition { instance: at, part }, ports) in ports {
        let instance = &plan.instances[at];
        // Parts come in their order, the first one first.
        let first = all.last().filter(|_| part > 0).map_or(ports, |instance| instance.ports);
        let command = argv::command(plan, instance, PartOf { number: part, ports, first }, version)?;
        match (all.last_mut(), instance.node_of_part(part)) {
            (Some(planned), Some(node)) if part > 0 => planned.more_parts.push(PlannedPart {
                name: format!("{}@{}", planned.name, node.name),
                gpus: instance.gpus_of_part(part),
                node: node.clone(),
                ports,
                command,
            }),
            _ => all.push(planned(instance, ports, command)),
        }
    }
    Ok(all)
}

fn planned(instance: &InstancePlan, ports: Ports, command: EngineCommand) -> PlannedInstance {
    PlannedInstance {
        name: instance.name(),
        role: instance.role,
        index: instance.index,
        parallelism: instance.parallelism,
        gpus: instance.gpus.clone(),
        node: instance.node.clone(),
        ports,
        command,
        more_parts: Vec::new(),
    }
}

/// Groups of instances, by position, that share a GPU with one another directly or through a third.
pub(super) fn lanes(planned: &[PlannedInstance]) -> Vec<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    for (position, instance) in planned.iter().enumerate() {
        let shares = |lane: &Vec<usize>| {
            lane.iter().any(|&other| planned[other].gpus.ids().iter().any(|id| instance.gpus.ids().contains(id)))
        };
        let (sharing, apart): (Vec<_>, Vec<_>) = lanes.into_iter().partition(shares);
        let mut lane: Vec<usize> = sharing.into_iter().flatten().collect();
        lane.push(position);
        lane.sort_unstable();
        lanes = apart;
        lanes.push(lane);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::secrecy::EngineEnv;
    use std::time::Duration;

    fn plan(gpus: &[&[&str]]) -> FleetPlan {
        let instance = |(index, ids): (usize, &&[&str])| InstancePlan {
            role: Role::Replica,
            index: index as u32,
            parallelism: Parallelism::tensor(ids.len().max(1) as u32),
            gpus: GpuAssignment::Virtual(ids.iter().map(|id| (*id).to_string()).collect()),
            args: vec![],
            node: None,
            more_nodes: Vec::new(),
        };
        FleetPlan {
            program: "vllm".into(),
            model: "m".into(),
            served_model_name: "m".into(),
            api_key: None,
            env: EngineEnv::default(),
            kv: None,
            instances: gpus.iter().enumerate().map(instance).collect(),
            ready_timeout: Duration::from_secs(10),
        }
    }

    fn lanes_of(gpus: &[&[&str]]) -> Vec<Vec<usize>> {
        let (planned, _leases) = plan_commands(&plan(gpus), None, None).expect("free ports");
        let mut lanes = lanes(&planned);
        lanes.sort();
        lanes
    }

    #[test]
    fn instances_on_their_own_gpus_start_side_by_side_and_sharers_in_turn() {
        assert_eq!(lanes_of(&[&["0"], &["1"], &[]]), [vec![0], vec![1], vec![2]]);
        assert_eq!(lanes_of(&[&["0"], &["1"], &["0", "1"], &["2"]]), [vec![0, 1, 2], vec![3]]);
    }

    #[test]
    fn planned_instances_have_ports_and_commands_of_their_own() {
        let (planned, _leases) = plan_commands(&plan(&[&["0"], &["1"]]), None, None).expect("free ports");
        assert_eq!(planned[1].name, "replica-1");
        assert_ne!(planned[0].ports.http, planned[1].ports.http);
        assert!(planned[1].command.args.contains(&planned[1].ports.http.to_string()));
    }
}
