//! From a validated request to a sequence of tokens: admission, the engine, the KV hand-off.
//!
//! Both endpoints, streaming or not, pull from a `Generation`. Dropping one takes its sequences
//! out of the engine, which is how a client that hangs up stops costing anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::enginesim::answer::{Answer, FinishReason, KvPrint, Sampling};
use crate::enginesim::args::LoadFailurePolicy;
use crate::enginesim::config::Config;
use crate::enginesim::engine::{Arrived, Event, Fetched, Submission};
use crate::enginesim::faults::Fault;
use crate::enginesim::log::{self, Source};
use crate::enginesim::metrics::{Distribution, Page};
use crate::enginesim::rank::{Rank, Ranks};
use crate::enginesim::sidechannel::{RemoteKv, TransferError};
use crate::enginesim::tokenizer::Vocabulary;
use topobench::predict::model::Parallelism;
use topobench::predict::model::blocks::{mix, prefix_hashes};
use topobench::predict::model::scheduler::Fetch;
use topobench::predict::model::sequence::{KvOrigin, NewSequence, Report, SequenceId};

/// One instance, as its request handlers see it.
pub(super) struct Server {
    pub config: Config,
    pub vocabulary: Vocabulary,
    pub ranks: Ranks,
    pub page: Page,
    /// Generation requests so far.
    pub requests: AtomicU64,
    /// Requests being answered, for `/load`.
    pub open: AtomicU64,
}

impl Server {
    /// A trace in Chrome's format with nothing in it but its process: a simulated engine has no kernels.
    pub(super) fn write_trace(&self) -> std::io::Result<()> {
        let Some(dir) = &self.config.traces else { return Ok(()) };
        let pid = std::process::id();
        let process = serde_json::json!({
            "traceEvents": [{ "ph": "M", "name": "process_name", "pid": pid, "args": { "name": "enginesim" } }]
        });
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join(format!("enginesim_{pid}.{:x}.pt.trace.json", self.fresh())), process.to_string())
    }

    /// A number that this instance has not used before, for ids and sampling.
    pub(super) fn fresh(&self) -> u64 {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        mix(self.config.seed ^ u64::from(std::process::id()) << 32, count as u32)
    }
}

/// A validated request.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Id as the client sees it, `cmpl-...` or `chatcmpl-...`.
    pub id: String,
    pub prompts: Vec<Arc<[u32]>>,
    /// Answers to each prompt.
    pub n: u32,
    pub sampling: Sampling,
    pub kv: KvUse,
    /// The data-parallel rank that is to serve it.
    pub rank: Option<usize>,
}

/// What a request does with KV caches of other instances.
#[derive(Debug, Clone)]
pub(super) enum KvUse {
    Local,
    /// Keep the KV under this remote request id.
    Offer(String),
    Fetch(RemoteKv),
    /// Have it pushed here: by that instance, under this request id without its random end.
    Await(RemoteKv, String),
}

/// One token for the client.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    /// Position among the choices of the response.
    pub choice: usize,
    pub token: u32,
    pub text: String,
    pub finish: Option<FinishReason>,
}

/// Why no more tokens come.
#[derive(Debug, thiserror::Error)]
pub(super) enum GenerationError {
    #[error("KV transfer failed: {0}")]
    Transfer(#[from] TransferError),
    #[error("the engine failed")]
    Engine,
    /// Asked for by a fault: the connection is to be torn down.
    #[error("connection reset")]
    Reset,
}

struct Choice {
    id: SequenceId,
    /// Known from the start, but for KV that is still elsewhere.
    answer: Option<Answer>,
    sampling: Sampling,
    sent: usize,
    done: bool,
}

/// A request on its way through the engine.
pub(super) struct Generation {
    server: Arc<Server>,
    /// The data-parallel rank that serves it.
    rank: usize,
    job: Job,
    choices: Vec<Choice>,
    sender: Option<UnboundedSender<Event>>,
    events: UnboundedReceiver<Event>,
    tokens: u64,
    held: Option<Report>,
}

impl Generation {
    pub(super) fn new(server: Arc<Server>, job: Job) -> Self {
        let (sender, events) = unbounded_channel();
        let rank = server.ranks.enter(job.rank);
        let fetches = matches!(job.kv, KvUse::Fetch(_) | KvUse::Await(..));
        let mut choices = Vec::new();
        for prompt in &job.prompts {
            let print = KvPrint::of(prompt);
            for sample in 0..job.n {
                let mut sampling = job.sampling.clone();
                sampling.noise = sampling.noise.map(|noise| mix(noise, sample));
                let answer = (!fetches).then(|| Answer::compose(&server.vocabulary, print, &sampling));
                choices.push(Choice {
                    id: server.ranks.get(rank).engine.next_id(),
                    answer,
                    sampling,
                    sent: 0,
                    done: false,
                });
            }
        }
        Self { server, rank, job, choices, sender: Some(sender), events, tokens: 0, held: None }
    }

