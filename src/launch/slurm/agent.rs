//! The node's end: answers topobench's questions from a step of its own, until its standard input ends.

use super::protocol::{MODE, NodeAnswer, NodeFacts, NodeQuestion, Numbered, SILENT_WAITS};
use super::set;
use crate::launch::ports::{self, PortLeases};
use crate::launch::shared_memory;
use crate::observe::gpus::Gpus;
use crate::units::Offset;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Runs the agent if this process was started as one: to be asked before anything else looks at the arguments.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|arg| arg == MODE);
    asked.then(|| match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "node-agent: {error}");
            ExitCode::FAILURE
        }
    })
}

fn serve() -> io::Result<()> {
    let _ = nix::unistd::setsid();
    prctl::set_name(c"node-agent")?;
    // A cancelled job asks politely first; the agent is needed until topobench has taken its engines down.
    let polite = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
    polite.into_iter().collect::<SigSet>().thread_block()?;
    let (heard, lines) = mpsc::channel();
    std::thread::spawn(move || io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| heard.send(line)));
    let mut leases = Vec::new();
    let mut silent = 0;
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                silent = 0;
                let Numbered { number, is: question } = serde_json::from_str(&line)?;
                let Some(is) = answer(question, &mut leases) else { continue };
                let mut line = serde_json::to_string(&Numbered { number, is })?;
                line.push('\n');
                io::stdout().lock().write_all(line.as_bytes())?;
            }
            Err(RecvTimeoutError::Timeout) if silent < SILENT_WAITS => silent += 1,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn answer(question: NodeQuestion, leases: &mut Vec<PortLeases>) -> Option<NodeAnswer> {
    Some(match question {
        NodeQuestion::Alive => return None,
        NodeQuestion::Facts => NodeAnswer::Facts(facts()),
        NodeQuestion::Ports { needs, request } => NodeAnswer::Ports(match ports::choose(&needs, request) {
            Ok((ports, taken)) => {
                leases.push(taken);
                Ok(ports)
            }
            Err(error) => Err(error.to_string()),
        }),
        NodeQuestion::Listener { port, guardian } => NodeAnswer::Listener(ports::listener(port, guardian)),
        NodeQuestion::Held { ports } => NodeAnswer::Held(ports::held(&ports)),
        NodeQuestion::Gpus => NodeAnswer::Gpus(Gpus::detect().list()),
        NodeQuestion::Sample => NodeAnswer::Sample(Gpus::detect().sample(Offset::ZERO)),
        NodeQuestion::SharedMemory => NodeAnswer::SharedMemory(shared_memory::free()),
        NodeQuestion::Kill { pid } => {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            NodeAnswer::Killed
        }
        NodeQuestion::Sweep { lost, limit_secs } => NodeAnswer::Swept(lost.sweep(Duration::from_secs(limit_secs))),
    })
}

fn facts() -> NodeFacts {
    let gpus = Gpus::detect().list();
    let name = set("SLURMD_NODENAME").or_else(hostname);
    let indices = |count: usize| (0..count).map(|index| index.to_string()).collect::<Vec<_>>();
    let counted = set("SLURM_GPUS_ON_NODE").and_then(|count| count.parse().ok()).map(indices);
    let listed = || gpus.iter().map(|gpu| gpu.index.to_string()).collect();
    let visible = listed_by_slurm().or(counted).unwrap_or_else(listed);
    NodeFacts { name: name.unwrap_or_default(), address: address().to_string(), visible, gpus }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_string())
}

/// What Slurm gives a step to see; where it confines devices, they are counted from 0.
fn listed_by_slurm() -> Option<Vec<String>> {
    let variables = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"];
    let list = variables.into_iter().find_map(set)?;
    Some(list.split(',').map(|id| id.trim().to_string()).filter(|id| !id.is_empty()).collect())
}

/// The address under which this node reaches the one that topobench runs on: the other nodes reach it there too.
fn address() -> IpAddr {
    let homes = ["SLURM_SRUN_COMM_HOST", "SLURM_LAUNCH_NODE_IPADDR"].into_iter().filter_map(set);
    let towards = homes.chain(hostname()).find_map(|host| source_towards(&host));
    towards.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Sends nothing: connecting a datagram socket only picks the route.
fn source_towards(host: &str) -> Option<IpAddr> {
    (host, 9).to_socket_addrs().ok()?.find_map(|to| {
        let any = match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}
