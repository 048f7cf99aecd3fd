//! `/health`: whether every role has a backend that accepts connections, asked at the moment of the question.
//! It does not ask whether an engine behind a socket makes progress: that is seen in its tokens, not here.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::fault::Stage;
use crate::group::{Backend, Group};
use crate::state::Shared;
use crate::upstream::Link;

/// How this program names itself; with the nonce it tells a proxy of this run from one left on the port.
pub(crate) const IDENTITY: &str = "topobench-proxy";

#[derive(Serialize)]
struct Health<'a> {
    proxy: &'a str,
    version: &'a str,
    nonce: &'a str,
    healthy: bool,
    stopping: bool,
    roles: Vec<RoleHealth>,
}

#[derive(Serialize)]
struct RoleHealth {
    role: Stage,
    healthy: bool,
    backends: Vec<BackendHealth>,
}

#[derive(Serialize)]
struct BackendHealth {
    url: String,
    accepts: bool,
    in_flight: usize,
    /// Why it does not accept.
    error: Option<String>,
}

pub(crate) async fn answer(shared: &Shared) -> Response<Full<Bytes>> {
    let groups = shared.routing.groups();
    let roles = join_all(groups.into_iter().map(|group| role(shared, group))).await;
    let stopping = shared.stopping.load(Ordering::Relaxed);
    let health = Health {
        proxy: IDENTITY,
        version: env!("CARGO_PKG_VERSION"),
        nonce: &shared.nonce,
        healthy: !stopping && roles.iter().all(|role| role.healthy),
        stopping,
        roles,
    };
    let body = serde_json::json!(health).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if !health.healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn role(shared: &Shared, group: &Group) -> RoleHealth {
    let backends = join_all(group.backends().iter().map(|backend| probe(shared, backend))).await;
    RoleHealth { role: group.stage(), healthy: backends.iter().any(|backend| backend.accepts), backends }
}

async fn probe(shared: &Shared, backend: &Backend) -> BackendHealth {
    let opened = Link::open(&backend.url, shared.timeouts.probe, shared.tls.as_ref()).await;
    if opened.is_ok() {
        // Seen alive, so a request need not wait for the cooldown of an earlier refusal.
        backend.mark_accepting();
    }
    BackendHealth {
        url: backend.url.to_string(),
        accepts: opened.is_ok(),
        in_flight: backend.requests(),
        error: opened.err().map(|error| error.to_string()),
    }
}
