//! The side channel between decode and prefill instances, over real TCP connections.
//!
//! A decode instance dials the address in the hand-off parameters, introduces itself (the first
//! time this costs the handshake), reads the KV (which takes as long as the bytes need on the
//! link) and tells the prefill instance that it may free the blocks. With push it names the blocks that it set aside, and
//! is told when they were written: from the prefill instance's own thread, beside its steps. One JSON object a line.
//! Deliberately absent: NIXL's wire format, and the bytes of KV caches that do not exist.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::enginesim::answer::KvPrint;
use crate::enginesim::args::TransferMode;
use crate::enginesim::engine::{Clock, Engine, Fetched};
use crate::enginesim::handoff::{HandOffs, Notice, Offer};
use crate::enginesim::metrics::{Counter, Metrics};
use topobench::predict::model::blocks::{BlockId, contiguous_pieces};
use topobench::predict::model::cost::{CostModel, Link};
use topobench::predict::model::scheduler::Fetch;

/// A side channel that does not answer within this time has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What both sides must agree on, and who the prefill side is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub engine_id: String,
    pub model: String,
    pub block_size: u32,
    pub mode: TransferMode,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Hello(Identity),
    Read {
        request_id: String,
    },
    Done {
        request_id: String,
    },
    /// The KV of this many tokens at the prompt's end is to be written into these blocks.
    Register {
        request_id: String,
        blocks: Vec<BlockId>,
        tokens: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Reply {
    Ok,
    Kv { print: u64 },
    Refused { reason: String },
}

/// Why KV could not be fetched.
#[derive(Debug, Error)]
pub(super) enum TransferError {
    #[error("hand-off parameters lack {0}")]
    Parameters(&'static str),
    #[error("side channel {address}: {source}")]
    Io { address: String, source: io::Error },
    #[error("side channel {address}: no answer within {} s", PATIENCE.as_secs())]
    Silent { address: String },
    #[error("side channel {address}: refused: {reason}")]
    Refused { address: String, reason: String },
}

/// Where a prompt's KV lies, as `kv_transfer_params` say it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RemoteKv {
    #[serde(default)]
    pub do_remote_prefill: bool,
    #[serde(default)]
    pub do_remote_decode: bool,
    remote_engine_id: Option<String>,
    remote_request_id: Option<String>,
    remote_host: Option<String>,
    remote_port: Option<u16>,
    /// One list for each group of KV caches.
    #[serde(default)]
    remote_block_ids: Option<serde_json::Value>,
}

impl RemoteKv {
    /// Blocks of the prefill instance in the prompt's order; none where they were not told.
    pub(super) fn blocks(&self) -> Vec<BlockId> {
        let first = self.remote_block_ids.as_ref().and_then(|groups| groups.get(0));
        let ids = first.and_then(serde_json::Value::as_array).into_iter().flatten();
        ids.filter_map(|id| id.as_u64().and_then(|id| BlockId::try_from(id).ok())).collect()
    }
}

/// The prefill side: answers decode instances.
pub(super) struct PrefillSide {
    pub identity: Identity,
    pub hand_offs: Arc<HandOffs>,
    pub engine: Arc<Engine>,
    pub metrics: Arc<Metrics>,
    pub cost: CostModel,
    /// Out of this instance, for what it pushes.
    pub link: Mutex<Link>,
}

impl PrefillSide {
    /// Serves connections for ever.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            // Out of descriptors and the like: the next one may succeed.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let side = Arc::clone(&self);
            tokio::spawn(async move {
                // A peer that breaks off ends its own connection and nothing else.
                let _ = side.converse(stream).await;
            });
        }
    }

    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let reply = match serde_json::from_str(&line) {
                Ok(request) => self.answer(request).await,
                Err(error) => refused(format!("not a request: {error}")),
            };
            write_line(&mut stream, &reply).await?;
            line.clear();
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Hello(peer) if peer == self.identity => Reply::Ok,
            Request::Hello(peer) => refused(format!("asked for {peer:?}, this is {:?}", self.identity)),
            Request::Read { request_id } => match self.hand_offs.read(&request_id) {
                Some(KvPrint(print)) => Reply::Kv { print },
                None => refused(format!("no KV for request {request_id}")),
            },
            Request::Done { request_id } => {
                match self.hand_offs.notify(&request_id) {
                    Notice::Release(sequence) => self.engine.release(sequence),
                    Notice::AfterExpiry => {
                        self.metrics.values().add(Counter::LateNotifications, 1.0);
                    }
                }
                Reply::Ok
            }
            Request::Register { request_id, blocks, tokens } => self.push(&request_id, &blocks, tokens).await,
        }
    }

    /// Waits for the prompt and writes its KV; the decode instance may have gone away by then, as with vLLM.
    async fn push(&self, request_id: &str, blocks: &[BlockId], tokens: u32) -> Reply {
        let Ok(Offer { sequence, print: KvPrint(print), blocks: own }) = self.hand_offs.register(request_id).await
        else {
            return refused(format!("another registration came for request {request_id}"));
        };
        // What decode has cached is the prompt's beginning.
        let own = &own[own.len().saturating_sub(blocks.len())..];
        let descriptors = self.cost.descriptors(contiguous_pieces(own, blocks));
        let clock = self.engine.clock();
        let posted = clock.now();
        let takes = book(&self.link, posted, &self.cost, tokens, descriptors);
        tokio::time::sleep(clock.real(takes)).await;
        let fetch = Fetch { id: sequence, missing_tokens: tokens, descriptors, blocks: Vec::new() };
        self.engine.kv_sent(Fetched { fetch, posted });
        Reply::Kv { print }
    }
}

