//! Which headers travel on, and the proxy's own: pins and request ids.

use std::borrow::Cow;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::fault::Refusal;
use crate::http1::tokens;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PIN_PREFILL: HeaderName = HeaderName::from_static("x-topobench-prefill");
const PIN_DECODE: HeaderName = HeaderName::from_static("x-topobench-decode");
const PIN_BACKEND: HeaderName = HeaderName::from_static("x-topobench-backend");
const PIN_PREFILL_RANK: HeaderName = HeaderName::from_static("x-topobench-prefill-rank");
const PIN_DECODE_RANK: HeaderName = HeaderName::from_static("x-topobench-decode-rank");
/// By which an engine of several data-parallel ranks is told which of them serves the request.
const RANK: HeaderName = HeaderName::from_static("x-data-parallel-rank");

/// Headers that speak about one connection (RFC 9110, 7.6.1), not about the message.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Backends asked for by index, for warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    pub(crate) prefill: Option<usize>,
    pub(crate) decode: Option<usize>,
    pub(crate) backend: Option<usize>,
    /// Data-parallel ranks within the engines; vLLM checks them itself.
    pub(crate) prefill_rank: Option<usize>,
    pub(crate) decode_rank: Option<usize>,
}

impl Pins {
    /// Reads the pins and strips them.
    pub(crate) fn take(headers: &mut HeaderMap) -> Result<Self, Refusal> {
        let mut take = |name: HeaderName| match headers.remove(&name) {
            None => Ok(None),
            Some(value) => match value.to_str().ok().and_then(|index| index.trim().parse().ok()) {
                Some(index) => Ok(Some(index)),
                None => Err(Refusal::BadRequest {
                    param: None,
                    message: format!("{name} must be an index, counted from 0"),
                }),
            },
        };
        Ok(Pins {
            prefill: take(PIN_PREFILL)?,
            decode: take(PIN_DECODE)?,
            backend: take(PIN_BACKEND)?,
            prefill_rank: take(PIN_PREFILL_RANK)?,
            decode_rank: take(PIN_DECODE_RANK)?,
        })
    }
}

/// Removes what concerns one connection only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|token| token.parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The client's headers as every backend gets them; `Host` and `Content-Length` are written anew for each hop.
pub(crate) fn for_backend(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        headers.remove(name);
    }
}

/// The headers of the prefill hop: its answer is read here, so it must not be compressed.
pub(crate) fn for_prefill(headers: &HeaderMap, rank: Option<usize>) -> HeaderMap {
    let mut headers = for_rank(headers, rank).into_owned();
    headers.remove(ACCEPT_ENCODING);
    headers
}

/// With the data-parallel rank that is to serve the request, if one is asked for.
pub(crate) fn for_rank(headers: &HeaderMap, rank: Option<usize>) -> Cow<'_, HeaderMap> {
    let Some(rank) = rank else { return Cow::Borrowed(headers) };
    let mut headers = headers.clone();
    headers.insert(RANK, HeaderValue::from(rank));
    Cow::Owned(headers)
}

/// The client's request id, or a new one put in its place.
pub(crate) fn request_id(headers: &mut HeaderMap) -> String {
    if let Some(id) = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()) {
        return id.to_owned();
    }
    let id = format!("topobench-{:032x}", rand::random::<u128>());
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_concerns_one_connection_stays_behind() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("host", "here"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("authorization", "Bearer x"),
            ("accept-encoding", "gzip"),
        ]);
        for_backend(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept-encoding", "authorization"]);
        assert!(!for_prefill(&headers, None).contains_key(ACCEPT_ENCODING));
    }

    #[test]
    fn pins_are_read_and_stripped() {
        let mut headers = map(&[("x-topobench-prefill", "1"), ("x-topobench-decode", " 0 "), ("a", "b")]);
        let pins = Pins::take(&mut headers).unwrap();
        assert_eq!((pins.prefill, pins.decode, pins.backend), (Some(1), Some(0), None));
        assert_eq!(headers.len(), 1);
        let mut headers = map(&[("x-topobench-prefill-rank", "3"), ("x-topobench-decode-rank", "1"), ("a", "b")]);
        let pins = Pins::take(&mut headers).unwrap();
        assert_eq!(for_prefill(&headers, pins.prefill_rank)[RANK], "3");
        assert_eq!(for_rank(&headers, pins.decode_rank)[RANK], "1");
        assert!(!for_rank(&headers, None).contains_key(RANK) && headers.len() == 1);
        for bad in ["", "-1", "first", "1.0"] {
            assert!(Pins::take(&mut map(&[("x-topobench-backend", bad)])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_id_is_kept_or_made() {
        let mut headers = map(&[("x-request-id", "mine")]);
        assert_eq!(request_id(&mut headers), "mine");
        let mut headers = HeaderMap::new();
        let made = request_id(&mut headers);
        assert_eq!(headers[REQUEST_ID], made.as_str());
        assert_ne!(request_id(&mut HeaderMap::new()), made);
    }
}
