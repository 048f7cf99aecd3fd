//! Whom the first requests of a warm-up go to: every pair of prefill and decode, or every replica, and of each every
//! data-parallel rank.

use super::live::LiveArm;
use crate::observe::fleet::EngineTarget;
use crate::plan::topology::Role;

/// Headers that send one request to where it is meant for.
pub(super) type Pins = Vec<(String, String)>;

/// One request's way, with its name in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) pins: Pins,
    pub(super) name: String,
}

/// vLLM's own header: which data-parallel rank serves the request.
const RANK: &str = "x-data-parallel-rank";

/// An engine by its index, or one rank of it.
#[derive(Debug, Clone, Copy)]
struct EngineQueue<'a> {
    engine: &'a EngineTarget,
    index: usize,
    rank: Option<u32>,
}

impl EngineQueue<'_> {
    fn name(&self) -> String {
        match self.rank {
            Some(rank) => format!("{} rank {rank}", self.engine.name),
            None => self.engine.name.clone(),
        }
    }

    fn pins(&self, engine: &str, rank: &str) -> Pins {
        let pin = |header: &str, value: String| (header.to_string(), value);
        let rank = self.rank.map(|number| pin(rank, number.to_string()));
        std::iter::once(pin(engine, self.index.to_string())).chain(rank).collect()
    }
}

/// Every way there is through a deployment.
pub(super) fn ways(live: &LiveArm) -> Vec<Way> {
    let queues = |role: Role| -> Vec<EngineQueue<'_>> {
        let engines = live.of_role(role).enumerate();
        engines.flat_map(|(index, engine)| ranks(engine).map(move |rank| EngineQueue { engine, index, rank })).collect()
    };
    let (prefill, decode) = (queues(Role::Prefill), queues(Role::Decode));
    if !decode.is_empty() && live.proxy.is_some() {
        let pairs = prefill.iter().flat_map(|p| decode.iter().map(move |d| (p, d)));
        return pairs.map(|(p, d)| pair(p, d)).collect();
    }
    let direct = live.proxy.is_none();
    let way = |rank: &EngineQueue<'_>| {
        let mut pins = rank.pins("x-topobench-backend", RANK);
        if direct {
            pins.retain(|(header, _)| header == RANK);
        }
        let name = if pins.is_empty() { "to the server".to_string() } else { format!("to {}", rank.name()) };
        Way { pins, name }
    };
    queues(Role::Replica).iter().map(way).collect()
}

fn pair(prefill: &EngineQueue<'_>, decode: &EngineQueue<'_>) -> Way {
    let pins = [
        prefill.pins("x-topobench-prefill", "x-topobench-prefill-rank"),
        decode.pins("x-topobench-decode", "x-topobench-decode-rank"),
    ];
    Way { pins: pins.concat(), name: format!("from {} to {}", prefill.name(), decode.name()) }
}

/// `None` for an engine that has only one.
fn ranks(engine: &EngineTarget) -> impl Iterator<Item = Option<u32>> + use<> {
    let ranks = engine.ranks;
    (0..ranks.max(1)).map(move |rank| (ranks > 1).then_some(rank))
}