    fn rank(&self) -> &Rank {
        self.server.ranks.get(self.rank)
    }

    /// The next token of any choice; `None` when all choices have ended.
    pub(super) async fn next(&mut self) -> Option<Result<Delta, GenerationError>> {
        if let Some(sender) = self.sender.take() {
            self.submit(sender).await;
        }
        loop {
            if self.choices.iter().all(|choice| choice.done) {
                return None;
            }
            if let Some(error) = self.injected_error() {
                return Some(Err(error));
            }
            match self.events.recv().await {
                Some(Event::Token { index, finished }) => {
                    return Some(self.token(index, finished).ok_or(GenerationError::Engine));
                }
                Some(Event::Fetch(fetch)) => {
                    if let Err(error) = self.fetch(fetch).await {
                        return Some(Err(error));
                    }
                }
                None => return Some(Err(GenerationError::Engine)),
            }
        }
    }

    /// `kv_transfer_params` of the answer: where a decode instance finds the KV.
    pub(super) fn kv_params(&self) -> Option<Value> {
        let (KvUse::Offer(request_id), Some(report)) = (&self.job.kv, &self.held) else {
            return None;
        };
        let kv = self.server.config.kv.as_ref()?;
        let Parallelism { tensor_parallel, pipeline_parallel, .. } = self.server.config.parallelism;
        let rank = self.rank as u32;
        if self.server.config.faults.has(&Fault::NullParams) {
            return None;
        }
        Some(json!({
            "do_remote_prefill": true,
            "do_remote_decode": false,
            "remote_block_ids": [report.held_blocks],
            "remote_engine_id": self.server.config.engine_id(kv, rank),
            "remote_request_id": request_id,
            "remote_host": kv.host,
            "remote_port": u32::from(kv.port) + rank,
            "tp_size": tensor_parallel,
            "dcp_size": 1,
            "pp_size": pipeline_parallel,
            "remote_num_tokens": report.prompt_tokens,
            "remote_blocks_expiry_time": null,
            "transfer_mode": kv.transfer.mode(),
            "remote_prefill_cached_tokens": report.cached_tokens,
        }))
    }

    async fn submit(&mut self, sender: UnboundedSender<Event>) {
        let config = &self.server.config;
        let tokens: usize = self.job.prompts.iter().map(|prompt| prompt.len()).sum();
        let admission = config.cost().admission(tokens as u32);
        let admission = self.rank().engine.clock().real(admission);
        tokio::time::sleep(admission).await;
        for (index, choice) in self.choices.iter().enumerate() {
            let prompt = &self.job.prompts[index / self.job.n as usize];
            let offer = match &self.job.kv {
                KvUse::Offer(request_id) => Some((request_id.clone(), KvPrint::of(prompt))),
                KvUse::Local | KvUse::Fetch(_) | KvUse::Await(..) => None,
            };
            let (kv, remote_blocks) = match &self.job.kv {
                KvUse::Fetch(remote) => (KvOrigin::Remote, remote.blocks()),
                KvUse::Await(..) => (KvOrigin::Pushed, Vec::new()),
                KvUse::Local | KvUse::Offer(_) => (KvOrigin::Local, Vec::new()),
            };
            let spec = NewSequence {
                id: choice.id,
                prompt_tokens: prompt.len() as u32,
                hashes: prefix_hashes(prompt, config.limits.block_size),
                output_tokens: choice.answer.as_ref().map_or(1, Answer::tokens),
                kv,
                remote_blocks,
                hold_blocks: offer.is_some(),
            };
            self.rank().engine.submit(Submission { spec, index, events: sender.clone(), admission, hand_off: offer });
        }
        let mut values = self.rank().metrics.values();
        values.observe(Distribution::N, f64::from(self.job.n));
        values.observe(Distribution::MaxTokens, f64::from(self.job.sampling.max_tokens));
    }

