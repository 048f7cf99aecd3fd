//! The server: one page and its events, to whoever has the address. It only reads: any other method is refused.

use super::access::{PageToken, PageWanted, is_loopback, wanted};
use super::feed::LiveFeed;
use super::page::LivePage;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A client that has not said within this what it wants is let go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

type PageAnswer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What every connection shares.
pub(super) struct LiveSite {
    pub(super) token: PageToken,
    pub(super) page: LivePage,
    pub(super) feed: Arc<LiveFeed>,
}

/// Answers until `over`.
pub(super) async fn serve(listener: TcpListener, site: Arc<LiveSite>, over: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over.cancelled() => return,
        };
        match accepted {
            Ok((connection, _)) => {
                tokio::spawn(converse(connection, Arc::clone(&site), over.clone()));
            }
            // Out of descriptors, for one: it may pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(connection: TcpStream, site: Arc<LiveSite>, over: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = site.answer(request.method(), request.uri().path(), request.headers().get(HOST));
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 << 10);
    tokio::select! {
        // A client that breaks off harms nobody.
        _ = http.serve_connection(TokioIo::new(connection), service) => {}
        () = over.cancelled() => {}
    }
}

impl LiveSite {
    fn answer(&self, method: &Method, path: &str, host: Option<&HeaderValue>) -> PageAnswer {
        if method != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "this page is only read: GET");
        }
        if !is_loopback(host.and_then(|host| host.to_str().ok())) {
            return refusal(StatusCode::FORBIDDEN, "this page is for this machine alone: open it at 127.0.0.1");
        }
        match wanted(path, &self.token) {
            Some(PageWanted::Page) => self.page(),
            Some(PageWanted::Events) => self.events(),
            None => refusal(StatusCode::NOT_FOUND, "not here: the whole address is on topobench's console"),
        }
    }

    fn page(&self) -> PageAnswer {
        let mut answer = whole(StatusCode::OK, "text/html; charset=utf-8", self.page.html.clone());
        if let Ok(policy) = HeaderValue::from_str(&self.page.policy) {
            answer.headers_mut().insert("content-security-policy", policy);
        }
        answer
    }

    fn events(&self) -> PageAnswer {
        let Some(events) = self.feed.watch() else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open: close some");
        };
        let frames = events.map(|bytes| Ok(Frame::data(bytes)));
        dressed(StatusCode::OK, "text/event-stream", StreamBody::new(frames).boxed_unsync())
    }
}

fn refusal(status: StatusCode, why: &'static str) -> PageAnswer {
    whole(status, "text/plain; charset=utf-8", Bytes::from(format!("{why}\n")))
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> PageAnswer {
    dressed(status, kind, Full::new(body).boxed_unsync())
}

/// Headers of every answer: nothing is kept, guessed, framed, or told to other sites.
fn dressed(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> PageAnswer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
