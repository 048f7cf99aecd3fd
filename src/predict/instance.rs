//! One engine in virtual time: the live engine's scheduler and costs, woken at its own next event.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::arm::Group;
use super::workload::Arrival;
use crate::predict::model::blocks::{BlockId, BlockPool, contiguous_pieces};
use crate::predict::model::cost::{CostModel, Link};
use crate::predict::model::preset::{Gpu, Model};
use crate::predict::model::scheduler::{BatchLimits, Fetch, Scheduler};
use crate::predict::model::sequence::{KvOrigin, NewSequence, SequenceId};

/// A token that left an engine.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub id: SequenceId,
    pub is_last: bool,
    /// With the last token: blocks kept for a decode instance.
    pub held_blocks: Vec<BlockId>,
}

/// What is asked of an engine.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub id: SequenceId,
    pub arrival: Arrival,
    pub work: Work,
}

/// What of a request an engine does.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Whole,
    /// Computes the prompt and keeps its KV.
    Prefill,
    /// Fetches the prompt's KV from these blocks and generates.
    Decode(Vec<BlockId>),
    /// Sets blocks aside for the prompt's KV and generates once it was pushed there.
    Await,
}

/// What happened when an engine was woken.
#[derive(Debug, Default)]
pub(super) struct News {
    pub tokens: Vec<Token>,
    /// Requests whose KV has arrived here.
    pub fetched: Vec<SequenceId>,
    /// Requests whose KV is to be pushed here.
    pub awaited: Vec<Fetch>,
}

/// An engine and what is on its way to it.
pub(super) struct VirtualInstance {
    scheduler: Scheduler,
    cost: CostModel,
    link: Link,
    /// Jobs in the API server, by when the engine gets them.
    admitting: BinaryHeap<Reverse<(Duration, SequenceId)>>,
    jobs: HashMap<SequenceId, Job>,
    arriving_kv: BinaryHeap<Reverse<(Duration, SequenceId)>>,
    /// Requests whose pushed KV is here: a notice is taken in during one step and seen by the next.
    noticed: Vec<SequenceId>,
    step_ends: Option<Duration>,
    next_event: Option<Duration>,
}

impl VirtualInstance {
    pub(super) fn new(model: &'static Model, gpu: &Gpu, group: &Group) -> Self {
        let settings = &group.settings;
        let cost = CostModel::new(model, gpu, group.ranks);
        let blocks = cost.kv_blocks(cost.kv_memory(settings.memory_utilization), settings.block_size);
        let limits = BatchLimits {
            batched_tokens: settings.max_num_batched_tokens.unwrap_or(gpu.default_batched_tokens).max(1),
            sequences: settings.max_num_seqs.unwrap_or(gpu.default_sequences).max(1),
            block_size: settings.block_size,
        };
        Self {
            scheduler: Scheduler::new(limits, cost.clone(), BlockPool::new(blocks, true)),
            cost,
            link: Link::default(),
            admitting: BinaryHeap::new(),
            jobs: HashMap::new(),
            arriving_kv: BinaryHeap::new(),
            noticed: Vec::new(),
            step_ends: None,
            next_event: None,
        }
    }

    /// Requests that it has and that have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Prompt tokens of the requests that it has.
    pub(super) fn outstanding_tokens(&self) -> u64 {
        self.jobs.values().map(|job| u64::from(job.arrival.input_tokens)).sum()
    }

    /// Hands it a job at `now`.
    pub(super) fn accept(&mut self, job: Job, now: Duration) {
        let admitted = now + self.cost.admission(job.arrival.input_tokens);
        self.admitting.push(Reverse((admitted, job.id)));
        self.jobs.insert(job.id, job);
        self.look_ahead();
    }

    /// When it next has something to do.
    pub(super) fn next_event(&self) -> Option<Duration> {
        self.next_event
    }

    fn look_ahead(&mut self) {
        let first = |heap: &BinaryHeap<Reverse<(Duration, SequenceId)>>| heap.peek().map(|Reverse((at, _))| *at);
        let arriving = || first(&self.admitting).into_iter().chain(first(&self.arriving_kv)).min();
        self.next_event = self.step_ends.or_else(arriving);
    }

