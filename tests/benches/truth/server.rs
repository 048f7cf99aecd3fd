//! A server that knows when it wrote what: streams of vLLM's shape at a fixed pace, and a table of true times.
//!
//! Times are CLOCK_MONOTONIC nanoseconds. A write's is taken just before it: what the kernel and the client take after
//! that is the client's error. A receipt's is the kernel's, when the last byte came in: how long this server then takes
//! to look at it belongs to the TTFT that a client should report, and not to the client's error.

pub use kit::arrival::monotonic_nanos;

use kit::arrival;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

/// Pace of every stream.
pub const TTFT: Duration = Duration::from_millis(50);
pub const ITL: Duration = Duration::from_millis(10);

/// Appends what one read brings, and says when the last of it had come in; `None` at the end of the stream.
async fn read(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut room = [0; 4096];
    let Some((read, at)) = arrival::read(stream, &mut room).await? else { return Ok(None) };
    bytes.extend_from_slice(read);
    Ok(Some(at))
}

/// Lines of the table: id, when received, first chunk written, last chunk written, chunks.
type Truth = Rc<RefCell<String>>;

/// How tokens leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// [`TTFT`], then a token every [`ITL`], each in a write of its own and its times in the table.
    Timed,
    /// At once and in one write: for as many requests as possible. No table is kept.
    Flood,
}

impl Pace {
    /// As it stands on a command line.
    fn named(word: Option<&String>) -> Pace {
        if word.is_some_and(|w| w == "flood") { Pace::Flood } else { Pace::Timed }
    }
}

/// Serves until its standard input ends, that is until whoever started it is gone; prints the port first.
pub fn run(pace: Option<&String>) -> io::Result<()> {
    let pace = Pace::named(pace);
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let truth = Truth::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            arrival::stamp(&stream)?;
            tokio::task::spawn_local(serve(stream, pace, Rc::clone(&truth)));
        }
    })
}

/// A connection that breaks belongs to a client that left; there is nothing to do about it.
async fn serve(mut stream: TcpStream, pace: Pace, truth: Truth) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4096);
    let mut received = 0;
    loop {
        let (head, length) = loop {
            if let Some(found) = head_of(&bytes) {
                break found;
            }
            let Some(at) = read(&stream, &mut bytes).await? else { return Ok(()) };
            received = at;
        };
        if head.starts_with("GET") && !head.starts_with("GET /truth") {
            // Whatever a client wants to know beforehand.
            let models = r#"{"object":"list","data":[{"id":"tiny","object":"model","max_model_len":4096}]}"#;
            let length = models.len();
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{models}").as_bytes()).await?;
            bytes.drain(..head.len() + 4);
            continue;
        }
        if head.starts_with("GET") {
            let table = truth.take();
            return stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{table}").as_bytes()).await;
        }
        let whole = head.len() + 4 + length;
        while bytes.len() < whole {
            let Some(at) = read(&stream, &mut bytes).await? else { return Ok(()) };
            received = at;
        }
        let body: serde_json::Value = serde_json::from_slice(&bytes[head.len() + 4..whole])?;
        bytes.drain(..whole);
        let tokens = body["max_tokens"].as_u64().unwrap_or(1);
        if pace == Pace::Flood {
            stream.write_all(&whole_answer(tokens)).await?;
            continue;
        }
        let line = answer(&mut stream, received, tokens).await?;
        let id = header(&head, "x-request-id").unwrap_or_default();
        truth.borrow_mut().push_str(&format!("{id},{line}\n"));
    }
}

fn head_of(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    Some((head, length))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
const END: &[u8] = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// A chunk of vLLM's shape with one token.
fn chunk(token: u64) -> String {
    let data = format!(
        "data: {{\"id\":\"cmpl-bf4cb11e4454e20c\",\"object\":\"text_completion\",\"created\":1795293761,\"model\":\"tiny\",\"choices\":[{{\"index\":0,\"text\":\" variable\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":null}}],\"usage\":{{\"prompt_tokens\":32,\"total_tokens\":{},\"completion_tokens\":{token}}}}}\n\n",
        token + 32
    );
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn whole_answer(tokens: u64) -> Vec<u8> {
    let chunks: String = (1..=tokens).map(chunk).collect();
    [HEAD, chunks.as_bytes(), END].concat()
}

async fn answer(stream: &mut TcpStream, received: u64, tokens: u64) -> io::Result<String> {
    let start = Instant::now();
    stream.write_all(HEAD).await?;
    let (mut first, mut last) = (0, 0);
    for token in 1..=tokens {
        sleep_until(start + TTFT + ITL * (token as u32 - 1)).await;
        let chunk = chunk(token);
        last = monotonic_nanos();
        first = if token == 1 { last } else { first };
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(END).await?;
    Ok(format!("{received},{first},{last},{tokens}"))
}
