//! Engines for benches: they cost next to nothing, stream chunks of vLLM's shape at a fixed pace, and keep a table of
//! what they did when.
//!
//! Times are CLOCK_MONOTONIC nanoseconds. A write's is taken just before it: what the kernel and the client take after
//! that is the client's error. A receipt's is the kernel's, when the last byte came in: how long the engine then takes
//! to look at it belongs to the TTFT that a client should report, and not to the client's error.
//!
//! `GET /truth` gives the table and empties it: `kind,received,first,last` of each request that ended since.
//!
//! A request may hold a member `hold`: `prefill` makes a prefill request stay unanswered, `request` any request,
//! `decode` makes a stream end after its first chunk; all wait to see their connection closed, which is what
//! cancellation looks like to an engine. `coalesced` brings a stream in one piece.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown};
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use crate::arrival::{self, monotonic_nanos};

/// Pace of every stream.
pub const TTFT: Duration = Duration::from_millis(50);
pub const ITL: Duration = Duration::from_millis(10);

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                           transfer-encoding: chunked\r\n\r\n";
const STREAM_END: &str = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
const MODELS: &str = r#"{"object":"list","data":[{"id":"tiny","object":"model","max_model_len":4096}]}"#;
const PREFILLED: &str = concat!(
    r#"{"id":"cmpl-1","object":"text_completion","created":1763000000,"model":"tiny","choices":[{"index":0,"text":" a","#,
    r#""logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":128,"total_tokens":129,"#,
    r#""completion_tokens":1},"kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,"#,
    r#""remote_block_ids":[[1,2,3,4,5,6,7,8]],"remote_engine_id":"7a4b6c1e","remote_request_id":"cmpl-1","#,
    r#""remote_host":"127.0.0.1","remote_port":5600,"tp_size":1}}"#
);

/// How tokens are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// [`TTFT`], then a token every [`ITL`], each in a write of its own and its times in the table.
    Timed,
    /// At once and in one write: for as many requests as possible. No table is kept.
    Flood,
}

type Table = Rc<RefCell<String>>;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    max_tokens: u32,
    kv_transfer_params: Option<Params>,
    #[serde(default)]
    hold: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    do_remote_decode: bool,
}

/// Serves on this many ports, which are printed first on one line, until standard input ends: until whoever started it
/// is gone. One process, so that one port can be taken for a prefill and another for a decode instance.
pub fn run(ports: usize, pace: Pace) -> io::Result<()> {
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let table = Table::default();
        let mut names = Vec::new();
        for _ in 0..ports {
            let listener = listen()?;
            names.push(listener.local_addr()?.port().to_string());
            tokio::task::spawn_local(accept(listener, pace, Rc::clone(&table)));
        }
        println!("{}", names.join(" "));
        std::future::pending().await
    })
}

/// The table of the engines behind a port: what has ended since the last call.
pub fn table(port: u16) -> io::Result<String> {
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(b"GET /truth HTTP/1.1\r\n\r\n")?;
    // Nothing more will be asked, so the engines close when they have answered.
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map(|(_, table)| table.to_owned()).unwrap_or_default())
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(4096)
}

async fn accept(listener: TcpListener, pace: Pace, table: Table) {
    let serving = async || -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            arrival::stamp(&stream)?;
            tokio::task::spawn_local(serve(stream, pace, Rc::clone(&table)));
        }
    };
    if let Err(error) = serving().await {
        eprintln!("the engines end: {error}");
        std::process::exit(1);
    }
}

/// A connection that breaks belongs to a client that left; there is nothing to do about it.
async fn serve(mut stream: TcpStream, pace: Pace, table: Table) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(8192);
    loop {
        let Some((head, whole, received)) = request(&stream, &mut bytes).await? else { return Ok(()) };
        if bytes.starts_with(b"GET") {
            let page = if bytes.starts_with(b"GET /truth") { table.take() } else { MODELS.to_owned() };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
            stream.write_all((head + &page).as_bytes()).await?;
        } else {
            let asked: Asked = serde_json::from_slice(&bytes[head..whole])?;
            if pace == Pace::Flood {
                stream.write_all(coalesced(asked.max_tokens).as_bytes()).await?;
            } else {
                let line = answer(&mut stream, &asked, received).await?;
                table.borrow_mut().push_str(&line);
            }
        }
        bytes.drain(..whole);
    }
}

