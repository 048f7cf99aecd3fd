//! The load client against scripted servers: what it sends, when, and how it judges every awkward answer.

mod attach;
mod sessions;
mod tls;

use kit::scripted::{Answer, Received, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Barrier, Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use topobench::drive::{
    Completion, Deadlines, Destination, LoadReport, Pace, PointSpec, Progress, Single, SingleError, run_point, send_one,
};
use topobench::outcome::{Failure, Outcome, RequestRecord};
use topobench::plan::dataset::Dataset;
use topobench::plan::deployment::Secret;
use topobench::plan::lengths::{Lengths, Prefixes};
use topobench::plan::load::{Arrivals, Endpoint, Extent, Load, Overlong, Workload};
use topobench::plan::workload::{PrepareContext, PreparedWorkload, Prompt};
use topobench::units::{RequestRate, TokenCount};

fn workload() -> Workload {
    let fixed = |n| Lengths::Fixed { tokens: TokenCount(n) };
    Workload {
        dataset: Dataset::Random {
            input: fixed(8),
            output: fixed(3),
            prefix_len: TokenCount(0),
            prefixes: Prefixes::default(),
        },
        endpoint: Endpoint::Completions,
        tokenizer: None,
        ignore_eos: true,
        temperature: Some(0.0),
        extra_body: serde_json::Map::new(),
        save_texts: false,
        length_field: None,
        overlong: Overlong::default(),
    }
}

/// A point of `requests` at `rate` against the server.
fn point(address: std::net::SocketAddr, requests: u32, rate: f64) -> PointSpec {
    let rate = RequestRate::new(rate).expect("positive");
    let load = Load {
        rates: vec![rate],
        extent: Extent::Requests(requests),
        arrivals: Arrivals::Constant,
        ramp_up: None,
        max_concurrency: None,
        requests: Vec::new(),
        warmups: 0,
        max_warmup: Duration::ZERO,
        launches: 1,
        attempts: 1,
        seed: 1,
        causal: None,
    };
    let prompts = PreparedWorkload::prepare(&workload(), &load, PrepareContext::default()).expect("prepares");
    PointSpec {
        schedule: Arc::new(prompts.schedule(rate, 1).expect("schedules")),
        prompts: Arc::new(prompts),
        target: Destination::new(format!("http://{address}"), "tiny", &workload()),
        id_prefix: "tb-0-1".into(),
        deadlines: Deadlines::default(),
        drain: Duration::from_secs(60),
        pace: Pace::Open,
        keep_text: false,
    }
}

/// Runs the point to its end and returns the records by index.
async fn run(spec: PointSpec, cancel: CancellationToken) -> (LoadReport, Vec<RequestRecord>) {
    let (sink, mut records) = mpsc::unbounded_channel();
    let report = run_point(spec, sink, cancel, Arc::new(Progress::default())).await.expect("the load runs");
    let mut all = Vec::new();
    while let Some(record) = records.recv().await {
        all.push(record);
    }
    all.sort_by_key(|r| r.index);
    (report, all)
}

async fn run_all(spec: PointSpec) -> (LoadReport, Vec<RequestRecord>) {
    run(spec, CancellationToken::new()).await
}

fn failures(records: &[RequestRecord]) -> Vec<&Failure> {
    records.iter().filter_map(|r| if let Outcome::Failed(f) = &r.outcome { Some(f) } else { None }).collect()
}

/// The failure of a single request to a server that answers with these bytes and closes.
async fn failure_of(bytes: &'static [u8]) -> Failure {
    let server = Server::start(move |_, mut answer| async move {
        answer.write(bytes).await;
        None
    })
    .await;
    let (_, records) = run_all(point(server.address, 1, 1000.0)).await;
    let [failure] = failures(&records)[..] else { panic!("{records:?}") };
    failure.clone()
}

#[tokio::test]
async fn every_request_gets_one_record_with_its_times_in_order() {
    let server = Server::start(|request, mut answer| async move {
        answer.serve(&request).await;
        Some(answer)
    })
    .await;
    let (report, records) = run_all(point(server.address, 40, 500.0)).await;
    assert_eq!((report.counts.sent, report.counts.completed, report.counts.in_flight), (40, 40, 0));
    assert_eq!(report.counts.tokens, 120);
    assert_eq!(records.iter().map(|r| r.index).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    for record in &records {
        let t = &record.timeline;
        let sent = t.sent.expect("sent");
        let (first, last) = (t.first_token.expect("a token"), t.last_token.expect("a token"));
        assert!(t.due <= sent && sent <= first && first <= last && last <= t.end, "{t:?}");
        assert_eq!((t.slot, t.output_tokens), (t.due, Some(TokenCount(3))));
        assert!(record.completed() && record.text.is_none());
    }
}

#[tokio::test]
async fn no_send_waits_for_an_answer() {
    // No request is answered before all have arrived: a client that waits for answers would wait for ever.
    let all_here = Arc::new(Barrier::new(30));
    let server = Server::start(move |request, mut answer| {
        let all_here = Arc::clone(&all_here);
        async move {
            all_here.wait().await;
            answer.serve(&request).await;
            Some(answer)
        }
    })
    .await;
    let (report, _) = run_all(point(server.address, 30, 1000.0)).await;
    assert_eq!(report.counts.completed, 30);
}

#[tokio::test]
async fn under_a_concurrency_limit_slots_are_handed_on_and_due_stays_due() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let server = Server::start(move |request, mut answer| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            answer.head().await;
            answer.tokens(request.max_tokens()).await;
            now.fetch_sub(1, Ordering::SeqCst);
            answer.end().await;
            Some(answer)
        }
    })
    .await;
    let spec = PointSpec { pace: Pace::Limited(2), ..point(server.address, 20, f64::INFINITY) };
    let (report, records) = run_all(spec).await;
    assert_eq!(report.counts.completed, 20);
    assert!(seen.load(Ordering::SeqCst) <= 2);
    let mut ends: Vec<_> = records.iter().map(|r| r.timeline.end).collect();
    ends.sort();
    for record in &records {
        let t = &record.timeline;
        assert_eq!(t.due.as_nanos(), 0);
        assert!(t.slot <= t.sent.expect("sent"));
        // Another request had the slot until it ended.
        let predecessor = (record.index as usize).checked_sub(2).map(|i| ends[i]);
        assert!(t.slot >= predecessor.unwrap_or_default(), "{record:?}");
    }
}

