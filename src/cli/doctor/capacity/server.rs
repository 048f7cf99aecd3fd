//! A server of vLLM's shape on a thread of its own: 128 chunks a request, at a fixed pace.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Tokens of every answer.
pub(in crate::cli::doctor) const TOKENS: u32 = 128;
pub(super) const TTFT: Duration = Duration::from_millis(20);
pub(super) const ITL: Duration = Duration::from_millis(5);

/// Serves until it is dropped.
pub(super) struct Server {
    pub(super) port: u16,
    _stop: oneshot::Sender<()>,
}

pub(super) fn start() -> io::Result<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name("loopback-server".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                _ = accept(listener) => {}
            }
        });
    })?;
    Ok(Server { port, _stop: stop })
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that breaks belongs to a client that left.
        tokio::spawn(async move { serve(stream).await.unwrap_or_default() });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let whole = loop {
            if let Some(whole) = request_length(&bytes).filter(|whole| bytes.len() >= *whole) {
                break whole;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        bytes.drain(..whole);
        answer(&mut stream).await?;
    }
}

/// Head and body; `None` until the head is complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let length = std::str::from_utf8(&bytes[..head]).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + 4 + length.unwrap_or(0))
}

async fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let start = Instant::now();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    for token in 0..TOKENS {
        sleep_until(start + TTFT + ITL * token).await;
        let data = format!(
            "data: {{\"id\":\"cmpl-bf4cb11e4454e20c\",\"object\":\"text_completion\",\"created\":1795293761,\"model\":\"loopback\",\"choices\":[{{\"index\":0,\"text\":\" a\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}}],\"usage\":{{\"prompt_tokens\":256,\"total_tokens\":{},\"completion_tokens\":{}}}}}\n\n",
            token + 257,
            token + 1
        );
        stream.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await?;
    }
    stream.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await
}
