//! What each request is, and who answers it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, EXPECT, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::config::Timeouts;
use crate::fault::Refusal;
use crate::forward::forward;
use crate::handoff::{Bodies, Roles, hand_off};
use crate::headers::{Pins, for_backend, request_id};
use crate::health;
use crate::hop::Call;
use crate::relay::ProxyBody;
use crate::rewrite::Route;
use crate::stamps::Outcome;
use crate::state::{RequestTrace, Routing, Slot, Worker};

/// A client that sends nothing for so long waits for an answer.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest that a refused body is read for its client's sake.
const MOST_DRAINING: Duration = Duration::from_secs(1);

pub(crate) async fn serve(worker: Arc<Worker>, request: Request<Incoming>) -> Response<ProxyBody> {
    let own = request.method() == Method::GET;
    match request.uri().path() {
        "/health" if own => health::answer(&worker.shared).await.map(Either::Left),
        "/metrics" if own => metrics(&worker).map(Either::Left),
        _ => route(worker, request).await,
    }
}

fn metrics(worker: &Worker) -> Response<Full<Bytes>> {
    let shared = &worker.shared;
    let text = shared.metrics.render(&shared.routing.groups(), shared.in_flight());
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, prometheus);
    response
}

/// Who serves a request that was found fit.
enum Destination {
    Forward { prefill: bool },
    HandOff(Bodies),
}

async fn route(worker: Arc<Worker>, request: Request<Incoming>) -> Response<ProxyBody> {
    let accepted = Instant::now();
    let (slot, room) = Slot::take(&worker.shared);
    let (mut parts, body) = request.into_parts();
    let expects = parts.headers.contains_key(EXPECT);
    for_backend(&mut parts.headers);
    let mut trace = RequestTrace::begin(slot, request_id(&mut parts.headers), accepted);
    let admitted = async {
        room?;
        let pins = Pins::take(&mut parts.headers)?;
        let body = read_body(body, worker.shared.limits.max_request_body, expects, &worker.shared.timeouts).await?;
        worker.shared.metrics.receive(body.len());
        let call = Call { method: parts.method, uri: parts.uri, headers: parts.headers, body, pins };
        let destination = destination(&worker.shared.routing, &call)?;
        Ok::<_, Refusal>((call, destination))
    };
    let (call, destination) = match admitted.await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            // Unsettled, a request counts as its client's going away.
            if !matches!(refusal, Refusal::NotWhole { .. }) {
                trace.settle(Outcome::Refused { status: refusal.status().as_u16() });
            }
            return refusal.response().map(Either::Left);
        }
    };
    let shared = Arc::clone(&worker.shared);
    match (&shared.routing, destination) {
        (Routing::PrefillDecode { prefill, decode, dispatch }, Destination::HandOff(bodies)) => {
            hand_off(worker, Roles { prefill, decode, dispatch: *dispatch }, call, bodies, trace).await
        }
        (Routing::PrefillDecode { prefill, .. }, Destination::Forward { prefill: true }) => {
            forward(worker, prefill, call.pins.prefill, call, trace).await
        }
        (Routing::PrefillDecode { decode, .. }, Destination::Forward { prefill: false }) => {
            forward(worker, decode, call.pins.decode, call, trace).await
        }
        (Routing::Balance(group), _) => forward(worker, group, call.pins.backend, call, trace).await,
    }
}

/// Finds out who serves the request, or why nobody does.
fn destination(routing: &Routing, call: &Call) -> Result<Destination, Refusal> {
    match routing {
        Routing::Balance(group) => {
            group.check_pin(call.pins.backend)?;
            // What is not a JSON object is passed on for the engine to refuse in its own words.
            if call.generates()
                && let Ok(inspected) = call.inspect()
            {
                inspected.unsupported(Route::Balance)?;
            }
            Ok(Destination::Forward { prefill: false })
        }
        Routing::PrefillDecode { prefill, decode, .. } => {
            prefill.check_pin(call.pins.prefill)?;
            decode.check_pin(call.pins.decode)?;
            if call.generates() {
                return bodies(call).map(Destination::HandOff);
            }
            if call.method.is_safe() {
                return Ok(Destination::Forward { prefill: call.pins.prefill.is_some() && call.pins.decode.is_none() });
            }
            Err(Refusal::NotRouted {
                message: format!(
                    "{} {} is not served in prefill/decode mode: POST /v1/completions or /v1/chat/completions",
                    call.method,
                    call.uri.path()
                ),
            })
        }
    }
}

fn bodies(call: &Call) -> Result<Bodies, Refusal> {
    let inspected = call.inspect().map_err(|error| Refusal::BadRequest { param: None, message: error.to_string() })?;
    inspected.unsupported(Route::HandOff)?;
    Ok(Bodies {
        prefill: inspected.prefill_body().into(),
        splice: inspected.splice(),
        prompt_tokens: inspected.prompt_tokens(),
        prompt: inspected.prompt_place(),
    })
}

/// Reads the client's body, up to `limit` bytes. One that came in a single read is not copied.
async fn read_body(mut body: Incoming, limit: usize, expects: bool, timeouts: &Timeouts) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > limit as u64 {
        // A client that waits for leave to send needs no draining; reading would give it that leave.
        if !expects {
            drain(&mut body, limit).await;
        }
        return Err(Refusal::BodyTooLarge { limit });
    }
    let too_slow = Refusal::TooSlow { after: timeouts.client_body };
    timeout(timeouts.client_body, collect(body, limit, timeouts.client_idle)).await.unwrap_or(Err(too_slow))
}

async fn collect(mut body: Incoming, limit: usize, idle: Duration) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(Refusal::TooSlow { after: idle }),
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(|error| Refusal::NotWhole { why: error.to_string() })?,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + joined.len() + data.len() > limit {
            drain(&mut body, limit).await;
            return Err(Refusal::BodyTooLarge { limit });
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            joined.reserve(first.len() + data.len() + usize::try_from(body.size_hint().lower()).unwrap_or(0));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Throws away up to `limit` more bytes that come without a pause, so that a client which writes before it reads gets to
/// read the refusal. One that pauses is told at once.
async fn drain(body: &mut Incoming, limit: usize) {
    let mut drained = 0;
    let until = Instant::now() + MOST_DRAINING;
    while drained <= limit
        && Instant::now() < until
        && let Ok(Some(Ok(frame))) = timeout(PAUSE, body.frame()).await
    {
        drained += frame.data_ref().map_or(0, Bytes::len);
    }
}