/// Reads until a request is whole: where its body begins and ends, and when its end came in. `None`: the connection was
/// closed.
async fn request(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<(usize, usize, u64)>> {
    let (mut room, mut received) = ([0; 8192], 0);
    loop {
        if let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4) {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = head + length.unwrap_or(0);
            if bytes.len() >= whole {
                return Ok(Some((head, whole, received)));
            }
        }
        let Some((read, at)) = arrival::read(stream, &mut room).await? else { return Ok(None) };
        bytes.extend_from_slice(read);
        received = at;
    }
}

async fn answer(stream: &mut TcpStream, asked: &Asked, received: u64) -> io::Result<String> {
    let start = Instant::now();
    let prefill = asked.kv_transfer_params.as_ref().is_some_and(|params| params.do_remote_decode);
    if prefill && asked.hold != "prefill" {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        let written = monotonic_nanos();
        stream.write_all(format!("{head}{}\r\n\r\n{PREFILLED}", PREFILLED.len()).as_bytes()).await?;
        return Ok(format!("prefill,{received},{written},{written}\n"));
    }
    if prefill || asked.hold == "request" {
        return closed(stream, received).await;
    }
    if asked.max_tokens == 0 || asked.hold == "coalesced" {
        stream.write_all(coalesced(asked.max_tokens).as_bytes()).await?;
        return Ok(String::new());
    }
    stream.write_all(STREAM_HEAD.as_bytes()).await?;
    let (mut first, mut last) = (0, 0);
    for token in 1..=asked.max_tokens {
        sleep_until(start + TTFT + ITL * (token - 1)).await;
        let chunk = chunk(token);
        last = monotonic_nanos();
        first = if token == 1 { last } else { first };
        stream.write_all(chunk.as_bytes()).await?;
        if asked.hold == "decode" {
            return closed(stream, received).await;
        }
    }
    stream.write_all(STREAM_END.as_bytes()).await?;
    Ok(format!("decode,{received},{first},{last}\n"))
}

/// A chunk of vLLM's shape with one token, and the usage so far.
fn event(token: u32) -> String {
    format!(
        "data: {{\"id\":\"cmpl-bf4cb11e4454e20c\",\"object\":\"text_completion\",\"created\":1795293761,\"model\":\"tiny\",\"choices\":[{{\"index\":0,\"text\":\" variable\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":null}}],\"usage\":{{\"prompt_tokens\":32,\"total_tokens\":{},\"completion_tokens\":{token}}}}}\n\n",
        token + 32
    )
}

/// Made once each: the engines may share a core with the load, and must not be what is slow.
fn chunk(token: u32) -> Rc<str> {
    thread_local!(static MADE: RefCell<Vec<Rc<str>>> = const { RefCell::new(Vec::new()) });
    MADE.with_borrow_mut(|made| {
        for next in made.len() as u32..=token {
            let data = event(next);
            made.push(format!("{:x}\r\n{data}\r\n", data.len()).into());
        }
        Rc::clone(&made[token as usize])
    })
}

/// Bytes of a stream's body.
pub fn stream_len(tokens: u32) -> usize {
    let end = "data: [DONE]\n\n".len();
    (1..=tokens).map(|token| event(token).len()).sum::<usize>() + end
}

/// A whole stream in one write, made once.
fn coalesced(tokens: u32) -> Rc<str> {
    thread_local!(static MADE: RefCell<(u32, Rc<str>)> = RefCell::new((0, "".into())));
    MADE.with_borrow_mut(|(made, text)| {
        if *made != tokens || text.is_empty() {
            let chunks: String = (1..=tokens).map(|token| chunk(token).to_string()).collect();
            (*made, *text) = (tokens, format!("{STREAM_HEAD}{chunks}{STREAM_END}").into());
        }
        Rc::clone(text)
    })
}

/// Waits for the other side to hang up, and notes when.
async fn closed(stream: &mut TcpStream, received: u64) -> io::Result<String> {
    let mut byte = [0];
    // A reset is an end too.
    let _ = stream.read(&mut byte).await;
    Ok(format!("closed,{received},0,{}\n", monotonic_nanos()))
}
