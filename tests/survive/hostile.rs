//! Servers that nobody should trust: answers without end, heads without end, lines without end, gigabytes where a line
//! belongs, compression bombs. Our memory stays bounded, and the run ends with a word about what was wrong.

use crate::support::{Bench, Finished, RunDir, count};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A debug build with its threads takes some 60 MB; what these servers pour out is many times this.
const MOST_MEMORY: u64 = 256 << 20;
/// How long a server goes on pouring if nobody hangs up.
const LONG: Duration = Duration::from_secs(60);

/// What a hostile server does instead of answering properly.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Evil {
    EndlessModels,
    EndlessHead,
    BombOfZeros,
    EndlessMetrics,
    EndlessTokens,
    EndlessLine,
    EndlessComments,
    HugeAnswer,
    HugeError,
    HugeErrorEvent,
    RedirectElsewhere,
}

const MODELS: &str = r#"{"object":"list","data":[{"id":"m","object":"model","max_model_len":8192}]}"#;
const TOKEN: &str = r#"data: {"choices":[{"index":0,"text":"x","finish_reason":null}]}"#;

struct Hostile {
    port: u16,
}

impl Hostile {
    fn start(evil: Evil) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up ends its conversation.
                std::thread::spawn(move || converse(stream, evil));
            }
        });
        Hostile { port }
    }

    /// Drives it with a few requests, and holds our memory to the limit.
    fn suffer(&self) -> Finished {
        let words = format!("simple --attach http://127.0.0.1:{} --model m --tokenizer enginesim", self.port);
        let bench = Bench::bare(&words)
            .args("--request-rate 40 --num-prompts 8 --random-input-len 32 --random-output-len 4 --num-warmups 1")
            .args("--first-token-timeout 4 --idle-timeout 4 --drain-timeout 8 --save-texts");
        let finished = bench.run();
        assert!(finished.peak > 0 && finished.peak < MOST_MEMORY, "{} MiB", finished.peak >> 20);
        finished
    }
}

fn converse(stream: TcpStream, evil: Evil) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let (mut path, mut length, mut line) = (String::new(), 0, String::new());
        while reader.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_string();
            }
            line.clear();
        }
        if path.is_empty() {
            return Ok(());
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        answer(&mut out, &path, evil)?;
    }
}

fn answer(out: &mut TcpStream, path: &str, evil: Evil) -> std::io::Result<()> {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    match (path, evil) {
        ("/v1/models", Evil::EndlessModels) => {
            out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"data\":[{\"id\":\"")?;
            pour(out, &[b'm'; 1 << 16])
        }
        ("/v1/models", Evil::EndlessHead) | ("/v1/completions", Evil::EndlessHead) => {
            out.write_all(b"HTTP/1.1 200 OK\r\n")?;
            pour(out, "X-Filler: yes, more of it\r\n".repeat(1000).as_bytes())
        }
        ("/v1/models", Evil::BombOfZeros) => {
            // What a gzip of zeros begins with, for ever: decompressed it would be a thousand times as much.
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n\x1f\x8b\x08\0")?;
            pour(out, &[0; 1 << 16])
        }
        ("/v1/models", Evil::RedirectElsewhere) => {
            out.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/v1/models\r\nContent-Length: 0\r\n\r\n")
        }
        ("/metrics", Evil::EndlessMetrics) => {
            out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            pour(out, "vllm:num_requests_running{engine=\"0\"} 1.0\n".repeat(1000).as_bytes())
        }
        ("/v1/completions", Evil::EndlessTokens) => {
            out.write_all(stream.as_bytes())?;
            pour(out, format!("{TOKEN}\n\n").repeat(500).as_bytes())
        }
        ("/v1/completions", Evil::EndlessLine) => {
            out.write_all(format!("{stream}data: ").as_bytes())?;
            pour(out, &[b'x'; 1 << 16])
        }
        ("/v1/completions", Evil::EndlessComments) => {
            out.write_all(stream.as_bytes())?;
            pour(out, ": still here\n\n".repeat(1000).as_bytes())
        }
        ("/v1/completions", Evil::HugeError) => {
            out.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 4000000000\r\n\r\n")?;
            pour(out, &[b'e'; 1 << 16])
        }
        ("/v1/completions", Evil::HugeAnswer) => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000000\r\n\r\n")?;
            pour(out, &[b'{'; 1 << 16])
        }
        ("/v1/completions", Evil::HugeErrorEvent) => {
            let message = "e".repeat(900 << 10);
            out.write_all(format!("{stream}data: {{\"error\":{{\"message\":\"{message}\"}}}}\n\n").as_bytes())?;
            Err(std::io::ErrorKind::Other.into())
        }
        ("/v1/models", _) => whole(out, MODELS),
        ("/version", _) => whole(out, r#"{"version":"0.32.0"}"#),
        ("/v1/completions", _) => {
            let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":32,"completion_tokens":4}}"#;
            let body = format!("{TOKEN}\n\n").repeat(4) + usage + "\n\ndata: [DONE]\n\n";
            out.write_all(format!("{stream}{body}").as_bytes())?;
            Err(std::io::ErrorKind::Other.into())
        }
        _ => out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    }
}

fn whole(out: &mut TcpStream, body: &str) -> std::io::Result<()> {
    out.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// Until the reader hangs up.
fn pour(out: &mut TcpStream, block: &[u8]) -> std::io::Result<()> {
    let since = Instant::now();
    while since.elapsed() < LONG {
        out.write_all(block)?;
    }
    Ok(())
}

#[test]
fn a_model_list_without_end_is_refused() {
    for (evil, word) in [
        (Evil::EndlessModels, "longer than 1048576 bytes"),
        (Evil::BombOfZeros, "longer than 1048576 bytes"),
        (Evil::EndlessHead, ""),
        (Evil::RedirectElsewhere, "302"),
    ] {
        let finished = Hostile::start(evil).suffer();
        assert_eq!(finished.code, Some(3), "{evil:?}: {}", finished.words);
        assert!(finished.words.contains("is not the server this run expects"), "{evil:?}: {}", finished.words);
        assert!(finished.words.contains(word), "{evil:?}: {}", finished.words);
    }
}

#[test]
fn answers_without_end_fail_the_smoke_request_within_its_deadline() {
    for (evil, word) in [
        (Evil::EndlessTokens, "far more than asked for"),
        (Evil::EndlessLine, "an event longer than"),
        (Evil::EndlessComments, "no byte for"),
        (Evil::HugeError, "HTTP 500: eeee"),
        (Evil::HugeAnswer, "an event longer than"),
        (Evil::HugeErrorEvent, "error inside the stream: eeee"),
    ] {
        let finished = Hostile::start(evil).suffer();
        assert_eq!(finished.code, Some(3), "{evil:?}: {}", finished.words);
        assert!(finished.words.contains("smoke request"), "{evil:?}: {}", finished.words);
        assert!(finished.words.contains(word), "{evil:?}: {}", finished.words);
        assert!(finished.words.len() < 10_000, "{evil:?}: nobody reads {} bytes", finished.words.len());
    }
}

#[test]
fn metrics_without_end_are_done_without() {
    let finished = Hostile::start(Evil::EndlessMetrics).suffer();
    let run = RunDir(finished.dir());
    let point = run.point(40.0);
    assert_eq!((&point["status"], &point["engines"]), (&"measured".into(), &serde_json::Value::Null), "{point}");
    assert_eq!(count(&run.requests(40.0), "completed"), 8);
}
