//! The server as any client meets it.

use crate::client::{Events, HOSTILE, ask, curated, get, hostile, parts};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use topobench::live::{LiveServer, Watched};
use topobench::session::events::SessionEvent;

fn of_a_past_run() -> LiveServer {
    let watched = Watched::of(&curated("nixl_20261122_001955")).expect("a run");
    LiveServer::start(0, watched, false).expect("serves")
}

#[test]
fn the_page_is_for_whoever_has_its_address_and_nobody_else() {
    let server = of_a_past_run();
    let (host, path) = parts(server.url());
    assert!(host.starts_with("127.0.0.1:") && path.len() == 34, "{}", server.url());
    let page = get(server.url(), &path);
    assert_eq!(page.status, 200);
    for header in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "default-src 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(page.head.contains(header), "{header} in {}", page.head);
    }
    assert!(!page.head.contains("unsafe-inline") && !page.head.contains("access-control"), "{}", page.head);
    assert!(page.text().contains("topobench live"));
    let other = format!("/{}/", "0".repeat(32));
    for wrong in ["/", "/favicon.ico", "/events", &other, &format!("{other}events"), &path[..33], &format!("{path}x")] {
        let answer = get(server.url(), wrong);
        assert_eq!(answer.status, 404, "{wrong}");
        assert!(!answer.text().contains("<html"), "{wrong}");
    }
}

#[test]
fn a_name_that_was_made_to_lead_here_is_refused() {
    let server = of_a_past_run();
    let (host, path) = parts(server.url());
    let of = |name: &str, path: &str| {
        ask(&host, &format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"))
    };
    for name in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.7:8000"] {
        assert_eq!(of(name, &path).status, 403, "{name}");
        assert_eq!(of(name, &format!("{path}events")).status, 403, "{name}");
    }
    // Through a tunnel the port is another.
    for name in ["localhost:9999", "127.0.0.1:1", "[::1]:8800"] {
        assert_eq!(of(name, &path).status, 200, "{name}");
    }
    let without = ask(&host, &format!("GET {path} HTTP/1.0\r\n\r\n"));
    assert_eq!(without.status, 403, "no name at all");
}

#[test]
fn the_page_is_only_read() {
    let server = of_a_past_run();
    let (host, path) = parts(server.url());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let answer = ask(
            &host,
            &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.status, 405, "{method}");
    }
}

#[test]
fn a_reload_and_one_who_comes_late_get_the_whole_first() {
    let server = of_a_past_run();
    for _ in 0..3 {
        // Who comes first sees it being read.
        let mut page = Events::open(server.url());
        page.until("the curves", |data| data.get("curves").is_some());
        let (name, all) = Events::open(server.url()).next().expect("an event");
        assert_eq!(name, "snapshot");
        assert_eq!(all["now"]["doing"], "nixl: completed");
        let points = all["curves"]["arms"][0]["points"].as_array().expect("points").clone();
        let percents: Vec<f64> = points.iter().filter_map(|p| p["percent"].as_f64()).collect();
        assert_eq!(percents.len(), 5, "{points:?}");
        assert!(percents.windows(2).all(|two| two[0] > two[1]), "{percents:?}");
        assert!(points.iter().all(|p| p["low"].as_f64() < p["percent"].as_f64() && p["kind"] == "measured"));
        let samples = all["samples"].as_array().expect("samples");
        assert!(samples.iter().any(|s| s["kind"] == "gpu" && s["watts"].as_f64() > Some(100.0)));
        assert!(samples.iter().any(|s| s["kind"] == "engine" && s["of"] == "decode-0" && s["kv_usage"].is_f64()));
    }
}

/// A sink that counts what reaches the console.
fn counted(server: &LiveServer) -> (topobench::session::events::EventSink, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let sink = server.sink(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    (sink, count)
}

#[test]
fn events_reach_open_pages_and_later_ones() {
    let server = LiveServer::start(0, Watched::Session, true).expect("serves");
    let (sink, count) = counted(&server);
    sink(SessionEvent::Launching { arm: "simple".into(), instances: 2 });
    let mut early = Events::open(server.url());
    early.until("the launch", |data| data["now"]["doing"] == "Starting the engines of simple");
    sink(SessionEvent::WarmingUp { arm: "simple".into(), requests: 5 });
    let changed = early.until("the warm-up", |data| data["now"]["doing"] == "Warming up simple");
    assert!(changed.get("curves").is_none(), "only what changed is sent: {changed}");
    let (_, late) = Events::open(server.url()).next().expect("an event");
    let told: Vec<&str> = late["told"].as_array().expect("lines").iter().filter_map(|l| l["text"].as_str()).collect();
    assert_eq!(told, ["simple: starting 2 engines", "simple: warming up with 5 requests"]);
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[test]
fn a_reader_that_never_reads_holds_nobody_up() {
    let server = LiveServer::start(0, Watched::Session, true).expect("serves");
    let (sink, count) = counted(&server);
    let deaf = Events::open(server.url());
    // Far more than its socket takes, and than the page's own buffer holds.
    let text = "x".repeat(4000);
    for n in 0..20_000 {
        sink(SessionEvent::Warning { text: format!("{n} {text}") });
    }
    assert_eq!(count.load(Ordering::Relaxed), 20_000, "all of them reached the console");
    sink(SessionEvent::Warning { text: "the last".into() });
    let mut other = Events::open(server.url());
    let now = other.until("the last", |data| {
        data["told"].as_array().is_some_and(|lines| lines.iter().any(|l| l["text"] == "warning: the last"))
    });
    assert!(now["told"].as_array().is_some_and(|lines| lines.len() <= 60), "the page keeps a screenful");
    drop(deaf);
}

#[test]
fn open_pages_are_told_the_last_when_the_run_is_over() {
    let server = LiveServer::start(0, Watched::Session, true).expect("serves");
    let (sink, _) = counted(&server);
    let mut page = Events::open(server.url());
    page.next().expect("a snapshot");
    sink(SessionEvent::Warning { text: "the last".into() });
    drop(server);
    let mut names = Vec::new();
    let mut said = false;
    while let Some((name, data)) = page.next() {
        said |= data.to_string().contains("warning: the last");
        names.push(name);
    }
    assert!(said && names.last().is_some_and(|name| name == "end"), "{names:?}");
}

#[test]
fn names_and_logs_travel_as_data() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = hostile(dir.path());
    let server = LiveServer::start(0, Watched::of(&run).expect("a run"), false).expect("serves");
    let all = Events::open(server.url()).until("its title", |data| data.get("about").is_some());
    assert_eq!(all["about"]["title"], HOSTILE);
    assert_eq!(all["about"]["labels"], serde_json::json!([[HOSTILE, HOSTILE]]));
    assert_eq!(all["logs"], serde_json::json!([{"of": "decode-0", "lines": ["INFO up", HOSTILE]}]));
    let page = get(server.url(), &parts(server.url()).1).text();
    assert!(!page.contains("broken"), "the page itself holds no data");
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let error = LiveServer::start(port, Watched::Session, true).err().expect("taken").to_string();
    assert!(error.contains(&port.to_string()) && error.contains("--live alone"), "{error}");
}
