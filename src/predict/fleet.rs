//! A deployment in virtual time: engines, and a router that hands requests to them as topobench's proxy does.

use super::arm::{Group, PredictedArm};
use super::instance::{Job, VirtualInstance, Work};
use super::latency::{Latency, SloTally};
use super::model::blocks::BlockId;
use super::model::preset::{Gpu, Model};
use super::model::scheduler::Fetch;
use super::model::sequence::SequenceId;
use super::workload::Arrival;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Time that a router adds to each hop.
const ROUTER_HOP: Duration = Duration::from_micros(500);
/// Between two points nothing is in flight.
const PAUSE: Duration = Duration::from_secs(5);

/// When the first and the last token of a request appeared.
#[derive(Debug, Clone, Copy, Default)]
struct TokenTimes {
    first: Option<Duration>,
    last: Option<Duration>,
    /// Whether the first token was late, for whoever counts those.
    late: bool,
}

/// Where a request stands before a group of engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hop {
    /// At the engines that serve it whole, or compute its prompt.
    Entry,
    Decode,
}

/// The engines of an arm. They age: what they served before changes what they do next.
pub struct VirtualFleet {
    entry: Vec<VirtualInstance>,
    /// Empty where requests are served whole.
    decode: Vec<VirtualInstance>,
    /// All requests so far.
    arrivals: Vec<Arrival>,
    spans: Vec<TokenTimes>,
    /// Requests on their way to a group.
    routed: BinaryHeap<Reverse<(Duration, Hop, SequenceId)>>,
    /// Prefilled prompts: who keeps their KV, and where in its memory.
    held: FxHashMap<SequenceId, (usize, Vec<BlockId>)>,
    /// Whether a router stands before the engines.
    routed_to: bool,
    /// Whether prefill pushes, and decode gets every request at once.
    pushed: bool,
    /// Requests that wait for their KV: at which decode engine, and what of it.
    awaited: FxHashMap<SequenceId, (usize, Fetch)>,
    /// Requests whose first or last token appeared with the last event.
    answered: Vec<SequenceId>,
    now: Duration,
}

impl VirtualFleet {
    /// A data-parallel rank is an engine of its own to whoever hands it requests.
    pub fn new(model: &'static Model, gpu: &Gpu, arm: PredictedArm) -> Self {
        let queues = match arm {
            PredictedArm::Simple(group) => [group.queues(), 0],
            PredictedArm::PrefillDecode { prefill, decode, .. } => [prefill.queues(), decode.queues()],
        };
        Self::of_queues(model, gpu, arm, queues)
    }

    /// A part of it: numbers of queues that see a request first, and of those that decode.
    pub(super) fn of_queues(model: &'static Model, gpu: &Gpu, arm: PredictedArm, queues: [u32; 2]) -> Self {
        let some = |group: Group, queues: u32| -> Vec<VirtualInstance> {
            (0..queues).map(|_| VirtualInstance::new(model, gpu, &group)).collect()
        };
        let routed_to = !matches!(arm, PredictedArm::Simple(Group { replicas: 1, .. }));
        let (entry, decode, pushed) = match arm {
            PredictedArm::Simple(engines) => (some(engines, queues[0]), Vec::new(), false),
            PredictedArm::PrefillDecode { prefill, decode, pushed } => {
                (some(prefill, queues[0]), some(decode, queues[1]), pushed)
            }
        };
        Self {
            entry,
            decode,
            arrivals: Vec::new(),
            spans: Vec::new(),
            routed: BinaryHeap::new(),
            held: FxHashMap::default(),
            pushed,
            routed_to,
            awaited: FxHashMap::default(),
            answered: Vec::new(),
            now: Duration::ZERO,
        }
    }

    /// Serves `arrivals` (in order of time) to the end; one entry a request.
    pub fn serve(&mut self, arrivals: &[Arrival]) -> Vec<Latency> {
        let first = self.send(arrivals);
        while self.advance() {}
        let served = self.arrivals.iter().zip(&self.spans).skip(first);
        served.map(|(arrival, span)| latency(arrival, span)).collect()
    }

    /// Serves `arrivals` (in order of time) until it is certain whether the target is met; what is not served by then is dropped.
    pub(super) fn meets(&mut self, arrivals: &[Arrival], mut tally: SloTally) -> bool {
        self.send(arrivals);
        loop {
            if let Some(verdict) = tally.verdict() {
                self.drop_all();
                return verdict;
            }
            if !self.advance() {
                return false;
            }
            for id in self.answered.drain(..) {
                let (arrival, span) = (&self.arrivals[id as usize], &mut self.spans[id as usize]);
                match span.last {
                    None => span.late = tally.starts_late(latency(arrival, span).ttft_ms),
                    Some(_) if !span.late => tally.end(&latency(arrival, span)),
                    Some(_) => {}
                }
            }
        }
    }

