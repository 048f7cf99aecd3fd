//! What all worker threads share, what each has for itself, and the record every request carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_rustls::rustls::ClientConfig;

use crate::config::{Dispatch, Limits, ProxyError, Routes, Timeouts};
use crate::fault::{Fault, Refusal, Stage};
use crate::group::Group;
use crate::metrics::Metrics;
use crate::stamps::{DecodeStamps, Outcome, PrefillStamps, StageStamps};
use crate::upstream::Pool;

#[derive(Debug)]
pub(crate) struct Shared {
    /// Tells this proxy from another that held the port before.
    pub(crate) nonce: String,
    pub(crate) routing: Routing,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// For backends behind https.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) metrics: Metrics,
    /// No connection is accepted any more.
    pub(crate) stopping: AtomicBool,
    /// What is still in flight is being cut off.
    pub(crate) aborting: AtomicBool,
    in_flight: AtomicUsize,
    aborted: AtomicUsize,
    stamps: mpsc::Sender<StageStamps>,
}

#[derive(Debug)]
pub(crate) enum Routing {
    Balance(Group),
    PrefillDecode { prefill: Group, decode: Group, dispatch: Dispatch },
}

impl Routing {
    pub(crate) fn new(routes: Routes) -> Result<Self, ProxyError> {
        let group = |stage: Stage, urls: Vec<_>, policy, first_slot| {
            if urls.is_empty() {
                return Err(ProxyError::NoBackends { role: stage.name() });
            }
            Ok(Group::new(stage, urls, policy, first_slot))
        };
        Ok(match routes {
            Routes::Balance { backends, policy } => Routing::Balance(group(Stage::Backend, backends, policy, 0)?),
            Routes::PrefillDecode { prefill, decode, prefill_policy, decode_policy, dispatch } => {
                let prefills = prefill.len();
                Routing::PrefillDecode {
                    prefill: group(Stage::Prefill, prefill, prefill_policy, 0)?,
                    decode: group(Stage::Decode, decode, decode_policy, prefills)?,
                    dispatch,
                }
            }
        })
    }

    pub(crate) fn groups(&self) -> Vec<&Group> {
        match self {
            Routing::Balance(group) => vec![group],
            Routing::PrefillDecode { prefill, decode, .. } => vec![prefill, decode],
        }
    }

    pub(crate) fn backend_count(&self) -> usize {
        self.groups().iter().map(|group| group.backends().len()).sum()
    }
}

impl Shared {
    pub(crate) fn new(
        routing: Routing,
        limits: Limits,
        timeouts: Timeouts,
        tls: Option<Arc<ClientConfig>>,
    ) -> (Arc<Self>, mpsc::Receiver<StageStamps>) {
        let (stamps, drained) = mpsc::channel(limits.max_stamps.max(1));
        let shared = Shared {
            nonce: format!("{:016x}", rand::random::<u64>()),
            routing,
            limits,
            timeouts,
            tls,
            metrics: Metrics::default(),
            stopping: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            aborted: AtomicUsize::new(0),
            stamps,
        };
        (Arc::new(shared), drained)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests cut off by the proxy's own end.
    pub(crate) fn aborted(&self) -> usize {
        self.aborted.load(Ordering::Relaxed)
    }
}

/// One worker thread's view: the shared state and its own connections.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let pool = Pool::new(shared.routing.backend_count(), shared.timeouts.keep_alive, shared.tls.clone());
        Worker { shared, pool }
    }
}

/// A place among the requests in flight.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Shared>);

impl Slot {
    /// Counts a request in, and tells whether there was room for it.
    pub(crate) fn take(shared: &Arc<Shared>) -> (Self, Result<(), Refusal>) {
        let limit = shared.limits.max_in_flight;
        let before = shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let room = if before < limit { Ok(()) } else { Err(Refusal::Busy { limit }) };
        (Slot(Arc::clone(shared)), room)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The record of a request, delivered once: when it is settled, or when it is dropped because its client went away.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    shared: Arc<Shared>,
    pub(crate) stamps: StageStamps,
    settled: bool,
    _slot: Slot,
}

impl RequestTrace {
    pub(crate) fn begin(slot: Slot, request_id: String, accepted: Instant) -> Self {
        slot.0.metrics.accept();
        RequestTrace {
            shared: Arc::clone(&slot.0),
            stamps: StageStamps {
                request_id,
                accepted,
                prefill: PrefillStamps::default(),
                decode: DecodeStamps::default(),
                first_byte: None,
                end: accepted,
                bytes: 0,
                outcome: Outcome::ClientGone,
            },
            settled: false,
            _slot: slot,
        }
    }

    pub(crate) fn settle(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.settled, true) {
            self.stamps.outcome = outcome;
            self.deliver();
        }
    }

    pub(crate) fn fail(&mut self, fault: &Fault) {
        tracing::warn!(request = %self.stamps.request_id, "{fault}");
        self.settle(Outcome::Failed {
            stage: fault.stage,
            kind: fault.kind,
            status: Some(fault.kind.status().as_u16()),
        });
    }

    fn deliver(&mut self) {
        self.stamps.end = Instant::now();
        self.shared.metrics.finish(&self.stamps);
        self.shared.metrics.relay(self.stamps.bytes);
        if self.shared.stamps.try_send(self.stamps.clone()).is_err() {
            self.shared.metrics.lose_stamp();
        }
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if self.shared.aborting.load(Ordering::Relaxed) {
            self.shared.aborted.fetch_add(1, Ordering::Relaxed);
            self.settle(Outcome::Aborted);
        } else {
            self.settle(Outcome::ClientGone);
        }
    }
}
