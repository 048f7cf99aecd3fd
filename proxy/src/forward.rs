//! A request passed to one backend, bytes untouched.

use std::sync::Arc;
use std::time::Instant;

use http::Response;
use http_body_util::Either;

use crate::fault::Fault;
use crate::group::Group;
use crate::hop::{Call, Outgoing};
use crate::load::Asked;
use crate::relay::{Answered, ProxyBody};
use crate::state::{RequestTrace, Worker};

/// Sends the request to a backend of the group and relays the answer.
pub(crate) async fn forward(
    worker: Arc<Worker>,
    group: &Group,
    pin: Option<usize>,
    call: Call,
    mut trace: RequestTrace,
) -> Response<ProxyBody> {
    // Estimated only for the policy's sake: what is not JSON is the backend's to refuse.
    let known = || call.inspect().map_or((1, 0..0), |body| (body.prompt_tokens(), body.prompt_place()));
    let (tokens, prompt) = if call.generates() { known() } else { (0, 0..0) };
    match exchange(&worker, group, pin, call.asked(tokens, prompt), &call, &mut trace).await {
        Ok(answered) => answered.relay(worker, trace),
        Err(fault) => {
            trace.fail(&fault);
            fault.response().map(Either::Left)
        }
    }
}

async fn exchange(
    worker: &Worker,
    group: &Group,
    pin: Option<usize>,
    asked: Asked<'_>,
    call: &Call,
    trace: &mut RequestTrace,
) -> Result<Answered, Fault> {
    let backend = group.assign(asked, pin)?;
    trace.stamps.decode.backend = Some(backend.index);
    let outgoing = Outgoing { call, headers: &call.headers, body: std::slice::from_ref(&call.body) };
    let answered = outgoing.exchange(worker, backend, &mut trace.stamps.decode.sent).await?;
    trace.stamps.decode.head = Some(Instant::now());
    Ok(answered)
}
