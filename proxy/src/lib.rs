//! The routing proxy of topobench.
//!
//! It stands between a load generator and the engines, in one of two ways: it balances requests over equal replicas,
//! or it takes each request through a prefill and a decode instance of vLLM and hands the KV over between them: one after
//! the other, or both at once where prefill pushes. What a backend answers is passed on byte for byte and as it comes.
//!
//! It runs on threads of its own ([`Proxy::spawn`]), apart from the load's, and tells when each request reached each
//! stage out of band ([`ProxyHandle::drain_stamps`]). Deliberately absent: results, SLOs, sweeps, the life of the
//! engines, TLS, retries that could hide a fault.
//!
//! ```no_run
//! use std::time::Duration;
//! use topobench_proxy::{Proxy, ProxyConfig, Routes};
//!
//! let prefill = vec!["http://127.0.0.1:8100".parse()?];
//! let decode = vec!["http://127.0.0.1:8200".parse()?, "http://127.0.0.1:8201".parse()?];
//! let config = ProxyConfig::new("127.0.0.1:0".parse()?, Routes::prefill_decode(prefill, decode));
//! let mut proxy = Proxy::spawn(config)?;
//! println!("send requests to http://{}/v1/completions", proxy.addr());
//! for stamps in proxy.drain_stamps() {
//!     println!("{}: {:?}", stamps.request_id, stamps.outcome);
//! }
//! proxy.shutdown_blocking(Duration::from_secs(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod config;
mod fault;
mod forward;
mod group;
mod handle;
mod handoff;
mod headers;
mod health;
mod hop;
pub mod http1;
mod identity;
mod load;
mod metrics;
mod policy;
mod prefix;
mod relay;
pub mod rewrite;
mod service;
mod stamps;
mod state;
mod together;
mod upstream;
mod worker;

pub use config::{BackendUrl, BackendUrlError, Dispatch, Limits, ProxyConfig, ProxyError, Routes, Timeouts};
pub use fault::{FaultKind, Stage};
pub use handle::{BackendStats, Drained, Proxy, ProxyHandle, ProxyStats, StampReader};
pub use policy::{Policy, UnknownPolicy};
pub use stamps::{DecodeStamps, Outcome, PrefillStamps, StageStamps};
