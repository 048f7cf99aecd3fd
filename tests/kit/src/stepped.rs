//! Backends and clients made of bare sockets that the test drives step by step: a backend answers what and when the test
//! says, and a client sees the raw bytes.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Fails a test that would otherwise hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it should have happened by now")
}

/// Waits for a condition that another thread brings about.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A listening backend; connections wait until the test takes them.
pub struct Backend {
    listener: TcpListener,
}

impl Backend {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        Backend { listener }
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub async fn accept(&self) -> Peer {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { wire: Wire::new(stream) }
    }

    /// The next request, on a new connection.
    pub async fn request(&self) -> (Peer, Message) {
        let mut peer = self.accept().await;
        let request = peer.request().await;
        (peer, request)
    }

    /// True if nobody connects.
    pub async fn is_untouched(&self) -> bool {
        let nobody = Duration::from_millis(50);
        tokio::time::timeout(nobody, self.listener.accept()).await.is_err()
    }
}

/// An address that refuses connections.
pub async fn refusing_addr() -> SocketAddr {
    Backend::start().await.addr()
}

/// A request or a response as it was on the wire, its body without framing.
#[derive(Debug)]
pub struct Message {
    pub first_line: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `error` object of an error answer.
    pub fn error(&self) -> Value {
        self.json()["error"].clone()
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    /// The connection closed before the framing said so.
    Cut,
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        Wire { stream, buffer: Vec::new() }
    }

    /// False at the end of the connection, orderly or not.
    async fn fill(&mut self) -> bool {
        matches!(within(self.stream.read_buf(&mut self.buffer)).await, Ok(1..))
    }

    async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < len {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..len).collect())
    }

    async fn head(&mut self) -> Option<Message> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        Some(Message {
            first_line: lines.next().unwrap().to_owned(),
            headers: lines
                .map(|line| line.split_once(": ").expect("a header line"))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: Vec::new(),
        })
    }

    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.until(b"\r\n").await?;
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).expect("a chunk size");
        let mut chunk = self.exactly(size + 2).await?;
        chunk.truncate(size);
        Some(chunk)
    }

    async fn body(&mut self, head: &Message) -> (Vec<u8>, End) {
        let mut body = Vec::new();
        if let Some(len) = head.header("content-length") {
            return match self.exactly(len.parse().unwrap()).await {
                Some(body) => (body, End::Whole),
                None => (std::mem::take(&mut self.buffer), End::Cut),
            };
        }
        if head.header("transfer-encoding").is_none() {
            return (body, End::Whole);
        }
        loop {
            match self.chunk().await {
                Some(chunk) if chunk.is_empty() => return (body, End::Whole),
                Some(chunk) => body.extend_from_slice(&chunk),
                None => return (body, End::Cut),
            }
        }
    }
}

/// A connection of the proxy to a backend.
pub struct Peer {
    wire: Wire,
}

impl Peer {
    pub async fn request(&mut self) -> Message {
        let mut request = self.wire.head().await.expect("a request");
        let (body, end) = self.wire.body(&request).await;
        assert_eq!(end, End::Whole, "a request arrives whole");
        request.body = body;
        request
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.wire.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub async fn reply(&mut self, status: &str, headers: &str, body: &str) {
        let len = body.len();
        self.send(format!("HTTP/1.1 {status}\r\n{headers}content-length: {len}\r\n\r\n{body}")).await;
    }

    pub async fn reply_json(&mut self, body: &str) {
        self.reply("200 OK", "content-type: application/json\r\n", body).await;
    }

    /// A prefill answer with transfer parameters that are marked.
    pub async fn reply_params(&mut self, mark: &str) {
        self.reply_json(&format!(r#"{{"id":"x","kv_transfer_params":{{"remote_engine_id":"{mark}"}}}}"#)).await;
    }

    pub async fn begin_stream(&mut self) {
        self.send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    }

    pub async fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await;
    }

    pub async fn end_stream(&mut self) {
        self.send("0\r\n\r\n").await;
    }

    /// Writes until the proxy takes no more; returns how many bytes it took.
    pub async fn flood(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let write = self.wire.stream.write(&bytes[taken..]);
            match tokio::time::timeout(Duration::from_millis(500), write).await {
                Ok(written) => taken += written.unwrap(),
                Err(_) => break,
            }
        }
        taken
    }

    /// Waits until the proxy has closed its side.
    pub async fn closed(&mut self) {
        while self.wire.fill().await {}
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        self.wire.stream.set_zero_linger().unwrap();
    }
}

/// A connection of a client to the proxy.
pub struct Client {
    wire: Wire,
}

impl Client {
    pub async fn connect(proxy: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(proxy)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { wire: Wire::new(stream) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.wire.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Posts a completion; `headers` are whole lines.
    pub async fn post(&mut self, headers: &str, body: &str) {
        self.post_to("/v1/completions", headers, body).await;
    }

    pub async fn post_to(&mut self, path: &str, headers: &str, body: &str) {
        let len = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: client\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
        ))
        .await;
    }

    pub async fn get(&mut self, path: &str, headers: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: client\r\n{headers}\r\n")).await;
        self.answer().await
    }

    pub async fn head(&mut self) -> Message {
        self.wire.head().await.expect("an answer")
    }

    /// The next chunk of the answer; `None` if the connection ended instead.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        self.wire.chunk().await
    }

    pub async fn rest(&mut self, head: &Message) -> (Vec<u8>, End) {
        self.wire.body(head).await
    }

    /// Whether anything of an answer has come, or comes soon.
    pub async fn has_anything(&mut self) -> bool {
        let soon = Duration::from_millis(50);
        !self.wire.buffer.is_empty() || tokio::time::timeout(soon, self.wire.fill()).await.is_ok()
    }

    /// Everything until the connection ends.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        while self.wire.fill().await {}
        std::mem::take(&mut self.wire.buffer)
    }

    pub async fn answer(&mut self) -> Message {
        let mut head = self.head().await;
        let (body, end) = self.rest(&head).await;
        assert_eq!(end, End::Whole, "an answer arrives whole");
        head.body = body;
        head
    }
}
