//! The load: raw sockets that only read, on connections that are kept; the kernel stamps what comes.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::TOKENS;
use kit::arrival::{self, monotonic_nanos};
use kit::paced::stream_len;

/// Longer than any stream takes on a machine that keeps up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the client saw of a stream, monotonic ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub sent: u64,
    pub first: u64,
}

/// Requests at equal gaps, whatever becomes of them; in the order of sending, `None` where a stream was not whole.
pub(crate) fn open_loop(port: u16, rate: f64, requests: u32) -> Vec<Option<Seen>> {
    let message = message(port, "");
    in_runtime(async {
        let (idle, zero) = (Idle::default(), Instant::now() + Duration::from_millis(50));
        let mut streams = JoinSet::new();
        for index in 0..requests {
            sleep_until(zero + Duration::from_secs_f64(f64::from(index) / rate)).await;
            let (idle, message) = (Rc::clone(&idle), message.clone());
            streams.spawn_local(async move { (index, one(port, &idle, &message).await.inspect_err(told).ok()) });
        }
        let mut seen = streams.join_all().await;
        seen.sort_by_key(|(index, _)| *index);
        seen.into_iter().map(|(_, seen)| seen).collect()
    })
}

/// As many requests as go through with so many at once; streams that come in one piece. Whole ones per second.
pub(crate) fn closed_loop(port: u16, at_once: u32, during: Duration) -> (f64, u32) {
    let message = message(port, r#","hold":"coalesced""#);
    in_runtime(async {
        let started = Instant::now();
        let mut loops = JoinSet::new();
        for _ in 0..at_once {
            let message = message.clone();
            loops.spawn_local(async move {
                let (idle, mut whole, mut broken) = (Idle::default(), 0, 0);
                while started.elapsed() < during {
                    match one(port, &idle, &message).await {
                        Ok(_) => whole += 1,
                        Err(error) => {
                            told(&error);
                            broken += 1;
                        }
                    }
                }
                (whole, broken)
            });
        }
        let done: Vec<(u32, u32)> = loops.join_all().await;
        let whole: u32 = done.iter().map(|(whole, _)| whole).sum();
        (f64::from(whole) / started.elapsed().as_secs_f64(), done.iter().map(|(_, broken)| broken).sum())
    })
}

/// Hangs up on a request that an engine holds, some moments after it was sent, or right after its first chunk; gives
/// when, in ns.
pub(crate) fn abandon(port: u16, hold: &str) -> io::Result<u64> {
    let message = message(port, &format!(r#","hold":"{hold}""#));
    in_runtime(async {
        let mut stream = connect(port).await?;
        stream.write_all(&message).await?;
        let mut reader = Reader::default();
        let first = async { while reader.body == 0 && reader.read(&stream).await.is_ok() {} };
        // What is held before its first chunk shows nothing here to wait for.
        let _ = timeout(if hold == "decode" { PATIENCE } else { Duration::from_millis(30) }, first).await;
        let at = monotonic_nanos();
        drop(stream);
        Ok(at)
    })
}

/// The body of a GET.
pub(crate) fn get(port: u16, path: &str) -> io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let (mut text, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let head = memchr::memmem::find(&text, b"\r\n\r\n").map(|at| at + 4);
        let length = head.and_then(|head| length(&text[..head]));
        if let (Some(head), Some(length)) = (head, length)
            && text.len() >= head + length
        {
            return Ok(String::from_utf8_lossy(&text[head..]).into_owned());
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&text[head.unwrap_or(text.len())..]).into_owned()),
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
}

fn length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}

fn message(port: u16, more: &str) -> Rc<[u8]> {
    let prompt = "abc ".repeat(128);
    let body = format!(
        r#"{{"model":"tiny","prompt":"{prompt}","max_tokens":{TOKENS},"temperature":0,"ignore_eos":true,"stream":true{more}}}"#
    );
    let head = format!("POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes().into()
}

/// Says why the first stream broke; how many did is in the table.
fn told(error: &io::Error) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| eprintln!("a stream broke: {error}"));
}

/// Connections that no stream is using.
type Idle = Rc<RefCell<Vec<TcpStream>>>;

async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    stream.set_nodelay(true)?;
    arrival::stamp(&stream)?;
    Ok(stream)
}

async fn one(port: u16, idle: &Idle, message: &[u8]) -> io::Result<Seen> {
    let kept = idle.borrow_mut().pop();
    let mut stream = match kept {
        Some(stream) => stream,
        None => connect(port).await?,
    };
    let sent = monotonic_nanos();
    stream.write_all(message).await?;
    let mut reader = Reader::default();
    let whole = async {
        while !reader.ended {
            reader.read(&stream).await?;
        }
        io::Result::Ok(())
    };
    timeout(PATIENCE, whole).await.map_err(io::Error::other)??;
    // vllm-router's P/D mode writes events anew, and longer.
    if reader.body < stream_len(TOKENS) {
        return Err(io::Error::other(format!("{} bytes instead of {}", reader.body, stream_len(TOKENS))));
    }
    idle.borrow_mut().push(stream);
    Ok(Seen { sent, first: reader.first })
}

/// Reads a chunked body that may be cut anywhere, a proxy's own chunks included: all it keeps is how long the body is.
#[derive(Default)]
struct Reader {
    /// When the body began.
    first: u64,
    body: usize,
    ended: bool,
    in_body: bool,
    /// Bytes of the current chunk still to come, its line end included.
    left: usize,
    /// Of the head or of a size line, as far as it has come.
    line: Vec<u8>,
}

impl Reader {
    async fn read(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 32 << 10];
        let read = arrival::read(stream, &mut buffer).await?;
        let (bytes, arrived) = read.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.take(bytes)?;
        if self.first == 0 && self.body > 0 {
            self.first = arrived;
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let run = bytes.len().min(self.left);
                // The line end is no body.
                self.body += self.left.saturating_sub(2) - (self.left - run).saturating_sub(2);
                (self.left, bytes) = (self.left - run, &bytes[run..]);
                continue;
            }
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            match self.in_body {
                false if self.line.ends_with(b"\r\n\r\n") => {
                    if !self.line.starts_with(b"HTTP/1.1 200") {
                        return Err(io::Error::other(String::from_utf8_lossy(&self.line[..12]).into_owned()));
                    }
                    self.in_body = true;
                    self.line.clear();
                }
                true if self.line == b"0\r\n\r\n" => self.ended = true,
                true if self.line.ends_with(b"\n") && self.line != b"0\r\n" => {
                    let size = std::str::from_utf8(&self.line).map_err(io::Error::other)?.trim_end();
                    self.left = usize::from_str_radix(size, 16).map_err(io::Error::other)? + 2;
                    self.line.clear();
                }
                _ => {}
            }
        }
        Ok(())
    }
}
