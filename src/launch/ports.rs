//! Ports: an HTTP port, a NIXL side channel and a window for vLLM's internal ports for every instance, all seen free
//! before anything is spawned.
//!
//! vLLM reacts badly to a taken port: on the side channel a thread dies and startup hangs for ever, on the HTTP port it
//! exits after half a minute of imports. So every port is tried by binding it, on loopback and on all addresses, and
//! the holder of a taken one is named. Ports stay below the kernel's usual range of ephemeral ports (32768 and above),
//! where any outgoing connection could take one between our check and the engine's bind. Between two topobench on one
//! host, a lease (an abstract Unix socket, gone with its holder) keeps a port from being chosen twice.

use super::procs::{self, ProcTable};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

const HTTP_BASE: u16 = 8100;
const SIDE_CHANNEL_BASE: u16 = 5600;
const INTERNAL_BASE: u16 = 20_000;
/// vLLM scans upwards from `VLLM_PORT`; a window this wide keeps instances apart.
const INTERNAL_WINDOW: u16 = 100;
/// Blocks of side channels begin and end on it, and ports on it are leased, so that no two topobench share a part of one.
const RASTER: u16 = 16;
/// Where the search for free ports ends.
const HIGHEST: u16 = 32_767;

/// The ports of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub http: u16,
    /// First port of the NIXL side channel; the instance may use as many as its stride.
    pub side_channel: u16,
    /// `VLLM_PORT`: where vLLM starts looking for internal ports.
    pub internal: u16,
}

impl Ports {
    /// `--master-port` of an engine that several nodes share: the last of its window, which vLLM's own search from the
    /// first one on doesn't reach.
    pub(super) fn master(self) -> u16 {
        self.internal + INTERNAL_WINDOW - 1
    }

    /// `--data-parallel-rpc-port` of such an engine.
    pub(super) fn data_parallel_rpc(self) -> u16 {
        self.internal + INTERNAL_WINDOW - 2
    }
}

/// An engine, or one node's share of it, that needs ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortNeed {
    pub ranks: u32,
    /// Whether it answers requests. Only then it gets the HTTP port that somebody asked for.
    pub serves: bool,
}

impl PortNeed {
    pub fn of_engine(ranks: u32) -> Self {
        PortNeed { ranks, serves: true }
    }
}

/// First ports that the user insists on; what is not given is searched for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    pub http: Option<u16>,
    pub side_channel: Option<u16>,
    pub internal: Option<u16>,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Http,
    SideChannel,
    Internal,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Http => "HTTP port",
            Purpose::SideChannel => "NIXL side-channel port",
            Purpose::Internal => "vLLM-internal port",
        })
    }
}

/// The process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: i32,
    pub command: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("{purpose} {port} is taken{}: stop that process, or ask for another port", held_by(.holder.as_ref()))]
    Taken { purpose: Purpose, port: u16, holder: Option<Holder> },
    #[error(
        "no block of {width} free ports for the {purpose} between {from} and {HIGHEST}: free some, or ask for another start"
    )]
    NoneFree { purpose: Purpose, width: u16, from: u16 },
    #[error("on node {node}: {detail}")]
    OnNode { node: String, detail: String },
}

fn held_by(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(" by pid {} ({})", holder.pid, holder.command),
        None => " (its holder belongs to another user or is another topobench)".to_string(),
    }
}

/// Keeps chosen ports from other topobench processes until it is dropped.
#[derive(Debug)]
pub struct PortLeases {
    _locks: Vec<UnixListener>,
}

/// Ports for each, in their order. vLLM's data-parallel ranks take side channels from the first one
/// on: `VLLM_NIXL_SIDE_CHANNEL_PORT` plus the rank's index; up to 0.10 every rank of any kind had one.
pub fn choose(needs: &[PortNeed], request: PortRequest) -> Result<(Vec<Ports>, PortLeases), PortError> {
    let mut search = PortSearch { given: HashSet::new(), locks: Vec::new() };
    let mut next = (request.http, request.side_channel, request.internal);
    let mut chosen = Vec::with_capacity(needs.len());
    for &PortNeed { ranks, serves } in needs {
        let stride = u16::try_from(ranks).unwrap_or(u16::MAX).checked_next_multiple_of(RASTER).unwrap_or(u16::MAX);
        let mut any = None;
        let http = search.block(Purpose::Http, if serves { &mut next.0 } else { &mut any }, HTTP_BASE, 1)?;
        let side_channel = search.block(Purpose::SideChannel, &mut next.1, SIDE_CHANNEL_BASE, stride)?;
        let internal = search.block(Purpose::Internal, &mut next.2, INTERNAL_BASE, INTERNAL_WINDOW)?;
        chosen.push(Ports { http, side_channel, internal });
    }
    Ok((chosen, PortLeases { _locks: search.locks }))
}

