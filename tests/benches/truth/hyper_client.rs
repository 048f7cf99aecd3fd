//! A load client on hyper's low-level connections, as one would write it first: a pool of them, tokio's timer, and a stamp
//! when a task is handed a piece of the answer. It only counts `data: `, as the floor does, so that what differs is hyper.

use super::OUTPUT_TOKENS;
use super::clients::{Task, Told};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Connection = SendRequest<Full<Bytes>>;

pub(crate) fn run(task: Task) -> Vec<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut told = runtime.block_on(async {
        let pool = Arc::new(Mutex::new(Vec::new()));
        let mut answers = tokio::task::JoinSet::new();
        let zero = Instant::now() + Duration::from_millis(50);
        for index in 0..task.requests {
            let due = zero + Duration::from_secs_f64(f64::from(index) / task.rate);
            tokio::time::sleep_until(due.into()).await;
            let pool = Arc::clone(&pool);
            answers.spawn(async move { (index, one(task.port, index, &pool).await) });
        }
        answers.join_all().await
    });
    told.sort_by_key(|(index, _)| *index);
    told.into_iter().map(|(_, told)| told).collect()
}

async fn one(port: u16, index: u32, pool: &Mutex<Vec<Connection>>) -> Told {
    let idle = pool.lock().expect("no task panics").pop();
    let mut connection = match idle.filter(Connection::is_ready) {
        Some(connection) => connection,
        None => connect(port).await,
    };
    let prompt: Vec<u32> = (0..32).map(|i| 1000 + index % 20_000 + i).collect();
    let body = format!("{{\"prompt\":{prompt:?},\"max_tokens\":{OUTPUT_TOKENS}}}");
    let request = hyper::Request::post("/v1/completions")
        .header("host", "127.0.0.1")
        .header("x-request-id", index.to_string())
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let sent = Instant::now();
    let mut answer = connection.send_request(request).await.expect("an answer").into_body();
    let (mut first, mut last, mut tokens) = (None, sent, 0);
    while let Some(frame) = answer.frame().await {
        let at = Instant::now();
        let frame = frame.expect("a frame");
        let seen = frame.data_ref().map_or(0, |data| memchr::memmem::find_iter(data, b"data: ").count() as u32);
        if seen > 0 && tokens < OUTPUT_TOKENS {
            first.get_or_insert(at);
            last = at;
        }
        tokens += seen;
    }
    pool.lock().expect("no task panics").push(connection);
    let nanos = |d: Duration| d.as_nanos() as f64;
    let first = first.unwrap_or(sent);
    Told { ttft: nanos(first - sent), tpot: nanos(last - first) / f64::from(OUTPUT_TOKENS - 1) }
}

async fn connect(port: u16) -> Connection {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    stream.set_nodelay(true).expect("a socket");
    let (connection, driver) = handshake(TokioIo::new(stream)).await.expect("hyper takes it");
    tokio::spawn(driver);
    connection
}
