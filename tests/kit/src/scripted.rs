//! A scripted server on a raw socket: every byte of an answer, and every pause, is up to the test.

use crate::Stream;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: serde_json::Value,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// What follows the method: `/v1/models`.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub fn max_tokens(&self) -> usize {
        let field = ["max_tokens", "max_completion_tokens"].into_iter().find_map(|name| self.body[name].as_u64());
        field.expect("a length") as usize
    }
}

/// The connection on which an answer is given.
pub struct Answer(Box<dyn Stream>);

impl Answer {
    /// The client may be gone already; then there is nobody to tell.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// A whole answer; `status` with its reason: `200 OK`.
    pub async fn whole(&mut self, status: &str, body: &str) {
        self.write(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// Writes a block again and again until the client hangs up, or for a minute.
    pub async fn pour(&mut self, block: impl AsRef<[u8]>) {
        let forever = async { while self.0.write_all(block.as_ref()).await.is_ok() {} };
        // If the client never hangs up, its test will notice.
        let _ = tokio::time::timeout(Duration::from_secs(60), forever).await;
    }

    pub async fn head(&mut self) {
        self.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    }

    pub async fn event(&mut self, data: &str) {
        self.write(format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8)).await;
    }

    pub async fn tokens(&mut self, n: usize) {
        for _ in 0..n {
            self.event(r#"{"choices":[{"index":0,"text":" a","finish_reason":null}]}"#).await;
        }
    }

    /// The closing chunk with the number of tokens.
    pub async fn usage(&mut self, tokens: usize) {
        self.event(&format!(r#"{{"choices":[],"usage":{{"prompt_tokens":8,"completion_tokens":{tokens}}}}}"#)).await;
    }

    pub async fn end(&mut self) {
        self.event("[DONE]").await;
        self.write("0\r\n\r\n").await;
    }

    /// Returns when the client has closed the connection.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
    }

    /// As many tokens as were asked for.
    pub async fn serve(&mut self, request: &Received) {
        self.head().await;
        self.tokens(request.max_tokens()).await;
        self.usage(request.max_tokens()).await;
        self.end().await;
    }
}

pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers every request by `script`; an answer that comes back from it is kept open for the next request.
    pub async fn start<F, A>(script: F) -> Server
    where
        F: Fn(Received, Answer) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Answer>> + Send,
    {
        Server::start_behind(|stream| async { Some(stream) }, script).await
    }

    /// The same for tests that have no runtime of their own: served by a thread until the test program ends.
    pub fn start_in_thread<F, A>(script: F) -> Server
    where
        F: Fn(Received, Answer) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Answer>> + Send,
    {
        let (started, server) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                started.send(Server::start(script).await).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        server.recv().expect("the server starts")
    }

    /// `wrap` makes of each connection what the script talks through, such as TLS; connections that it gives no stream
    /// for are closed.
    pub async fn start_behind<W, B, S, F, A>(wrap: W, script: F) -> Server
    where
        W: Fn(TcpStream) -> B + Send + Sync + 'static,
        B: Future<Output = Option<S>> + Send,
        S: Stream + 'static,
        F: Fn(Received, Answer) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Answer>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let (wrap, script, counter) = (Arc::new(wrap), Arc::new(script), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let (wrap, script) = (Arc::clone(&wrap), Arc::clone(&script));
                tokio::spawn(async move {
                    let Some(stream) = wrap(stream).await else { return };
                    let mut open = Some(Answer(Box::new(stream)));
                    while let Some(mut answer) = open {
                        let Some(request) = receive(&mut answer.0).await else { return };
                        open = script(request, answer).await;
                    }
                });
            }
        });
        Server { address, connections }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("an ASCII head");
    let request = Received { head, body: serde_json::Value::Null };
    let Some(length) = request.header("content-length") else { return Some(request) };
    let length: usize = length.parse().expect("a length");
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { body: serde_json::from_slice(&bytes[head_end..]).expect("a JSON body"), ..request })
}
