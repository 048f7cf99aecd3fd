//! What tests and benches share: servers that do as a test says, a recorded run, and how to wait and look.
//!
//! Knows nothing of topobench or its proxy, so that unit tests may use it too.

mod alias;
pub mod arrival;
pub mod cores;
mod engine;
pub mod files;
pub mod h100;
pub mod paced;
pub mod process;
pub mod queue;
pub mod scripted;
pub mod stepped;
mod wait;

pub use alias::alias;
pub use engine::engine;
pub use wait::{PATIENCE, eventually};

use std::net::TcpListener;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a server talks through: a socket, or TLS on one.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The simulated engine as a program of its own: topobench, which carries it, under that name. For integration tests of
/// topobench, which know where cargo put it.
#[macro_export]
macro_rules! enginesim {
    () => {
        $crate::alias(env!("CARGO_BIN_EXE_topobench"), "enginesim", env!("CARGO_TARGET_TMPDIR"))
    };
}

/// A port that nobody else is handed for a moment: whoever needs it takes it before long.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
