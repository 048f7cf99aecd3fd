//! A deployment in virtual time: engines, and a router that hands requests to them as topobench's proxy does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use super::instance::{Instance, Job};
use super::workload::Arrival;
use crate::enginesim::preset::{Gpu, Model};
use crate::enginesim::sequence::{KvOrigin, SequenceId};

/// Time that a router adds to each hop.
const ROUTER_HOP: Duration = Duration::from_micros(500);

/// Equal engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub replicas: u32,
    pub tensor_parallel: u32,
}

/// The ways to spend GPUs that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// Engines that serve requests whole; a router in front of more than one.
    Simple(Group),
    PrefillDecode {
        prefill: Group,
        decode: Group,
    },
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arm::Simple(Group { replicas: 1, tensor_parallel }) => write!(f, "TP{tensor_parallel}"),
            Arm::Simple(group) => write!(f, "{}xTP{}", group.replicas, group.tensor_parallel),
            Arm::PrefillDecode { prefill, decode } => write!(f, "{}P{}D", prefill.replicas, decode.replicas),
        }
    }
}

/// Latencies of one request, both in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub ttft_ms: f64,
    pub tpot_ms: f64,
}

/// When the first and the last token of a request appeared.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    first: Option<Duration>,
    last: Duration,
}

/// Serves `arrivals` (in order of time) to the end; one entry a request.
pub fn predict(model: &'static Model, gpu: &Gpu, arm: Arm, arrivals: &[Arrival]) -> Vec<Latency> {
    let mut fleet = Fleet::new(model, gpu, arm, arrivals);
    while fleet.advance() {}
    let latency = |(arrival, span): (&Arrival, &Span)| {
        let first = span.first.unwrap_or(span.last);
        let gaps = f64::from(arrival.output_tokens.saturating_sub(1).max(1));
        Latency {
            ttft_ms: first.saturating_sub(arrival.at).as_secs_f64() * 1e3,
            tpot_ms: (span.last - first).as_secs_f64() * 1e3 / gaps,
        }
    };
    arrivals.iter().zip(&fleet.spans).map(latency).collect()
}

/// Where a request stands before a group of engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// At the engines that serve it whole, or compute its prompt.
    Entry,
    Decode,
}

struct Fleet<'a> {
    arrivals: &'a [Arrival],
    entry: Vec<Instance>,
    /// Empty where requests are served whole.
    decode: Vec<Instance>,
    /// Requests on their way to a group.
    routed: BinaryHeap<Reverse<(Duration, Stage, SequenceId)>>,
    spans: Vec<Span>,
}

impl<'a> Fleet<'a> {
    fn new(model: &'static Model, gpu: &Gpu, arm: Arm, arrivals: &'a [Arrival]) -> Self {
        let group = |group: Group| -> Vec<Instance> {
            (0..group.replicas).map(|_| Instance::new(model, gpu, group.tensor_parallel)).collect()
        };
        let (entry, decode) = match arm {
            Arm::Simple(engines) => (group(engines), Vec::new()),
            Arm::PrefillDecode { prefill, decode } => (group(prefill), group(decode)),
        };
        let hop = if entry.len() + decode.len() > 1 { ROUTER_HOP } else { Duration::ZERO };
        let arrive = |(id, arrival): (SequenceId, &Arrival)| Reverse((arrival.at + hop, Stage::Entry, id));
        let routed = (0..).zip(arrivals).map(arrive).collect();
        Self { arrivals, entry, decode, routed, spans: vec![Span::default(); arrivals.len()] }
    }

    /// Lets the next event happen; false when there is none left.
    fn advance(&mut self) -> bool {
        let engines = self.entry.iter().chain(&self.decode).enumerate();
        let engine = engines.filter_map(|(index, engine)| Some((engine.next_event()?, index))).min();
        let routed = self.routed.peek().map(|Reverse((at, ..))| *at);
        match (engine, routed) {
            (None, None) => return false,
            (Some((at, index)), routed) if routed.is_none_or(|routed| at < routed) => self.wake(index, at),
            _ => self.route(),
        }
        true
    }

    fn wake(&mut self, index: usize, now: Duration) {
        let computes_prompts = index < self.entry.len() && !self.decode.is_empty();
        let Some(engine) = self.entry.iter_mut().chain(&mut self.decode).nth(index) else { return };
        for token in engine.wake(now) {
            if computes_prompts {
                self.routed.push(Reverse((now + ROUTER_HOP, Stage::Decode, token.id)));
                continue;
            }
            let span = &mut self.spans[token.id as usize];
            span.first.get_or_insert(now);
            if token.is_last {
                span.last = now;
            }
        }
    }

    /// Hands the next request to an engine: the one with the fewest outstanding prompt tokens computes a prompt, the
    /// one with the fewest requests does the rest.
    fn route(&mut self) {
        let Some(Reverse((now, stage, id))) = self.routed.pop() else { return };
        let mut arrival = self.arrivals[id as usize];
        let prompt_only = stage == Stage::Entry && !self.decode.is_empty();
        let (group, kv) = match stage {
            Stage::Entry => (&mut self.entry, KvOrigin::Local),
            Stage::Decode => (&mut self.decode, KvOrigin::Remote),
        };
        let chosen = if prompt_only {
            arrival.output_tokens = 1;
            group.iter_mut().min_by_key(|engine| engine.outstanding_tokens())
        } else {
            group.iter_mut().min_by_key(|engine| engine.in_flight())
        };
        if let Some(engine) = chosen {
            engine.accept(Job { id, arrival, kv }, now);
        }
    }
}