    /// Puts requests on their way; the position of the first.
    fn send(&mut self, arrivals: &[Arrival]) -> usize {
        let (first, start) = (self.arrivals.len(), self.now + PAUSE);
        let hop = if self.routed_to { ROUTER_HOP } else { Duration::ZERO };
        for arrival in arrivals {
            let at = start + arrival.at;
            self.routed.push(Reverse((at + hop, Hop::Entry, self.arrivals.len() as SequenceId)));
            self.arrivals.push(Arrival { at, ..*arrival });
            self.spans.push(TokenTimes::default());
        }
        first
    }

    /// All requests leave, and their KV with them.
    fn drop_all(&mut self) {
        self.routed.clear();
        self.awaited.clear();
        for (id, (holder, _)) in self.held.drain() {
            self.entry[holder].release(id);
        }
        self.entry.iter_mut().chain(&mut self.decode).for_each(VirtualInstance::drop_all);
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
        self.now = now;
        self.answered.clear();
        let computes_prompts = index < self.entry.len() && !self.decode.is_empty();
        let Some(engine) = self.entry.iter_mut().chain(&mut self.decode).nth(index) else { return };
        let news = engine.wake(now);
        for token in news.tokens {
            if computes_prompts {
                self.held.insert(token.id, (index, token.held_blocks));
                match self.pushed {
                    true => self.push(token.id, now),
                    false => self.routed.push(Reverse((now + ROUTER_HOP, Hop::Decode, token.id))),
                }
                continue;
            }
            let span = &mut self.spans[token.id as usize];
            let is_first = span.first.is_none();
            span.first.get_or_insert(now);
            if token.is_last {
                span.last = Some(now);
            }
            if is_first || token.is_last {
                self.answered.push(token.id);
            }
        }
        for awaited in news.awaited {
            let id = awaited.id;
            self.awaited.insert(id, (index - self.entry.len(), awaited));
            self.push(id, now);
        }
        for id in news.fetched {
            if let Some((holder, _)) = self.held.remove(&id) {
                self.entry[holder].release(id);
            }
        }
    }

    /// Pushes a prompt's KV as soon as it is computed and somebody awaits it.
    fn push(&mut self, id: SequenceId, now: Duration) {
        let Some((holder, own)) = self.held.get(&id) else { return };
        let Some((decode, awaited)) = self.awaited.remove(&id) else { return };
        let takes = self.entry[*holder].push(now, own, &awaited);
        self.decode[decode].expect(id, now + takes);
    }

    /// Hands the next request to an engine: the one with the fewest outstanding prompt tokens computes a prompt, the
    /// one with the fewest requests does the rest.
    fn route(&mut self) {
        let Some(Reverse((now, stage, id))) = self.routed.pop() else { return };
        let mut arrival = self.arrivals[id as usize];
        let work = match stage {
            Hop::Entry if self.decode.is_empty() => Work::Whole,
            Hop::Entry => Work::Prefill,
            Hop::Decode if self.pushed => Work::Await,
            Hop::Decode => Work::Decode(self.held.get(&id).map(|(_, blocks)| blocks.clone()).unwrap_or_default()),
        };
        if self.pushed && stage == Hop::Entry {
            self.routed.push(Reverse((now, Hop::Decode, id)));
        }
        let group = if stage == Hop::Entry { &mut self.entry } else { &mut self.decode };
        let chosen = match work {
            Work::Prefill => {
                arrival.output_tokens = 1;
                group.iter_mut().min_by_key(|engine| engine.outstanding_tokens())
            }
            Work::Whole | Work::Decode(_) | Work::Await => group.iter_mut().min_by_key(|engine| engine.in_flight()),
        };
        if let Some(engine) = chosen {
            engine.accept(Job { id, arrival, work }, now);
        }
    }
}

fn latency(arrival: &Arrival, span: &TokenTimes) -> Latency {
    let last = span.last.or(span.first).unwrap_or_default();
    let first = span.first.unwrap_or(last);
    let gaps = f64::from(arrival.output_tokens.saturating_sub(1).max(1));
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    Latency {
        ttft_ms: ms(first.saturating_sub(arrival.at)),
        tpot_ms: ms(last - first) / gaps,
        e2el_ms: ms(last.saturating_sub(arrival.at)),
    }
}