#[tokio::test]
async fn in_a_closed_loop_a_request_is_due_when_another_ends() {
    let server = Server::start(|request, mut answer| async move {
        answer.serve(&request).await;
        Some(answer)
    })
    .await;
    let spec = PointSpec { pace: Pace::Closed(3), ..point(server.address, 12, f64::INFINITY) };
    let (report, records) = run_all(spec).await;
    assert_eq!(report.counts.completed, 12);
    let mut ends: Vec<_> = records.iter().map(|r| r.timeline.end).collect();
    ends.sort();
    for record in &records {
        let t = &record.timeline;
        assert_eq!(t.due, t.slot);
        let predecessor = (record.index as usize).checked_sub(3).map(|i| ends[i]);
        assert!(t.due >= predecessor.unwrap_or_default(), "{record:?}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(|request, mut answer| async move {
        answer.serve(&request).await;
        Some(answer)
    })
    .await;
    let spec = PointSpec { pace: Pace::Limited(1), ..point(server.address, 50, f64::INFINITY) };
    let (report, _) = run_all(spec).await;
    assert_eq!(report.counts.completed, 50);
    assert!(server.connections() < 25, "{} connections for 50 requests one after another", server.connections());
}

/// Sends one token of each answer and no more; a permit for each request.
async fn server_that_falls_silent() -> (Server, Arc<Semaphore>) {
    let asked = Arc::new(Semaphore::new(0));
    let asking = Arc::clone(&asked);
    let server = Server::start(move |_, mut answer: Answer| {
        asking.add_permits(1);
        async move {
            answer.head().await;
            answer.tokens(1).await;
            std::future::pending().await
        }
    });
    (server.await, asked)
}

