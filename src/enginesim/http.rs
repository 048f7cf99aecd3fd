//! The HTTP surface: routes, keys, access log, and the faults of whole responses.

mod errors;
mod request;
mod stream;
mod whole;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream::poll_fn;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, SERVER, VARY};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::mpsc::channel;

use crate::enginesim::faults::Fault;
use crate::enginesim::generate::{Generation, GenerationError, Server};
use crate::enginesim::log::{self, Source};
use errors::ApiError;
use request::Parsed;
use stream::EventWriter;
use wire::Endpoint;

/// Body of any response.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Events of one stream that may wait for a slow reader.
const STREAM_BUFFER: usize = 256;

/// Answers one request; an error makes the connection break off.
pub(super) async fn handle(
    server: Arc<Server>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = if authorised(&server, &request) {
        route(&server, request).await
    } else {
        let body = json!({"error": "Unauthorized"}).to_string();
        Ok(json_response(StatusCode::UNAUTHORIZED, body))
    };
    let mut response = response?;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("uvicorn"));
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let status = response.status();
    server.page.http(&path, method.as_str(), status.as_u16());
    let reason = status.canonical_reason().unwrap_or("");
    log::uvicorn(&format!("{peer} - \"{method} {path} HTTP/1.1\" {} {reason}", status.as_u16()));
    Ok(response)
}

/// vLLM asks for a key under /v1 only.
fn authorised(server: &Server, request: &Request<Incoming>) -> bool {
    let keys = &server.config.api_keys;
    if keys.is_empty() || !request.uri().path().starts_with("/v1") {
        return true;
    }
    let header = request.headers().get(hyper::header::AUTHORIZATION);
    let given = header.and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    given.is_some_and(|given| keys.iter().any(|key| key == given))
}

async fn route(server: &Arc<Server>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let method = request.method().clone();
    let path = request.uri().path();
    let allowed = match path {
        "/health" | "/version" | "/load" | "/metrics" | "/v1/models" => method == Method::GET,
        "/ping" => method == Method::GET || method == Method::POST,
        "/v1/completions" | "/v1/chat/completions" => method == Method::POST,
        // As in vLLM, only there is a profiler where its traces have a place.
        "/start_profile" | "/stop_profile" if server.config.traces.is_some() => method == Method::POST,
        _ => {
            let body = json!({"detail": "Not Found"}).to_string();
            return Ok(json_response(StatusCode::NOT_FOUND, body));
        }
    };
    if !allowed {
        let body = json!({"detail": "Method Not Allowed"}).to_string();
        return Ok(json_response(StatusCode::METHOD_NOT_ALLOWED, body));
    }
    Ok(match path {
        "/version" => {
            let version = concat!("0.32.0+enginesim.", env!("CARGO_PKG_VERSION"));
            json_response(StatusCode::OK, json!({ "version": version }).to_string())
        }
        "/load" => {
            let load = server.open.load(Ordering::Relaxed);
            json_response(StatusCode::OK, json!({ "server_load": load }).to_string())
        }
        "/metrics" => {
            let mut response = Response::new(full(server.page.render(server.ranks.metrics())));
            let kind = "text/plain; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        "/v1/models" => json_response(StatusCode::OK, models(server)),
        "/stop_profile" => {
            server.write_trace()?;
            Response::new(full(""))
        }
        "/v1/completions" => return generate(server, Endpoint::Completions, request).await,
        "/v1/chat/completions" => return generate(server, Endpoint::Chat, request).await,
        _ => Response::new(full("")),
    })
}

fn models(server: &Server) -> String {
    let config = &server.config;
    let created = chrono::Utc::now().timestamp();
    let card = |name: &String| {
        json!({
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": config.model_path,
            "parent": null,
            "max_model_len": config.max_model_len,
            "permission": [],
        })
    };
    let data: Vec<_> = config.served_names.iter().map(card).collect();
    json!({"object": "list", "data": data}).to_string()
}

/// Counts a request as open for as long as it lives.
struct Open(Arc<Server>);

impl Open {
    fn new(server: &Arc<Server>) -> Self {
        server.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(server))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn generate(server: &Arc<Server>, endpoint: Endpoint, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let open = Open::new(server);
    if let Some(response) = faulty_start(server).await {
        return Ok(response);
    }
    let header = request.headers().get("x-request-id");
    let request_id = header.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let header = request.headers().get("x-data-parallel-rank");
    // As vLLM has it: what is no number asks for nothing.
    let rank = header.and_then(|rank| rank.to_str().ok()?.trim().parse().ok());
    let body = request.into_body().collect().await.map_err(io::Error::other)?;
    let parsed = match request::parse(server, endpoint, &body.to_bytes(), request_id.as_deref(), rank) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(error_response(&error)),
    };
    let generation = Generation::new(Arc::clone(server), parsed.job.clone());
    let created = chrono::Utc::now().timestamp();
    if parsed.stream {
        return Ok(stream_response(server, parsed, generation, created, open));
    }
    match whole::answer(&parsed, generation, created).await {
        Ok(answer) => Ok(whole_response(server, answer)),
        Err(GenerationError::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) => Ok(error_response(&whole::error(&error))),
    }
}

/// Faults that strike before a request is read: death, an error status, delay.
async fn faulty_start(server: &Server) -> Option<Response<Body>> {
    let count = server.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let faults = &server.config.faults;
    let last = faults.find(|fault| match fault {
        Fault::DieAfter(requests) => Some(*requests),
        _ => None,
    });
    if last.is_some_and(|last| count > last) {
        log::error(Source::ApiServer, "async_llm.py:705", "EngineCore encountered an issue.");
        std::process::exit(0);
    }
    let delay = faults.find(|fault| match fault {
        Fault::LateAnswer(delay) => Some(*delay),
        _ => None,
    });
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let code = faults.find(|fault| match fault {
        Fault::Status { code, every } if count.is_multiple_of(*every) => Some(*code),
        _ => None,
    })?;
    let status = StatusCode::from_u16(code).ok()?;
    let mut response = error_response(&ApiError::injected(status));
    if matches!(code, 429 | 503) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Some(response)
}

/// Headers at once, events as they come.
fn stream_response(
    server: &Arc<Server>,
    parsed: Parsed,
    generation: Generation,
    created: i64,
    open: Open,
) -> Response<Body> {
    let (sender, mut receiver) = channel(STREAM_BUFFER);
    let writer = EventWriter::new(sender, server.config.faults.clone());
    tokio::spawn(async move {
        stream::pump(parsed, generation, created, writer).await;
        drop(open);
    });
    let frames = poll_fn(move |context| receiver.poll_recv(context));
    let frames = futures_util::StreamExt::map(frames, |bytes| bytes.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed());
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn whole_response(server: &Server, mut answer: String) -> Response<Body> {
    let faults = &server.config.faults;
    if faults.has(&Fault::NotJson) {
        let mut response = Response::new(full("<html><body>502 Bad Gateway</body></html>"));
        let kind = HeaderValue::from_static("text/html");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        return response;
    }
    if faults.has(&Fault::TruncatedJson) {
        let half = answer.floor_char_boundary(answer.len() / 2);
        answer.truncate(half);
    }
    json_response(StatusCode::OK, answer)
}

fn error_response(error: &ApiError) -> Response<Body> {
    json_response(error.status, error.body())
}

fn json_response(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}