struct PortSearch {
    given: HashSet<u16>,
    locks: Vec<UnixListener>,
}

impl PortSearch {
    /// A block of `width` free ports: exactly at `requested` (moved on past it for the next instance), or the first
    /// one from `base` upwards.
    fn block(
        &mut self,
        purpose: Purpose,
        requested: &mut Option<u16>,
        base: u16,
        width: u16,
    ) -> Result<u16, PortError> {
        let Some(start) = *requested else { return self.first_free(purpose, base, width) };
        if let Err(port) = self.take(start, width) {
            return Err(PortError::Taken { purpose, port, holder: port_holder(port) });
        }
        *requested = Some(start.saturating_add(width));
        Ok(start)
    }

    fn first_free(&mut self, purpose: Purpose, base: u16, width: u16) -> Result<u16, PortError> {
        let none = PortError::NoneFree { purpose, width, from: base };
        let mut start = base;
        while let Some(end) = start.checked_add(width).filter(|&end| end <= HIGHEST) {
            match self.take(start, width) {
                Ok(()) => return Ok(start),
                // Windows keep their raster, single ports follow on each other.
                Err(_) => start = end,
            }
        }
        Err(none)
    }

    /// Takes all ports of a block, or names the first that is not free.
    fn take(&mut self, start: u16, width: u16) -> Result<(), u16> {
        let block: Vec<u16> = (start..start.saturating_add(width)).collect();
        if let Some(&taken) = block.iter().find(|p| self.given.contains(p) || !is_free(**p)) {
            return Err(taken);
        }
        let on_raster = block.iter().copied().filter(|port| *port == start || port.is_multiple_of(RASTER));
        let locks = on_raster.map(|port| lease(port).ok_or(port)).collect::<Result<Vec<_>, _>>()?;
        self.locks.extend(locks);
        self.given.extend(block);
        Ok(())
    }
}

/// Whether the port can be bound on loopback and on all addresses.
pub fn is_free(port: u16) -> bool {
    [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].into_iter().all(|ip| TcpListener::bind((ip, port)).is_ok())
}