/// How long a transfer takes from its posting on, behind those already under way.
fn book(link: &Mutex<Link>, posted: Duration, cost: &CostModel, tokens: u32, descriptors: u32) -> Duration {
    link.lock().unwrap_or_else(PoisonError::into_inner).transfer(posted, cost, tokens, descriptors)
}

fn refused(reason: String) -> Reply {
    Reply::Refused { reason }
}

async fn write_line(stream: &mut BufReader<TcpStream>, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}

/// The decode side: fetches KV from prefill instances.
pub(super) struct DecodeSide {
    /// Model, block size and connector of this instance.
    pub model: String,
    pub block_size: u32,
    pub mode: TransferMode,
    /// Real time of the first contact with a prefill instance.
    pub handshake: Duration,
    pub cost: CostModel,
    pub clock: Clock,
    pub link: Mutex<Link>,
    /// Engine ids that were met before; locked for the length of a handshake.
    pub met: tokio::sync::Mutex<HashSet<String>>,
    pub metrics: Arc<Metrics>,
}

impl DecodeSide {
    /// Fetches KV; takes as long as that takes. The KV, and the simulated time at which its transfer was posted.
    pub(super) async fn fetch(&self, kv: &RemoteKv, fetch: &Fetch) -> Result<(KvPrint, Duration), TransferError> {
        let result = self.try_fetch(kv, fetch).await;
        if result.is_err() {
            self.metrics.values().add(Counter::FailedTransfers, 1.0);
        }
        result
    }

    /// Has KV pushed here, under this request id; waits as long as that takes. Nobody tells a decode instance that its
    /// prefill instance has died, or computes no such prompt.
    pub(super) async fn register(
        &self,
        kv: &RemoteKv,
        request_id: &str,
        fetch: Fetch,
    ) -> Result<KvPrint, TransferError> {
        let met = self.meet(kv).await;
        if met.is_err() {
            self.metrics.values().add(Counter::FailedTransfers, 1.0);
        }
        let request_id = request_id.to_owned();
        let registration = Request::Register { request_id, blocks: fetch.blocks, tokens: fetch.missing_tokens };
        match met?.exchange(&registration).await {
            Ok(Reply::Kv { print }) => Ok(KvPrint(print)),
            Ok(_) | Err(_) => std::future::pending().await,
        }
    }

    /// A connection to the prefill instance, which knows this one from then on.
    async fn meet(&self, kv: &RemoteKv) -> Result<Call, TransferError> {
        let host = kv.remote_host.as_deref().ok_or(TransferError::Parameters("remote_host"))?;
        let port = kv.remote_port.ok_or(TransferError::Parameters("remote_port"))?;
        let engine_id = kv.remote_engine_id.clone();
        let engine_id = engine_id.ok_or(TransferError::Parameters("remote_engine_id"))?;
        let mut call = Call::dial(host, port).await?;
        self.introduce(&mut call, engine_id).await?;
        Ok(call)
    }

    async fn try_fetch(&self, kv: &RemoteKv, fetch: &Fetch) -> Result<(KvPrint, Duration), TransferError> {
        let request_id = kv.remote_request_id.clone();
        let request_id = request_id.ok_or(TransferError::Parameters("remote_request_id"))?;
        let mut call = self.meet(kv).await?;
        let print = match call.ask(&Request::Read { request_id: request_id.clone() }).await? {
            Reply::Kv { print } => KvPrint(print),
            other => return Err(call.unexpected(other)),
        };
        let posted = self.clock.now();
        let takes = book(&self.link, posted, &self.cost, fetch.missing_tokens, fetch.descriptors);
        call.hold(self.clock.real(takes)).await?;
        if call.ask(&Request::Done { request_id }).await.is_err() {
            // The KV is here; only its owner does not know. It will let the lease run out.
            self.metrics.values().add(Counter::FailedNotifications, 1.0);
        }
        Ok((print, posted))
    }

    async fn introduce(&self, call: &mut Call, engine_id: String) -> Result<(), TransferError> {
        let mut met = self.met.lock().await;
        let identity = Identity {
            engine_id: engine_id.clone(),
            model: self.model.clone(),
            block_size: self.block_size,
            mode: self.mode,
        };
        match call.ask(&Request::Hello(identity)).await? {
            Reply::Ok => {}
            other => return Err(call.unexpected(other)),
        }
        if !met.contains(&engine_id) {
            call.hold(self.handshake).await?;
            met.insert(engine_id);
        }
        Ok(())
    }
}

/// One connection to a prefill instance.
struct Call {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Call {
    async fn dial(host: &str, port: u16) -> Result<Self, TransferError> {
        let address = format!("{host}:{port}");
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(TransferError::Io { address, source }),
            Err(_) => return Err(TransferError::Silent { address }),
        };
        if let Err(source) = stream.set_nodelay(true) {
            return Err(TransferError::Io { address, source });
        }
        let stream = BufReader::new(stream);
        Ok(Self { address, stream })
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        write_line(&mut self.stream, request).await?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply, TransferError> {
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(source)) => Err(self.broken(source)),
            Err(_) => Err(TransferError::Silent { address: self.address.clone() }),
        }
    }

    /// Waits while the other side must stay alive: a transfer from a dead peer fails.
    async fn hold(&mut self, time: Duration) -> Result<(), TransferError> {
        match tokio::time::timeout(time, self.stream.fill_buf()).await {
            Err(_) => Ok(()),
            Ok(Ok(_)) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(source)) => Err(self.broken(source)),
        }
    }

    fn broken(&self, source: io::Error) -> TransferError {
        let address = self.address.clone();
        TransferError::Io { address, source }
    }

    fn unexpected(&self, reply: Reply) -> TransferError {
        let address = self.address.clone();
        let reason = match reply {
            Reply::Refused { reason } => reason,
            other => format!("unexpected {other:?}"),
        };
        TransferError::Refused { address, reason }
    }
}
