//! The KV hand-off: the prompt is computed by a prefill instance, its KV named by an opaque object, and that object given
//! to a decode instance with the client's own request. Never without the object: a decode instance that gets none answers
//! 200 and computes the prompt again, and the measurement would be of something else.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Either;

use crate::fault::{Fault, FaultKind};
use crate::group::Group;
use crate::headers::for_prefill;
use crate::hop::{Call, Outgoing};
use crate::relay::{Answered, ProxyBody};
use crate::rewrite::{KvParams, NoParams, Splice};
use crate::state::{RequestTrace, Worker};

/// Bytes of a failed prefill's answer that are quoted to the client.
const QUOTED: usize = 400;

/// The two bodies a request is made into.
#[derive(Debug)]
pub(crate) struct Bodies {
    pub(crate) prefill: Bytes,
    pub(crate) splice: Splice,
    pub(crate) prompt_tokens: u64,
}

/// The two roles.
#[derive(Clone, Copy)]
pub(crate) struct Roles<'a> {
    pub(crate) prefill: &'a Group,
    pub(crate) decode: &'a Group,
}

/// How the prefill stage ended without a fault.
enum Prefilled {
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
    match both_stages(&worker, roles, &call, bodies, &mut trace).await {
        Ok(answered) => answered.relay(worker, trace),
        Err(fault) => {
            trace.fail(&fault);
            fault.response().map(Either::Left)
        }
    }
}

async fn both_stages(
    worker: &Worker,
    roles: Roles<'_>,
    call: &Call,
    bodies: Bodies,
    trace: &mut RequestTrace,
) -> Result<Answered, Fault> {
    if call.pins.decode.is_none() {
        // A prefill for nobody would hold its KV until the lease ends.
        roles.decode.check_available()?;
    }
    match prefill(worker, roles.prefill, call, &bodies, trace).await? {
        Prefilled::Declined(answered) => Ok(*answered),
        Prefilled::Params(params) => {
            let body = bodies.splice.pieces(&call.body, params);
            decode(worker, roles.decode, call, bodies.prompt_tokens, &body, trace).await
        }
    }
}

async fn prefill(
    worker: &Worker,
    group: &Group,
    call: &Call,
    bodies: &Bodies,
    trace: &mut RequestTrace,
) -> Result<Prefilled, Fault> {
    let backend = group.assign(bodies.prompt_tokens, call.pins.prefill)?;
    trace.stamps.prefill_backend = Some(backend.index);
    let outgoing = Outgoing { call, headers: &for_prefill(&call.headers), body: std::slice::from_ref(&bodies.prefill) };
    let mut answered = outgoing.exchange(worker, backend, &mut trace.stamps.prefill_sent).await?;
    trace.stamps.prefill_head = Some(Instant::now());
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
    trace.stamps.prefill_done = Some(Instant::now());
    worker.pool.put_back(backend.slot, answer);
    KvParams::from_answer(&body).map(Prefilled::Params).map_err(|why| {
        let kind = match why {
            NoParams::Missing => FaultKind::KvHandoff,
            NoParams::NotJson(_) => FaultKind::Protocol,
        };
        backend.fault(kind, &why)
    })
}

async fn decode(
    worker: &Worker,
    group: &Group,
    call: &Call,
    prompt_tokens: u64,
    body: &[Bytes],
    trace: &mut RequestTrace,
) -> Result<Answered, Fault> {
    let backend = group.assign(prompt_tokens, call.pins.decode)?;
    trace.stamps.decode_backend = Some(backend.index);
    let outgoing = Outgoing { call, headers: &call.headers, body };
    let answered = outgoing.exchange(worker, backend, &mut trace.stamps.decode_sent).await?;
    trace.stamps.decode_head = Some(Instant::now());
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
