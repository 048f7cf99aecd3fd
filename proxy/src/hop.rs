//! One exchange with one backend, up to the head of its answer.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use crate::fault::{Fault, FaultKind};
use crate::group::Assignment;
use crate::headers::Pins;
use crate::http1::AnswerHead;
use crate::load::Asked;
use crate::relay::Answered;
use crate::rewrite::{Inspected, NotAnObject};
use crate::state::Worker;
use crate::upstream::{Answer, RequestHead, UpstreamError};

/// A client's request, read whole, its headers stripped of what concerns the client's connection.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) pins: Pins,
}

impl Call {
    /// A request that makes the engine generate.
    pub(crate) fn generates(&self) -> bool {
        self.method == Method::POST && matches!(self.uri.path(), "/v1/completions" | "/v1/chat/completions")
    }

    /// What a policy may know of it.
    pub(crate) fn asked(&self, tokens: u64, prompt: Range<usize>) -> Asked<'_> {
        Asked { tokens, prompt: self.body.get(prompt).unwrap_or_default() }
    }

    pub(crate) fn inspect(&self) -> Result<Inspected<'_>, NotAnObject> {
        Inspected::new(&self.body)
    }
}

/// What is sent to a backend: the client's request line, these headers, and the body in pieces.
pub(crate) struct Outgoing<'a> {
    pub(crate) call: &'a Call,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [Bytes],
}

impl Outgoing<'_> {
    /// Sends it and waits for the head of the answer. `sent` is set when the last byte was given to the kernel.
    pub(crate) async fn exchange(
        &self,
        worker: &Worker,
        backend: Assignment,
        sent: &mut Option<Instant>,
    ) -> Result<Answered, Fault> {
        let started = Instant::now();
        let after = worker.shared.timeouts.first_byte;
        let awaited = "answer";
        let outcome = tokio::time::timeout(after, self.attempt(worker, &backend, sent)).await;
        match outcome.unwrap_or(Err(UpstreamError::Timeout { awaited, after })) {
            Ok((head, answer)) => Ok(Answered::new(head, answer, backend, started)),
            Err(error) => {
                if error.kind() == FaultKind::Connect {
                    backend.mark_refusing(worker.shared.timeouts.cooldown);
                }
                Err(backend.fault(error.kind(), &error))
            }
        }
    }

    async fn attempt(
        &self,
        worker: &Worker,
        backend: &Assignment,
        sent: &mut Option<Instant>,
    ) -> Result<(AnswerHead, Answer), UpstreamError> {
        let method = &self.call.method;
        let body_len: usize = self.body.iter().map(Bytes::len).sum();
        let head = RequestHead {
            method,
            uri: &self.call.uri,
            authority: &backend.authority,
            headers: self.headers,
            body_len: (body_len > 0 || !method.is_safe()).then_some(body_len),
        };
        let mut pieces = Vec::with_capacity(self.body.len() + 1);
        pieces.push(head.to_bytes());
        pieces.extend_from_slice(self.body);
        let connect = worker.shared.timeouts.connect;
        let waiting = worker.pool.send(backend.slot, &backend.url, &pieces, connect).await?;
        *sent = Some(Instant::now());
        waiting.answer(method, worker.shared.limits.max_response_head).await
    }
}
