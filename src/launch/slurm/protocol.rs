//! What topobench asks a node, and what the node answers: a line of JSON each.

use crate::launch::guardian::Departure;
use crate::launch::lost::LostEngine;
use crate::launch::ports::{Listener, PortNeed, PortRequest, Ports};
use crate::observe::gpu::{GpuInfo, GpuSample};
use serde::{Deserialize, Serialize};

/// First argument of the agent's hidden mode.
pub(super) const MODE: &str = "__node-agent";
/// Sent this often where nothing else is asked, so that the other side knows that topobench is there.
pub(super) const BEAT_SECS: u64 = 5;
/// Waits of a second after which topobench counts as gone. Waits and not time: a job that was suspended goes on.
pub(in crate::launch) const SILENT_WAITS: u32 = 60;

/// A question or its answer. A question that nobody waits for any more is answered all the same.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) is: T,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeQuestion {
    /// Wants no answer.
    Alive,
    Facts,
    /// They stay taken until the agent ends.
    Ports {
        needs: Vec<PortNeed>,
        request: PortRequest,
    },
    /// Who listens on a port; the guardian's is the engine that should.
    Listener {
        port: u16,
        guardian: i32,
    },
    /// Which of these ports have a listener.
    Held {
        ports: Vec<u16>,
    },
    Gpus,
    /// Now, and of which moment is the asker's to say.
    Sample,
    SharedMemory,
    Kill {
        pid: i32,
    },
    Sweep {
        lost: LostEngine,
        limit_secs: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeAnswer {
    Facts(NodeFacts),
    Ports(Result<Vec<Ports>, String>),
    Listener(Listener),
    Held(Vec<u16>),
    Gpus(Vec<GpuInfo>),
    Sample(Vec<GpuSample>),
    SharedMemory(Option<u64>),
    Killed,
    Swept(Departure),
}

/// A node as a step on it sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    pub name: String,
    /// By which the other nodes reach it.
    pub address: String,
    /// What an engine may be given: the entries of the step's `CUDA_VISIBLE_DEVICES` or its like, else as many as Slurm
    /// counts, else those that the driver lists.
    pub visible: Vec<String>,
    /// As the driver lists them.
    pub gpus: Vec<GpuInfo>,
}
