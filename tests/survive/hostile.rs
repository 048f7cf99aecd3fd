//! Hostile servers: endless answers, heads and lines, gigabytes where a line belongs, compression bombs. Our memory
//! stays bounded, and the run ends by saying what was wrong.

use crate::support::{Bench, Finished, RunDir, count};
use kit::scripted::{Answer, Received, Server};

/// A debug build with its threads takes some 60 MB; these servers send many times this.
const MOST_MEMORY: u64 = 256 << 20;

/// What a hostile server does.
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

struct Hostile(Server);

impl Hostile {
    fn start(evil: Evil) -> Self {
        Hostile(Server::start_in_thread(move |request, mut answer| async move {
            let stays = reply(&mut answer, &request, evil).await;
            stays.then_some(answer)
        }))
    }

    /// Measures it with a few requests, and checks that our memory stays within the limit.
    fn suffer(&self) -> Finished {
        let words = format!("simple --attach {} --model m --tokenizer enginesim", self.0.url());
        let bench = Bench::bare(&words)
            .args("--request-rate 40 --num-prompts 8 --random-input-len 32 --random-output-len 4 --num-warmups 1")
            .args("--first-token-timeout 4 --idle-timeout 4 --drain-timeout 8 --save-texts");
        let finished = bench.run();
        assert!(finished.peak > 0 && finished.peak < MOST_MEMORY, "{} MiB", finished.peak >> 20);
        finished
    }
}

/// Whether the connection stays open for the next request.
async fn reply(answer: &mut Answer, request: &Received, evil: Evil) -> bool {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    match (request.path(), evil) {
        ("/v1/models", Evil::EndlessModels) => {
            answer.write(format!("{close}{{\"data\":[{{\"id\":\"")).await;
            answer.pour(vec![b'm'; 1 << 16]).await;
        }
        ("/v1/models", Evil::EndlessHead) | ("/v1/completions", Evil::EndlessHead) => {
            answer.write("HTTP/1.1 200 OK\r\n").await;
            answer.pour("X-Filler: yes, more of it\r\n".repeat(1000)).await;
        }
        ("/v1/models", Evil::BombOfZeros) => {
            // The beginning of an endless gzip of zeros: decompressed it would be a thousand times as much.
            answer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n\x1f\x8b\x08\0").await;
            answer.pour(vec![0; 1 << 16]).await;
        }
        ("/v1/models", Evil::RedirectElsewhere) => {
            let location = "Location: http://127.0.0.1:9/v1/models";
            answer.write(format!("HTTP/1.1 302 Found\r\n{location}\r\nContent-Length: 0\r\n\r\n")).await;
            return true;
        }
        ("/metrics", Evil::EndlessMetrics) => {
            answer.write(close).await;
            answer.pour("vllm:num_requests_running{engine=\"0\"} 1.0\n".repeat(1000)).await;
        }
        ("/v1/completions", Evil::EndlessTokens) => {
            answer.write(stream).await;
            answer.pour(format!("{TOKEN}\n\n").repeat(500)).await;
        }
        ("/v1/completions", Evil::EndlessLine) => {
            answer.write(format!("{stream}data: ")).await;
            answer.pour(vec![b'x'; 1 << 16]).await;
        }
        ("/v1/completions", Evil::EndlessComments) => {
            answer.write(stream).await;
            answer.pour(": still here\n\n".repeat(1000)).await;
        }
        ("/v1/completions", Evil::HugeError) => {
            answer.write("HTTP/1.1 500 Oh\r\nContent-Length: 4000000000\r\n\r\n").await;
            answer.pour(vec![b'e'; 1 << 16]).await;
        }
        ("/v1/completions", Evil::HugeAnswer) => {
            answer.write("HTTP/1.1 200 OK\r\nContent-Length: 4000000000\r\n\r\n").await;
            answer.pour(vec![b'{'; 1 << 16]).await;
        }
        ("/v1/completions", Evil::HugeErrorEvent) => {
            let message = "e".repeat(900 << 10);
            answer.write(format!("{stream}data: {{\"error\":{{\"message\":\"{message}\"}}}}\n\n")).await;
        }
        ("/v1/completions", _) => {
            let n = request.max_tokens();
            let usage = format!(r#"data: {{"choices":[],"usage":{{"prompt_tokens":32,"completion_tokens":{n}}}}}"#);
            let body = format!("{TOKEN}\n\n").repeat(n) + &usage + "\n\ndata: [DONE]\n\n";
            answer.write(format!("{stream}{body}")).await;
        }
        ("/v1/models", _) => {
            answer.whole("200 OK", MODELS).await;
            return true;
        }
        ("/version", _) => {
            answer.whole("200 OK", r#"{"version":"0.32.0"}"#).await;
            return true;
        }
        _ => {
            answer.whole("404 Not Found", "").await;
            return true;
        }
    }
    false
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
        (Evil::EndlessComments, "nothing of the answer came for"),
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
    assert!(matches!(finished.code, Some(0 | 4)), "{}", finished.words);
    let run = RunDir(finished.dir());
    let point = run.point(40.0);
    assert_eq!((&point["status"], &point["engines"]), (&"measured".into(), &serde_json::Value::Null), "{point}");
    assert_eq!(count(&run.requests(40.0), "completed"), 8);
}