fn lease(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("topobench-port-{port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// Who listens on a TCP port; `None` when nobody does or the listener's process is hidden from this user.
pub fn port_holder(port: u16) -> Option<Holder> {
    let pid = *listeners(port).first()?;
    Some(Holder { pid, command: procs::command_line(pid) })
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listener {
    /// Only processes of the engine that was asked about.
    pub(super) is_ours: bool,
    /// Somebody else; `None` where nobody listens, or the process is hidden from this user.
    pub(super) holder: Option<Holder>,
}

/// Who listens on a port; `guardian` is the pid of the guardian of the engine that should.
pub(super) fn listener(port: u16, guardian: i32) -> Listener {
    let living = ProcTable::read().descendants(guardian);
    let tree: Vec<i32> = living.iter().filter(|p| !p.zombie).map(|p| p.pid).collect();
    let is_ours = listener_belongs_to(port, &tree);
    Listener { is_ours, holder: port_holder(port).filter(|_| !is_ours) }
}

/// Those of these ports on which somebody listens.
pub(super) fn held(ports: &[u16]) -> Vec<u16> {
    ports.iter().copied().filter(|port| port_holder(*port).is_some()).collect()
}

/// Whether a process among `pids` listens on the port, and nobody else does.
pub fn listener_belongs_to(port: u16, pids: &[i32]) -> bool {
    let listeners = listeners(port);
    !listeners.is_empty() && listeners.iter().all(|pid| pids.contains(pid))
}

/// Pids that hold a listening socket on the port. A socket that a process inherited without using it counts too.
fn listeners(port: u16) -> Vec<i32> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let inodes: HashSet<u64> = tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let owners = socket_owners();
    let mut pids: Vec<i32> = inodes.iter().filter_map(|inode| owners.get(inode)).flatten().copied().collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Socket inode -> pids that hold it, for every process this user may look into.
fn socket_owners() -> HashMap<u64, Vec<i32>> {
    let mut owners: HashMap<u64, Vec<i32>> = HashMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        for fd in process.fd().into_iter().flatten().flatten() {
            if let procfs::process::FDTarget::Socket(inode) = fd.target {
                owners.entry(inode).or_default().push(process.pid);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let port = listener.local_addr().expect("has an address").port();
        (listener, port)
    }

    #[test]
    fn instances_get_disjoint_blocks_wide_enough_for_their_ranks() {
        let (ports, _leases) =
            choose(&[1, 32, 1].map(PortNeed::of_engine), PortRequest::default()).expect("this host has free ports");
        let apart = |a: u16, a_width: u16, b: u16, b_width: u16| a + a_width <= b || b + b_width <= a;
        assert!(apart(ports[0].side_channel, 16, ports[1].side_channel, 32));
        assert!(apart(ports[1].side_channel, 32, ports[2].side_channel, 16));
        assert!(apart(ports[0].internal, 100, ports[1].internal, 100));
        let http: HashSet<u16> = ports.iter().map(|p| p.http).collect();
        assert_eq!(http.len(), 3);
    }

    /// Every port that these instances may use: HTTP, a side channel a rank, the internal window.
    fn used(ranks: &[u32], ports: &[Ports]) -> Vec<u16> {
        let of = |(ranks, ports): (&u32, &Ports)| {
            let side = (0..*ranks as u16).map(move |rank| ports.side_channel + rank);
            let (http, internal) = (ports.http, ports.internal);
            std::iter::once(http).chain(side).chain(internal..internal + INTERNAL_WINDOW).collect::<Vec<u16>>()
        };
        ranks.iter().zip(ports).flat_map(of).collect()
    }

    fn needs(ranks: &[u32]) -> Vec<PortNeed> {
        ranks.iter().copied().map(PortNeed::of_engine).collect()
    }

    #[test]
    fn a_port_that_was_asked_for_is_kept_for_who_answers_requests() {
        let (_listener, taken) = listen();
        let request = PortRequest { http: Some(taken), ..Default::default() };
        let share = PortNeed { ranks: 4, serves: false };
        let (ports, _leases) = choose(&[share], request).expect("needs no port in particular");
        assert_ne!(ports[0].http, taken);
        assert!(ports[0].master() < ports[0].internal + INTERNAL_WINDOW);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Two fleets of up to sixteen instances between them, as two topobench on one host would choose.
        #[test]
        fn no_port_is_for_two_instances_of_any_fleet(
            ranks in prop::collection::vec(1u32..=32, 2..=16),
            first in 1usize..16,
        ) {
            let (ours, theirs) = ranks.split_at(first.min(ranks.len() - 1));
            let (our_ports, _our_leases) = choose(&needs(ours), PortRequest::default()).expect("free ports");
            let (their_ports, _their_leases) = choose(&needs(theirs), PortRequest::default()).expect("free ports");
            let all = [used(ours, &our_ports), used(theirs, &their_ports)].concat();
            let unique: HashSet<u16> = all.iter().copied().collect();
            prop_assert_eq!(unique.len(), all.len(), "{:?} {:?}", our_ports, their_ports);
        }
    }

    #[test]
    fn a_taken_requested_port_names_its_holder() {
        let (_listener, port) = listen();
        let error = choose(&[PortNeed::of_engine(1)], PortRequest { http: Some(port), ..Default::default() })
            .expect_err("it is taken");
        let said = error.to_string();
        assert!(said.contains(&format!("HTTP port {port}")), "{said}");
        assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
    }

    #[test]
    fn a_taken_port_inside_a_requested_window_is_found() {
        let (_listener, port) = listen();
        let request = PortRequest { side_channel: Some(port - 7), ..Default::default() };
        match choose(&[PortNeed::of_engine(1)], request) {
            // Another process may hold an earlier port of the window; ours or that one must be named.
            Err(PortError::Taken { purpose: Purpose::SideChannel, port: named, .. }) => {
                assert!((port - 7..=port).contains(&named));
            }
            other => panic!("expected a taken side-channel port, got {other:?}"),
        }
    }

    #[test]
    fn leased_ports_are_not_given_twice_until_the_lease_ends() {
        let (first, leases) = choose(&[PortNeed::of_engine(1)], PortRequest::default()).expect("free ports");
        let (second, _others) = choose(&[PortNeed::of_engine(1)], PortRequest::default()).expect("free ports");
        assert_ne!(first[0].http, second[0].http);
        assert!(lease(first[0].http).is_none());
        drop(leases);
        assert!(lease(first[0].http).is_some());
    }

    #[test]
    fn listeners_are_told_apart_by_process() {
        let (_listener, port) = listen();
        let me = std::process::id().cast_signed();
        assert!(listener_belongs_to(port, &[me]));
        assert!(!listener_belongs_to(port, &[1]));
        assert_eq!(port_holder(port).map(|h| h.pid), Some(me));
    }

    #[test]
    fn nobody_holds_a_free_port() {
        let (listener, port) = listen();
        drop(listener);
        assert_eq!(port_holder(port), None);
        assert!(!listener_belongs_to(port, &[std::process::id().cast_signed()]));
    }
}
