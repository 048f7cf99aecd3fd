//! What a proxy is told before it starts: where to listen, what to route to, and the bounds it keeps.
//! Deliberately absent: how the backends came to be, and whether they are the right ones.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::ClientConfig;

use crate::policy::Policy;

/// Everything [`crate::Proxy::spawn`] needs.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Address to bind; port 0 takes a free one ([`crate::ProxyHandle::addr`] tells which).
    pub listen: SocketAddr,
    pub routes: Routes,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// Worker threads, each with its own single-threaded runtime and connection pool.
    pub threads: NonZeroUsize,
    /// Whom to trust, for backends behind https; without it they are not reached.
    pub tls: Option<Arc<ClientConfig>>,
}

impl ProxyConfig {
    /// One worker thread, default limits and timeouts.
    pub fn new(listen: SocketAddr, routes: Routes) -> Self {
        ProxyConfig {
            listen,
            routes,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            threads: NonZeroUsize::MIN,
            tls: None,
        }
    }
}

/// Which backends stand behind the proxy, and what they are to each other.
#[derive(Debug, Clone)]
pub enum Routes {
    /// Equal replicas; a request goes to one of them, unchanged.
    Balance { backends: Vec<BackendUrl>, policy: Policy },
    /// A request goes to one prefill backend, and its KV is handed to one decode backend.
    PrefillDecode {
        prefill: Vec<BackendUrl>,
        decode: Vec<BackendUrl>,
        prefill_policy: Policy,
        decode_policy: Policy,
        dispatch: Dispatch,
    },
}

/// When the decode instance gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dispatch {
    /// After the prefill instance's answer, which names the KV to be pulled.
    InTurn,
    /// Together with the prefill instance, which will push: decode only needs to know who that is. One after the other
    /// until a first answer told.
    Together,
    /// As the prefill instances' answers say: together where they hold `"transfer_mode":"push"`.
    #[default]
    AsTold,
}

impl Routes {
    /// Replicas behind the policy that needs no knowledge of prompts.
    pub fn balance(backends: Vec<BackendUrl>) -> Self {
        Routes::Balance { backends, policy: Policy::LeastRequests }
    }

    /// Prefill by outstanding prompt tokens, which is its work; decode by requests, which is its batch.
    pub fn prefill_decode(prefill: Vec<BackendUrl>, decode: Vec<BackendUrl>) -> Self {
        Routes::PrefillDecode {
            prefill,
            decode,
            prefill_policy: Policy::LeastTokens,
            decode_policy: Policy::LeastRequests,
            dispatch: Dispatch::default(),
        }
    }
}

/// Bounds on what clients and backends may ask of the proxy's memory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests in flight at once; one more is answered 429.
    pub max_in_flight: usize,
    /// Bytes of a request body; more is answered 413.
    pub max_request_body: usize,
    /// Bytes of a prefill backend's answer; more is answered 502.
    pub max_prefill_answer: usize,
    /// Bytes of a backend's response head; more is answered 502.
    pub max_response_head: usize,
    /// Stage stamps kept until [`crate::ProxyHandle::drain_stamps`]; further ones are lost and counted.
    pub max_stamps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_in_flight: 16_384,
            max_request_body: 64 << 20,
            max_prefill_answer: 16 << 20,
            max_response_head: 64 << 10,
            max_stamps: 65_536,
        }
    }
}

/// How long the proxy waits for backends and clients.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To open a TCP connection.
    pub connect: Duration,
    /// From the start of a hop to the first byte of the answer's body. It spans the engine's queue, so it is generous.
    pub first_byte: Duration,
    /// Between two reads of an answer's body.
    pub idle: Duration,
    /// An idle connection older than this is dropped. vLLM closes its own after 5 s (`VLLM_HTTP_TIMEOUT_KEEP_ALIVE`).
    pub keep_alive: Duration,
    /// How long a backend that refused a connection is skipped.
    pub cooldown: Duration,
    /// For one connection attempt of `/health`.
    pub probe: Duration,
    /// For the rest of a client's request head, from its first byte on. A connection may be idle for as long as it likes.
    pub client_head: Duration,
    /// Between two reads of a client's request body.
    pub client_idle: Duration,
    /// For the whole of a client's request body.
    pub client_body: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(120),
            keep_alive: Duration::from_secs(3),
            cooldown: Duration::from_secs(1),
            probe: Duration::from_millis(300),
            client_head: Duration::from_secs(10),
            client_idle: Duration::from_secs(10),
            client_body: Duration::from_secs(60),
        }
    }
}

