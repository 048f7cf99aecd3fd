//! Both stages at once, for engines whose prefill pushes the KV: decode sets its blocks aside while the prompt is computed.
//!
//! Nothing reaches the client before prefill succeeded, or decode's first bytes came, which prove that it did: the head of
//! decode's answer comes long before. As soon as one stage fails the other is dropped, and its engine told by the closed
//! connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use crate::fault::{Fault, FaultKind};
use crate::group::Assignment;
use crate::handoff::{Bodies, Prefilled, Roles, decode, prefill};
use crate::hop::Call;
use crate::identity::Identity;
use crate::relay::Answered;
use crate::stamps::{PrefillStamps, StageStamps};
use crate::state::{RequestTrace, Worker};

/// A prefill under way beside its decode. Dropping it closes the connection, which takes the request off the engine.
pub(crate) struct PrefillLeg(Pin<Box<dyn Future<Output = LegEnd> + Send>>);

/// How it ended, and when it passed its stages.
pub(crate) struct LegEnd {
    stamps: PrefillStamps,
    outcome: Result<Prefilled, Fault>,
}

impl std::fmt::Debug for PrefillLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrefillLeg")
    }
}

impl PrefillLeg {
    fn new(worker: Arc<Worker>, backend: Assignment, call: Arc<Call>, body: Bytes, given: Identity) -> Self {
        PrefillLeg(Box::pin(async move {
            let mut stamps = PrefillStamps { backend: Some(backend.index), ..PrefillStamps::default() };
            let outcome = prefill_for(&given, &worker, backend, &call, &body, &mut stamps).await;
            LegEnd { stamps, outcome }
        }))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LegEnd> {
        self.0.as_mut().poll(cx)
    }
}

impl LegEnd {
    /// Notes the times; the prefill's answer for the client where the engine declined.
    pub(crate) fn settle(self, stamps: &mut PrefillStamps) -> Result<Option<Answered>, Fault> {
        *stamps = self.stamps;
        match self.outcome? {
            Prefilled::Params(_) => Ok(None),
            Prefilled::Declined(answered) => Ok(Some(*answered)),
        }
    }
}

/// A prefill whose decode was told to wait for `given`.
async fn prefill_for(
    given: &Identity,
    worker: &Worker,
    backend: Assignment,
    call: &Call,
    body: &Bytes,
    stamps: &mut PrefillStamps,
) -> Result<Prefilled, Fault> {
    let known = backend.shared();
    let prefilled = prefill(worker, backend, call, body, stamps).await?;
    match &prefilled {
        Prefilled::Params(params) => match Identity::told_by(params) {
            Some((told, _)) if told != *given => {
                known.remember(told);
                let detail = "it calls itself another engine than before, and decode waits for the one before: was it \
                              restarted?";
                Err(known.fault(FaultKind::KvHandoff, &detail))
            }
            _ => Ok(prefilled),
        },
        Prefilled::Declined(_) => Ok(prefilled),
    }
}

/// Sends both requests and waits until there is something for the client.
pub(crate) async fn both_at_once(
    worker: &Arc<Worker>,
    roles: Roles<'_>,
    call: &Arc<Call>,
    bodies: Bodies,
    (backend, identity): (Assignment, Identity),
    trace: &mut RequestTrace,
) -> Result<Answered, Fault> {
    let to_decode = roles.decode.assign(call.asked(bodies.prompt_tokens, bodies.prompt.clone()), call.pins.decode)?;
    let body = bodies.splice.pieces(&call.body, identity.params());
    trace.stamps.prefill.backend = Some(backend.index);
    let mut leg = Some(PrefillLeg::new(Arc::clone(worker), backend, Arc::clone(call), bodies.prefill, identity));
    let answered = {
        let StageStamps { prefill: prefill_stamps, decode: decode_stamps, .. } = &mut trace.stamps;
        let mut decoding = pin!(decode(worker, to_decode, call, &body, decode_stamps));
        loop {
            match next(leg.as_mut(), |cx| decoding.as_mut().poll(cx)).await {
                Next::Prefilled(end) => {
                    leg = None;
                    if let Some(declined) = end.settle(prefill_stamps)? {
                        return Ok(declined);
                    }
                }
                Next::Decode(answered) => break answered?,
            }
        }
    };
    match leg {
        Some(leg) if answered.head.status.is_success() => first_of(leg, answered, trace).await,
        // Prefill has ended, or decode refused the request, and there is nothing to prefill for.
        _ => Ok(answered),
    }
}

/// Waits for the end of the prefill or decode's first bytes, whichever comes first.
async fn first_of(mut leg: PrefillLeg, mut answered: Answered, trace: &mut RequestTrace) -> Result<Answered, Fault> {
    match next(Some(&mut leg), |cx| answered.answer.poll_data(cx)).await {
        Next::Prefilled(end) => return Ok(end.settle(&mut trace.stamps.prefill)?.unwrap_or(answered)),
        Next::Decode(Some(Err(error))) => return Err(answered.backend.fault(error.kind(), &error)),
        Next::Decode(Some(Ok(bytes))) => {
            trace.stamps.first_byte = Some(Instant::now());
            answered.early = Some(bytes);
        }
        Next::Decode(None) => {}
    }
    answered.leg = Some(leg);
    Ok(answered)
}

/// What came first.
enum Next<T> {
    Prefilled(LegEnd),
    Decode(T),
}

/// Lets both stages run until one has something to say; prefill first, because its request is the one with work to do.
async fn next<T>(mut leg: Option<&mut PrefillLeg>, mut decode: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Next<T> {
    poll_fn(|cx| {
        if let Some(leg) = &mut leg
            && let Poll::Ready(end) = leg.poll(cx)
        {
            return Poll::Ready(Next::Prefilled(end));
        }
        decode(cx).map(Next::Decode)
    })
    .await
}