#[tokio::test]
async fn a_cancelled_point_still_accounts_for_every_request() {
    let (server, asked) = server_that_falls_silent().await;
    // Three requests now, the others in a hundred years.
    let cancel = CancellationToken::new();
    let mut spec = point(server.address, 10, f64::INFINITY);
    let mut schedule = (*spec.schedule).clone();
    let far = topobench::units::Offset::from_secs(3e9);
    schedule.requests.iter_mut().skip(3).for_each(|r| r.due = far);
    spec.schedule = Arc::new(schedule);
    let running = tokio::spawn(run(spec, cancel.clone()));
    let _ = asked.acquire_many(3).await.expect("open");
    cancel.cancel();
    let (report, records) = running.await.expect("no panic");
    assert!(report.cancelled);
    assert_eq!((report.counts.sent, report.counts.unfinished), (3, 10));
    assert!(records.iter().all(|r| r.outcome == Outcome::Unfinished));
    assert_eq!(records.iter().filter(|r| r.timeline.sent.is_some()).count(), 3);
}

#[tokio::test]
async fn answers_that_outlast_the_drain_are_unfinished() {
    let server = Server::start(|_, mut answer: Answer| async move {
        answer.closed().await;
        None
    })
    .await;
    let spec = PointSpec { drain: Duration::from_millis(50), ..point(server.address, 4, f64::INFINITY) };
    let (report, records) = run_all(spec).await;
    assert_eq!((report.counts.unfinished, report.cancelled), (4, false));
    assert!(records.iter().all(|r| r.timeline.sent.is_some() && r.timeline.first_token.is_none()));
}