/// The address of a backend: `http://host:port` or `https://host:port`, nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendUrl {
    host: String,
    port: u16,
    tls: bool,
}

impl BackendUrl {
    /// Host as [`tokio::net::lookup_host`] takes it (no brackets around IPv6).
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is reached through TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => format!("[{}]:{}", self.host, self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl From<SocketAddr> for BackendUrl {
    fn from(addr: SocketAddr) -> Self {
        BackendUrl { host: addr.ip().to_string(), port: addr.port(), tls: false }
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl From<BackendUrl> for String {
    fn from(url: BackendUrl) -> String {
        url.to_string()
    }
}

impl TryFrom<String> for BackendUrl {
    type Error = BackendUrlError;

    fn try_from(text: String) -> Result<Self, BackendUrlError> {
        text.parse()
    }
}

impl FromStr for BackendUrl {
    type Err = BackendUrlError;

    fn from_str(text: &str) -> Result<Self, BackendUrlError> {
        let refuse = |why| BackendUrlError { url: text.to_owned(), why };
        // People paste addresses without a scheme, and with the paths of the API.
        let pasted = text.trim();
        let mut base = if pasted.contains("://") { pasted.to_owned() } else { format!("http://{pasted}") };
        for end in ["/", "/chat/completions", "/completions", "/v1", "/"] {
            base.truncate(base.strip_suffix(end).map_or(base.len(), str::len));
        }
        let uri: http::Uri = base.parse().map_err(|_| refuse("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("its scheme is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("credentials do not belong in a URL"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse("a path is not supported: requests keep their own"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refuse("the host is missing"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(BackendUrl { host: host.to_owned(), port, tls })
    }
}

/// A backend's URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend URL `{url}`: {why}; write it as http://HOST:PORT or https://HOST:PORT")]
pub struct BackendUrlError {
    url: String,
    why: &'static str,
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("the proxy has no {role} backend: give at least one URL")]
    NoBackends { role: &'static str },
    #[error("the proxy cannot listen on {addr}: {source}; choose another port, or 0 for a free one")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("the proxy's worker thread did not start: {source}")]
    Worker { source: std::io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BackendUrl, BackendUrlError> {
        text.parse()
    }

    #[test]
    fn a_backend_url_is_scheme_host_and_port() {
        let url = parse("http://127.0.0.1:8100").unwrap();
        assert_eq!((url.host(), url.port()), ("127.0.0.1", 8100));
        assert_eq!(url.authority(), "127.0.0.1:8100");
        assert_eq!(parse("http://node-3/").unwrap().authority(), "node-3:80");
        for pasted in ["h:1", " http://h:1/ ", "http://h:1/v1", "http://h:1/v1/", "h:1/v1/chat/completions"] {
            assert_eq!(parse(pasted).unwrap().authority(), "h:1", "{pasted}");
        }
        let secure = parse("https://h/v1").unwrap();
        assert_eq!((secure.port(), secure.is_tls(), secure.to_string().as_str()), (443, true, "https://h:443"));
        let six = parse("http://[::1]:9").unwrap();
        assert_eq!((six.host(), six.authority().as_str()), ("::1", "[::1]:9"));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, why) in [
            ("ftp://h:1", "scheme"),
            ("http://h:1/api", "path"),
            ("http://h:1/?a=b", "path"),
            ("http://user:pw@h:1", "credentials"),
            ("", "URL"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(why), "{text}: {message}");
            assert!(message.contains("http://HOST:PORT"), "{message}");
        }
    }
}
