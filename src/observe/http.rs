//! The HTTP client for asking engines about themselves; the load has its own.

use std::time::Duration;

/// A client that ignores proxy variables (a site's `http_proxy` must not stand between us and 127.0.0.1) and gives up
/// after `timeout`.
pub fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // The first provider installed stays; all are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(timeout).build()
}