#[tokio::test]
async fn a_silent_server_is_stalled_before_and_after_its_first_token() {
    for tokens in [0, 2] {
        let server = Server::start(move |_, mut answer: Answer| async move {
            answer.head().await;
            answer.tokens(tokens).await;
            loop {
                // Comments keep a connection alive, but are not tokens.
                answer.write("8\r\n: ping\n\n\r\n").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let first_token = Duration::from_millis(if tokens == 0 { 300 } else { 60_000 });
        let deadlines = Deadlines { first_token, idle: Duration::from_millis(1000) };
        let (_, records) = run_all(PointSpec { deadlines, ..point(server.address, 1, 100.0) }).await;
        let [Failure::Stalled { after_secs, tokens: seen }] = failures(&records)[..] else { panic!("{records:?}") };
        assert_eq!(*seen as usize, tokens);
        assert!(*after_secs >= 0.3);
    }
}

#[tokio::test]
async fn nobody_listening_is_a_failure_to_connect() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (report, records) = run_all(point(address, 3, 100.0)).await;
    assert_eq!(report.counts.failed, 3);
    assert!(failures(&records).iter().all(|f| matches!(f, Failure::Connect { .. })), "{records:?}");
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    let token = r#"{"choices":[{"text":"a"}]}"#;
    let closed_in_mid_stream = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n22\r\ndata: {token}\n\n");
    let truncated = failure_of(closed_in_mid_stream.leak().as_bytes()).await;
    assert!(matches!(truncated, Failure::Truncated { tokens: 1, .. }), "{truncated:?}");
    let shed = failure_of(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(shed, Failure::Shed { code: 429 });
    let status = failure_of(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nboom").await;
    assert_eq!(status, Failure::Status { code: 500, detail: "boom".into() });
    let foreign = failure_of(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>").await;
    assert!(matches!(foreign, Failure::Protocol { .. }), "{foreign:?}");
    let hung_up = failure_of(b"").await;
    assert!(matches!(hung_up, Failure::Connect { .. }), "{hung_up:?}");
}

#[tokio::test]
async fn a_stream_cut_into_single_bytes_completes() {
    let server = Server::start(|_, mut answer: Answer| async move {
        let event = "data: {\"choices\":[{\"text\":\"\u{e4}\"}]}\r\n\r\n".repeat(3) + "data: [DONE]\r\n\r\n";
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for byte in format!("{head}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).bytes() {
            answer.write([byte]).await;
            tokio::task::yield_now().await;
        }
        Some(answer)
    })
    .await;
    let (_, records) = run_all(PointSpec { keep_text: true, ..point(server.address, 1, 1.0) }).await;
    assert_eq!(records[0].outcome, Outcome::Completed);
    assert_eq!(records[0].text.as_deref(), Some("\u{e4}\u{e4}\u{e4}"));
}

#[tokio::test]
async fn the_body_says_what_the_schedule_says() {
    let (seen, mut requests) = mpsc::unbounded_channel::<Received>();
    let server = Server::start(move |request, mut answer| {
        let seen = seen.clone();
        async move {
            answer.serve(&request).await;
            let _ = seen.send(request);
            Some(answer)
        }
    })
    .await;
    let spec = point(server.address, 5, 1000.0);
    let (schedule, prompts) = (Arc::clone(&spec.schedule), Arc::clone(&spec.prompts));
    run_all(spec).await;
    for _ in 0..5 {
        let received = requests.recv().await.expect("a request");
        let id = received.header("x-request-id").expect("an id");
        let index: usize = id.strip_prefix("tb-0-1-").and_then(|i| i.parse().ok()).expect("our id");
        let prompt: Vec<u32> = serde_json::from_value(received.body["prompt"].clone()).expect("token ids");
        assert_eq!(Prompt::TokenIds(prompt), prompts.render(&schedule.requests[index]));
        assert_eq!(received.body["stream_options"]["continuous_usage_stats"], true);
    }
}

fn single() -> Single {
    Single {
        prompt: Prompt::Text("def main".into()),
        max_tokens: 4,
        id: "smoke".into(),
        headers: vec![("X-Pin".into(), "0,1".into())],
        deadlines: Deadlines::default(),
    }
}

#[tokio::test]
async fn a_single_request_carries_key_and_pins_and_returns_its_text() {
    let server = Server::start(|request: Received, mut answer| async move {
        let known = request.header("authorization") == Some("Bearer k") && request.header("x-pin") == Some("0,1");
        if known {
            answer.serve(&request).await;
        } else {
            answer.write("HTTP/1.1 401 No\r\n\r\n").await;
        };
        None
    })
    .await;
    let mut target = Destination::new(format!("http://{}", server.address), "tiny", &workload());
    target.access.api_key = Some(Secret::new("k"));
    let Completion { text, timeline } = send_one(&target, &single()).await.expect("an answer");
    assert_eq!((text.as_str(), timeline.output_tokens), (" a a a a", Some(TokenCount(4))));
    target.access.api_key = None;
    let refused = send_one(&target, &single()).await.expect_err("no key");
    assert!(matches!(refused, SingleError::Failed(Failure::Status { code: 401, .. })), "{refused:?}");
}

#[tokio::test]
async fn dropping_a_single_request_hangs_up() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let server = Server::start(move |_, mut answer: Answer| {
        let told = Arc::clone(&told);
        async move {
            answer.head().await;
            answer.closed().await;
            told.notify_one();
            None
        }
    })
    .await;
    let target = Destination::new(format!("http://{}", server.address), "tiny", &workload());
    let single = single();
    let given_up = tokio::time::timeout(Duration::from_millis(100), send_one(&target, &single)).await;
    assert!(given_up.is_err());
    gone.notified().await;
}
