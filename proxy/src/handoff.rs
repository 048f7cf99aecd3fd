//! The KV hand-off: the prompt is computed by a prefill instance, its KV named by an opaque object, and that object given
//! to a decode instance with the client's own request. Never without the object: a decode instance that gets none answers
//! 200 and computes the prompt again, and the measurement would be of something else.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Either;

use crate::config::Dispatch;
use crate::fault::{Fault, FaultKind};
use crate::group::{Assignment, Group};
use crate::headers::{for_prefill, for_rank};
use crate::hop::{Call, Outgoing};
use crate::identity::Identity;
use crate::relay::{Answered, ProxyBody};
use crate::rewrite::{KvParams, NoParams, Splice};
use crate::stamps::{DecodeStamps, PrefillStamps};
use crate::state::{RequestTrace, Worker};
use crate::together::both_at_once;

/// Bytes of a failed prefill's answer that are quoted to the client.
const QUOTED: usize = 400;

/// The two bodies a request is made into.
#[derive(Debug)]
pub(crate) struct Bodies {
    pub(crate) prefill: Bytes,
    pub(crate) splice: Splice,
    pub(crate) prompt_tokens: u64,
    /// Where the prompt stands in the client's body.
    pub(crate) prompt: Range<usize>,
}

/// The two roles.
#[derive(Clone, Copy)]
pub(crate) struct Roles<'a> {
    pub(crate) prefill: &'a Group,
    pub(crate) decode: &'a Group,
    pub(crate) dispatch: Dispatch,
}

/// How the prefill stage ended without a fault.
pub(crate) enum Prefilled {
    Params(KvParams),
    /// The engine refused the request, or had no room: its answer is the client's.
    Declined(Box<Answered>),
}

/// Takes the request through both stages and relays the decode instance's answer.
pub(crate) async fn hand_off(
    worker: Arc<Worker>,
    roles: Roles<'_>,
    call: Call,
    bodies: Bodies,
    mut trace: RequestTrace,
) -> Response<ProxyBody> {
    match both_stages(&worker, roles, call, bodies, &mut trace).await {
        Ok(answered) => answered.relay(worker, trace),
        Err(fault) => {
            trace.fail(&fault);
            fault.response().map(Either::Left)
        }
    }
}

async fn both_stages(
    worker: &Arc<Worker>,
    roles: Roles<'_>,
    call: Call,
    bodies: Bodies,
    trace: &mut RequestTrace,
) -> Result<Answered, Fault> {
    if call.pins.decode.is_none() {
        // A prefill for nobody would hold its KV until the lease ends.
        roles.decode.check_available()?;
    }
    let to_prefill =
        roles.prefill.assign(call.asked(bodies.prompt_tokens, bodies.prompt.clone()), call.pins.prefill)?;
    if let Some(identity) = to_prefill.identity() {
        return both_at_once(worker, roles, &Arc::new(call), bodies, (to_prefill, identity), trace).await;
    }
    let known = to_prefill.shared();
    match prefill(worker, to_prefill, &call, &bodies.prefill, &mut trace.stamps.prefill).await? {
        Prefilled::Declined(answered) => Ok(*answered),
        Prefilled::Params(params) => {
            if let Some(identity) = roles.dispatch.identity_in(&params) {
                known.remember(identity);
            }
            let backend =
                roles.decode.assign(call.asked(bodies.prompt_tokens, bodies.prompt.clone()), call.pins.decode)?;
            let body = bodies.splice.pieces(&call.body, params);
            decode(worker, backend, &call, &body, &mut trace.stamps.decode).await
        }
    }
}

impl Dispatch {
    /// Who decode can be told to wait for from the next request on.
    fn identity_in(self, params: &KvParams) -> Option<Identity> {
        let (identity, pushes) = match self {
            Dispatch::InTurn => None,
            Dispatch::Together | Dispatch::AsTold => Identity::told_by(params),
        }?;
        (pushes || self == Dispatch::Together).then_some(identity)
    }
}

pub(crate) async fn prefill(
    worker: &Worker,
    backend: Assignment,
    call: &Call,
    body: &Bytes,
    stamps: &mut PrefillStamps,
) -> Result<Prefilled, Fault> {
    stamps.backend = Some(backend.index);
    let outgoing = Outgoing {
        call,
        headers: &for_prefill(&call.headers, call.pins.prefill_rank),
        body: std::slice::from_ref(body),
    };
    let mut answered = outgoing.exchange(worker, backend, &mut stamps.sent).await?;
    stamps.head = Some(Instant::now());
    let status = answered.head.status;
    if status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE {
        return Ok(Prefilled::Declined(Box::new(answered)));
    }
    if !status.is_success() {
        return Err(quote_failure(worker, &mut answered).await);
    }
    let limit = worker.shared.limits.max_prefill_answer;
    let Answered { mut answer, backend, .. } = answered;
    let body = answer
        .collect(limit, worker.shared.timeouts.idle)
        .await
        .map_err(|error| backend.fault(error.kind(), &error))?;
    stamps.done = Some(Instant::now());
    worker.pool.put_back(backend.slot, answer);
    KvParams::from_answer(&body).map(Prefilled::Params).map_err(|why| {
        let kind = match why {
            NoParams::Missing => FaultKind::KvHandoff,
            NoParams::NotJson(_) => FaultKind::Protocol,
        };
        backend.fault(kind, &why)
    })
}

pub(crate) async fn decode(
    worker: &Worker,
    backend: Assignment,
    call: &Call,
    body: &[Bytes],
    stamps: &mut DecodeStamps,
) -> Result<Answered, Fault> {
    stamps.backend = Some(backend.index);
    let headers = for_rank(&call.headers, call.pins.decode_rank);
    let outgoing = Outgoing { call, headers: &headers, body };
    let answered = outgoing.exchange(worker, backend, &mut stamps.sent).await?;
    stamps.head = Some(Instant::now());
    Ok(answered)
}

/// The fault of a prefill instance that answered neither 2xx nor 4xx, with the beginning of what it said.
async fn quote_failure(worker: &Worker, answered: &mut Answered) -> Fault {
    let limit = worker.shared.limits.max_prefill_answer;
    let said = answered.answer.collect(limit, worker.shared.timeouts.idle).await.unwrap_or_default();
    let quote = String::from_utf8_lossy(&said[..said.len().min(QUOTED)]);
    let status = answered.head.status;
    let kind = if status.is_server_error() { FaultKind::EngineError } else { FaultKind::Protocol };
    answered.backend.fault(kind, &format_args!("it answered {status}: {quote}"))
}