    /// Brings the KV of the (only) prompt here, or decides what to do without it.
    async fn fetch(&mut self, fetch: Fetch) -> Result<(), GenerationError> {
        let server = Arc::clone(&self.server);
        let rank = server.ranks.get(self.rank);
        let (Some(side), Some(choice)) = (&rank.decode_side, self.choices.first_mut()) else {
            return Err(GenerationError::Engine);
        };
        let fetched = match &self.job.kv {
            KvUse::Fetch(remote) => side
                .fetch(remote, &fetch)
                .await
                .map(|(print, posted)| (print, Arrived::Fetched(Fetched { fetch, posted }))),
            KvUse::Await(remote, request_id) => {
                let id = fetch.id;
                let pushed = pushed(&server, self.rank, remote.clone(), request_id.clone(), fetch).await;
                pushed.map(|print| (print, Arrived::Pushed(id)))
            }
            KvUse::Local | KvUse::Offer(_) => return Err(GenerationError::Engine),
        };
        let policy = server.config.kv.as_ref().map(|kv| kv.transfer.kv_load_failure_policy);
        let (print, arrived) = match (fetched, policy) {
            (Ok(fetched), _) => fetched,
            (Err(error), Some(LoadFailurePolicy::Recompute)) => {
                let message = format!("Request {}: {error}; recomputing", self.job.id);
                log::warning(Source::EngineCore, "scheduler.py:2101", &message);
                let print = KvPrint::of(&self.job.prompts[0]);
                let answer = Answer::compose(&server.vocabulary, print, &choice.sampling);
                rank.engine.kv_recompute(choice.id, answer.tokens());
                choice.answer = Some(answer);
                return Ok(());
            }
            (Err(error), _) => {
                let message = format!("Request {}: {error}; failing", self.job.id);
                log::error(Source::EngineCore, "scheduler.py:2101", &message);
                // Nobody was told of its blocks.
                rank.engine.abort(choice.id);
                rank.engine.release(choice.id);
                return Err(error.into());
            }
        };
        let answer = Answer::compose(&server.vocabulary, print, &choice.sampling);
        rank.engine.kv_loaded(arrived, answer.tokens());
        choice.answer = Some(answer);
        Ok(())
    }

    fn token(&mut self, index: usize, finished: Option<Box<Report>>) -> Option<Delta> {
        let choice = self.choices.get_mut(index)?;
        let answer = choice.answer.as_ref()?;
        let piece = answer.pieces.get(choice.sent)?;
        choice.sent += 1;
        self.tokens += 1;
        let finish = finished.is_some().then(|| answer.finish.clone());
        if let (Some(report), Some(reason)) = (finished, &finish) {
            choice.done = true;
            let prompt = report.prompt_tokens;
            let admission = self.server.config.cost().admission(prompt);
            let rank = self.server.ranks.get(self.rank);
            let admission = rank.engine.clock().real(admission);
            rank.metrics.values().finished(&report, reason, admission);
            self.held = Some(*report);
        }
        Some(Delta { choice: index, token: piece.token, text: piece.text.clone(), finish })
    }

    fn injected_error(&self) -> Option<GenerationError> {
        self.server.config.faults.find(|fault| match fault {
            Fault::ErrorAfter(tokens) if self.tokens >= *tokens => Some(GenerationError::Engine),
            Fault::Reset(tokens) if self.tokens >= *tokens => Some(GenerationError::Reset),
            _ => None,
        })
    }
}

/// Waits for pushed KV, also when the client has gone: as with vLLM its blocks are free only then.
async fn pushed(
    server: &Arc<Server>,
    rank: usize,
    remote: RemoteKv,
    request_id: String,
    fetch: Fetch,
) -> Result<KvPrint, TransferError> {
    let (told, telling) = oneshot::channel();
    let (server, id) = (Arc::clone(server), fetch.id);
    tokio::spawn(async move {
        let rank = server.ranks.get(rank);
        let Some(side) = &rank.decode_side else { return };
        let registered = side.register(&remote, &request_id, fetch).await;
        if told.send(registered).is_err() {
            rank.engine.release(id);
        }
    });
    // Only an instance with a connector has requests that wait.
    telling.await.unwrap_or(Err(TransferError::Parameters("a connector")))
}

impl Drop for Generation {
    fn drop(&mut self) {
        for choice in self.choices.iter().filter(|choice| !choice.done) {
            self.rank().engine.abort(choice.id);
        }
        self.server.ranks.leave(self.rank);
    }
}
