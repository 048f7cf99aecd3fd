//! The HTTP client for asking engines about themselves; the load has its own.
//!
//! What answers may be no engine at all, so the size of every answer is limited.

use crate::plan::access::Access;
use crate::tls;
use std::time::Duration;

/// Largest answer to a question about the server: its models, its version, one token.
pub const SMALL: usize = 1 << 20;
/// Largest page of metrics; vLLM's has some hundred KiB.
pub const LARGE: usize = 16 << 20;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("its answer is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("{0}")]
    Broken(reqwest::Error),
}

/// A client that ignores proxy variables (a site's `http_proxy` must not stand between us and 127.0.0.1), follows no
/// redirect (it is this server that is asked) and gives up after `timeout`.
pub fn client(timeout: Duration, insecure: bool) -> reqwest::Result<reqwest::Client> {
    // The first provider installed stays; all are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = reqwest::redirect::Policy::none();
    let client = reqwest::Client::builder().no_proxy().redirect(redirects).timeout(timeout);
    // Without any authority there is none to ask over HTTPS; HTTP needs none.
    match tls::client_config(insecure).or_else(|_| tls::trusting_nobody()) {
        Ok(config) => client.tls_backend_preconfigured(config).build(),
        Err(_) => client.build(),
    }
}

/// A question with what every request to that server carries.
pub fn get(client: &reqwest::Client, url: String, access: &Access) -> reqwest::RequestBuilder {
    access.to_headers().into_iter().fold(client.get(url), |request, (name, value)| request.header(name, value))
}

/// The whole body, if it has at most `limit` bytes.
pub async fn body(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|e| BodyError::Broken(e.without_url()))? {
        if bytes.len() + piece.len() > limit {
            return Err(BodyError::TooLong { limit });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