    /// Every request leaves.
    pub(super) fn drop_all(&mut self) {
        let mut ids: Vec<SequenceId> = self.jobs.drain().map(|(id, _)| id).collect();
        ids.sort_unstable();
        for id in ids {
            self.scheduler.abort(id);
            self.scheduler.release(id);
        }
        self.admitting.clear();
        self.arriving_kv.clear();
        self.noticed.clear();
        self.step_ends = None;
        self.look_ahead();
    }

    /// Frees what was kept for a decode instance.
    pub(super) fn release(&mut self, id: SequenceId) {
        self.scheduler.release(id);
    }

    /// Pushes KV that lies in these blocks; how long that takes.
    pub(super) fn push(&mut self, now: Duration, own: &[BlockId], awaited: &Fetch) -> Duration {
        let own = &own[own.len().saturating_sub(awaited.blocks.len())..];
        let descriptors = self.cost.descriptors(contiguous_pieces(own, &awaited.blocks));
        self.link.transfer(now, &self.cost, awaited.missing_tokens, descriptors)
    }

    /// KV that will have been pushed here at `at`.
    pub(super) fn expect(&mut self, id: SequenceId, at: Duration) {
        self.arriving_kv.push(Reverse((at, id)));
        self.look_ahead();
    }

    /// Does what is due at `now`, one of its own events.
    pub(super) fn wake(&mut self, now: Duration) -> News {
        let mut news = News::default();
        if self.step_ends.take().is_some() {
            for output in self.scheduler.end_step(now) {
                let is_last = output.finished.is_some();
                let held_blocks = output.finished.map(|report| report.held_blocks).unwrap_or_default();
                news.tokens.push(Token { id: output.id, is_last, held_blocks });
                if is_last {
                    self.jobs.remove(&output.id);
                }
            }
        }
        while let Some(id) = due(&mut self.admitting, now) {
            self.submit(id, now);
        }
        let mut loaded = std::mem::take(&mut self.noticed);
        while let Some(id) = due(&mut self.arriving_kv, now) {
            match self.jobs.get(&id) {
                Some(job) if matches!(job.work, Work::Await) => self.noticed.push(id),
                _ => loaded.push(id),
            }
            news.fetched.push(id);
        }
        self.load(loaded);
        self.step_ends = self.scheduler.begin_step(now).map(|duration| now + duration);
        if self.step_ends.is_none() && !self.noticed.is_empty() {
            // An idle engine's steps take no time.
            let loaded = std::mem::take(&mut self.noticed);
            self.load(loaded);
            self.step_ends = self.scheduler.begin_step(now).map(|duration| now + duration);
        }
        for fetch in self.scheduler.take_fetches() {
            if !fetch.blocks.is_empty() {
                news.awaited.push(fetch);
                continue;
            }
            let takes = self.link.transfer(now, &self.cost, fetch.missing_tokens, fetch.descriptors);
            self.arriving_kv.push(Reverse((now + takes, fetch.id)));
        }
        self.look_ahead();
        news
    }

    fn load(&mut self, loaded: Vec<SequenceId>) {
        for id in loaded {
            if let Some(job) = self.jobs.get(&id) {
                self.scheduler.kv_loaded(id, job.arrival.output_tokens);
            }
        }
    }

    fn submit(&mut self, id: SequenceId, now: Duration) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let prompt_tokens = job.arrival.input_tokens;
        let output_tokens = job.arrival.output_tokens;
        let hold_blocks = matches!(job.work, Work::Prefill);
        let (kv, remote_blocks) = match &mut job.work {
            Work::Decode(blocks) => (KvOrigin::Remote, std::mem::take(blocks)),
            Work::Await => (KvOrigin::Pushed, Vec::new()),
            Work::Whole | Work::Prefill => (KvOrigin::Local, Vec::new()),
        };
        let spec = NewSequence { id, prompt_tokens, hashes: Vec::new(), output_tokens, kv, remote_blocks, hold_blocks };
        self.scheduler.submit(spec, now);
    }
}

/// Takes what is due at `now`.
fn due(heap: &mut BinaryHeap<Reverse<(Duration, SequenceId)>>, now: Duration) -> Option<SequenceId> {
    let Reverse((at, id)) = *heap.peek()?;
    (at <= now).then(|| {
        heap.pop();
        id
    })
}
