//! What goes wrong, as the client is told: one JSON shape, OpenAI's, with the stage and the kind beside the message.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use std::time::Duration;

use crate::rewrite::Unsupported;
use crate::upstream::UpstreamError;

/// The hop of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Prefill,
    Decode,
    /// The only hop of a request that is balanced over replicas, or passed on as it is.
    Backend,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Prefill => "prefill",
            Stage::Decode => "decode",
            Stage::Backend => "backend",
        }
    }
}

/// What a backend did, or failed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Every backend of the role refused connections a moment ago.
    NoBackend,
    /// The chosen backend refused the connection.
    Connect,
    /// It did not answer, or went on, in time.
    Timeout,
    /// It closed the connection before or during its answer.
    Closed,
    /// Its answer is not HTTP, or not a completion.
    Protocol,
    /// Its answer is larger than the limits allow.
    TooLarge,
    /// A prefill instance answered 200 without KV transfer params.
    KvHandoff,
    /// A prefill instance answered 5xx.
    EngineError,
}

impl FaultKind {
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::NoBackend => "no_backend",
            FaultKind::Connect => "connect",
            FaultKind::Timeout => "timeout",
            FaultKind::Closed => "closed",
            FaultKind::Protocol => "protocol",
            FaultKind::TooLarge => "too_large",
            FaultKind::KvHandoff => "kv_handoff",
            FaultKind::EngineError => "engine_error",
        }
    }

    /// What the client gets while nothing was sent to it yet.
    pub fn status(self) -> StatusCode {
        match self {
            FaultKind::NoBackend => StatusCode::SERVICE_UNAVAILABLE,
            FaultKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// A hop that failed before the client was sent anything.
#[derive(Debug, thiserror::Error)]
#[error("{stage} stage failed at {backend}: {detail}", stage = .stage.name())]
pub(crate) struct Fault {
    pub(crate) stage: Stage,
    pub(crate) kind: FaultKind,
    pub(crate) backend: String,
    pub(crate) detail: String,
}

impl UpstreamError {
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            UpstreamError::Connect(_) | UpstreamError::ConnectTimeout(_) => FaultKind::Connect,
            UpstreamError::Timeout { .. } => FaultKind::Timeout,
            UpstreamError::Closed | UpstreamError::Broken(_) | UpstreamError::Truncated => FaultKind::Closed,
            UpstreamError::Protocol(_) => FaultKind::Protocol,
            UpstreamError::TooLarge { .. } => FaultKind::TooLarge,
        }
    }
}

/// A request that the proxy answers itself because it cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Outside what the proxy serves, and what to do instead.
    BadRequest {
        param: Option<&'static str>,
        message: String,
    },
    NotRouted {
        message: String,
    },
    BodyTooLarge {
        limit: usize,
    },
    Busy {
        limit: usize,
    },
    /// The client stopped in the middle of its body; it will hardly read this.
    NotWhole {
        why: String,
    },
    /// The client's body came too slowly, or not at all.
    TooSlow {
        after: Duration,
    },
}

impl From<Unsupported> for Refusal {
    fn from(unsupported: Unsupported) -> Self {
        Refusal::BadRequest { param: Some(unsupported.param), message: unsupported.message.to_owned() }
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::BadRequest { .. } | Refusal::NotWhole { .. } => StatusCode::BAD_REQUEST,
            Refusal::NotRouted { .. } => StatusCode::NOT_FOUND,
            Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let (param, message) = match self {
            Refusal::BadRequest { param, message } => (*param, message.clone()),
            Refusal::NotRouted { message } => (None, message.clone()),
            Refusal::NotWhole { why } => (None, format!("the request body did not arrive whole: {why}")),
            Refusal::TooSlow { after } => {
                (None, format!("no further byte of the request body came within {after:?}: send it whole, and at once"))
            }
            Refusal::BodyTooLarge { limit } => {
                (None, format!("the request body is larger than {limit} bytes: send less, or raise the proxy's limit"))
            }
            Refusal::Busy { limit } => {
                (None, format!("{limit} requests are in flight already: try again later, or raise the proxy's limit"))
            }
        };
        let status = self.status();
        error_response(
            status,
            &ErrorBody {
                message: &message,
                r#type: status.canonical_reason().unwrap_or("error"),
                param,
                code: status.as_u16(),
                kind: "refused",
                stage: None,
                backend: None,
            },
        )
    }
}

impl Fault {
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let status = self.kind.status();
        error_response(
            status,
            &ErrorBody {
                message: &self.to_string(),
                r#type: "topobench_proxy",
                param: None,
                code: status.as_u16(),
                kind: self.kind.name(),
                stage: Some(self.stage),
                backend: Some(&self.backend),
            },
        )
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
    kind: &'a str,
    stage: Option<Stage>,
    backend: Option<&'a str>,
}

fn error_response(status: StatusCode, error: &ErrorBody<'_>) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": error }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
