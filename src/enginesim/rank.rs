//! Data-parallel ranks: engines behind one API server, each with a queue, KV memory and a side channel of its own.
//!
//! Numbered as vLLM numbers them: rank N listens on the side channel's port plus N, is called `ENGINE_ID_dpN`, and counts
//! under the label `engine="N"`. A request without a header that asks for a rank goes to the one with the fewest.
//! Deliberately absent: the lockstep in which vLLM's ranks of a mixture of experts take their steps.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::enginesim::config::Config;
use crate::enginesim::engine::{Clock, Engine, Parts};
use crate::enginesim::handoff::HandOffs;
use crate::enginesim::metrics::Metrics;
use crate::enginesim::sidechannel::{DecodeSide, Identity, PrefillSide};
use topobench::predict::model::cost::Link;

/// One of them.
pub(super) struct Rank {
    pub engine: Arc<Engine>,
    pub metrics: Arc<Metrics>,
    /// Present with a KV connector.
    pub decode_side: Option<DecodeSide>,
    /// Requests that it has.
    open: AtomicUsize,
}

impl Rank {
    /// Starts its engine, and serves its side channel if it has one.
    fn start(config: &Config, index: u32, clock: Clock, listener: Option<TcpListener>) -> std::io::Result<Self> {
        let metrics = Arc::new(Metrics::new(index));
        let hand_offs = Arc::new(HandOffs::default());
        let engine = Arc::new(Engine::start(Parts {
            scheduler: config.scheduler(),
            cost: config.cost(),
            clock,
            lease: config.kv.as_ref().map_or(Duration::ZERO, |kv| kv.lease),
            metrics: Arc::clone(&metrics),
            hand_offs: Arc::clone(&hand_offs),
            faults: config.faults.clone(),
        })?);
        if let (Some(kv), Some(listener)) = (&config.kv, listener) {
            let side = Arc::new(PrefillSide {
                identity: Identity {
                    engine_id: config.engine_id(kv, index),
                    model: config.model.name.to_owned(),
                    block_size: config.limits.block_size,
                    mode: kv.transfer.mode(),
                },
                hand_offs,
                engine: Arc::clone(&engine),
                metrics: Arc::clone(&metrics),
                cost: config.cost(),
                link: Mutex::new(Link::default()),
            });
            tokio::spawn(side.serve(listener));
        }
        let decode_side = config.kv.as_ref().map(|kv| DecodeSide {
            model: config.model.name.to_owned(),
            block_size: config.limits.block_size,
            mode: kv.transfer.mode(),
            handshake: config.handshake,
            cost: config.cost(),
            clock,
            link: Mutex::new(Link::default()),
            met: tokio::sync::Mutex::new(HashSet::new()),
            metrics: Arc::clone(&metrics),
        });
        Ok(Self { engine, metrics, decode_side, open: AtomicUsize::new(0) })
    }
}

/// All of an instance.
pub(super) struct Ranks {
    all: Vec<Rank>,
    /// Where the search for the least loaded begins.
    turn: AtomicUsize,
}

impl Ranks {
    /// One listener for each rank, if there is a KV connector.
    pub(super) fn start(config: &Config, listeners: Vec<TcpListener>) -> std::io::Result<Self> {
        let clock = Clock::new(config.speed);
        let mut listeners = listeners.into_iter();
        let ranks = 0..config.parallelism.data_parallel;
        let all = ranks.map(|rank| Rank::start(config, rank, clock, listeners.next())).collect::<Result<_, _>>()?;
        Ok(Self { all, turn: AtomicUsize::new(0) })
    }

    pub(super) fn get(&self, index: usize) -> &Rank {
        &self.all[index]
    }

    pub(super) fn metrics(&self) -> impl Iterator<Item = &Metrics> {
        self.all.iter().map(|rank| rank.metrics.as_ref())
    }

    /// The rank that serves a request: the one asked for, else the least loaded, in turn where loads are equal.
    pub(super) fn enter(&self, asked: Option<usize>) -> usize {
        let chosen = asked.unwrap_or_else(|| {
            let first = self.turn.fetch_add(1, Ordering::Relaxed);
            let in_turn = (0..self.all.len()).map(|step| (first + step) % self.all.len());
            in_turn.min_by_key(|index| self.all[*index].open.load(Ordering::Relaxed)).unwrap_or_default()
        });
        self.all[chosen].open.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// The request has ended.
    pub(super) fn leave(&self, rank: usize) {
        self.all[rank].open.fetch_sub(1, Ordering::Relaxed);
    }
}
