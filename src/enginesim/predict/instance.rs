//! One engine in virtual time: the live engine's scheduler and costs, woken at its own next event.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::workload::Arrival;
use crate::enginesim::blocks::{BlockPool, mix, prefix_hashes};
use crate::enginesim::cost::{CostModel, Link};
use crate::enginesim::preset::{Gpu, Model};
use crate::enginesim::scheduler::{Limits, Scheduler};
use crate::enginesim::sequence::{KvOrigin, NewSequence, SequenceId};

const BLOCK_SIZE: u32 = 16;
const MEMORY_UTILIZATION: f64 = 0.85;

/// A token that left an engine.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub id: SequenceId,
    pub is_last: bool,
}

/// What is asked of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub id: SequenceId,
    pub arrival: Arrival,
    pub kv: KvOrigin,
}

/// An engine and what is on its way to it.
pub struct Instance {
    scheduler: Scheduler,
    cost: CostModel,
    link: Link,
    /// Jobs in the API server, by when the engine gets them.
    admitting: BinaryHeap<Reverse<(Duration, SequenceId)>>,
    jobs: HashMap<SequenceId, Job>,
    arriving_kv: BinaryHeap<Reverse<(Duration, SequenceId)>>,
    step_ends: Option<Duration>,
}

impl Instance {
    pub fn new(model: &'static Model, gpu: &Gpu, tensor_parallel: u32) -> Self {
        let cost = CostModel::new(model, gpu, tensor_parallel);
        let blocks = cost.kv_blocks(cost.kv_memory(MEMORY_UTILIZATION), BLOCK_SIZE);
        let limits = Limits {
            batched_tokens: gpu.default_batched_tokens,
            sequences: gpu.default_sequences,
            block_size: BLOCK_SIZE,
        };
        Self {
            scheduler: Scheduler::new(limits, cost.clone(), BlockPool::new(blocks, true)),
            cost,
            link: Link::default(),
            admitting: BinaryHeap::new(),
            jobs: HashMap::new(),
            arriving_kv: BinaryHeap::new(),
            step_ends: None,
        }
    }

    /// Requests that it has and that have not ended.
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Prompt tokens of the requests that it has.
    pub fn outstanding_tokens(&self) -> u64 {
        self.jobs.values().map(|job| u64::from(job.arrival.input_tokens)).sum()
    }

    /// Hands it a job at `now`.
    pub fn accept(&mut self, job: Job, now: Duration) {
        let admitted = now + self.cost.admission(job.arrival.input_tokens);
        self.admitting.push(Reverse((admitted, job.id)));
        self.jobs.insert(job.id, job);
    }

    /// When it next has something to do.
    pub fn next_event(&self) -> Option<Duration> {
        let first = |heap: &BinaryHeap<Reverse<(Duration, SequenceId)>>| heap.peek().map(|Reverse((at, _))| *at);
        self.step_ends.or_else(|| first(&self.admitting).into_iter().chain(first(&self.arriving_kv)).min())
    }

    /// Does what is due at `now`, one of its own events, and returns the tokens that left it.
    pub fn wake(&mut self, now: Duration) -> Vec<Token> {
        let mut tokens = Vec::new();
        if self.step_ends.take().is_some() {
            for output in self.scheduler.end_step(now) {
                let is_last = output.finished.is_some();
                tokens.push(Token { id: output.id, is_last });
                if is_last {
                    self.jobs.remove(&output.id);
                }
            }
        }
        while let Some(id) = due(&mut self.admitting, now) {
            self.submit(id, now);
        }
        while let Some(id) = due(&mut self.arriving_kv, now) {
            if let Some(job) = self.jobs.get(&id) {
                self.scheduler.kv_loaded(id, job.arrival.output_tokens);
            }
        }
        self.step_ends = self.scheduler.begin_step(now).map(|duration| now + duration);
        for fetch in self.scheduler.take_fetches() {
            let takes = self.link.transfer(now, &self.cost, fetch.missing_tokens);
            self.arriving_kv.push(Reverse((now + takes, fetch.id)));
        }
        tokens
    }

    fn submit(&mut self, id: SequenceId, now: Duration) {
        let Some(job) = self.jobs.get(&id) else { return };
        let prompt_tokens = job.arrival.input_tokens;
        // Prompts differ from their first block on.
        let hashes = prefix_hashes(&vec![mix(id, 0) as u32; prompt_tokens as usize], BLOCK_SIZE);
        let output_tokens = job.arrival.output_tokens;
        let spec = NewSequence { id, prompt_tokens, hashes, output_tokens, kv: job.kv, hold_blocks: false };
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
