//! Heads of requests to backends.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Uri};

/// What the first lines of a request to a backend say.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) authority: &'a str,
    /// End-to-end headers only; `Host` and `Content-Length` are written from the other fields.
    pub(crate) headers: &'a HeaderMap,
    /// `None` for a request without a body.
    pub(crate) body_len: Option<usize>,
}

impl RequestHead<'_> {
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        for part in [self.method.as_str(), " ", target, " HTTP/1.1\r\nhost: ", self.authority, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        for (name, value) in self.headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        if let Some(len) = self.body_len {
            out.extend_from_slice(format!("content-length: {len}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.into()
    }
}
