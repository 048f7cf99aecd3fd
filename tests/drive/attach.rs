//! The whole program on servers that somebody else runs, each with a habit of its own.

use kit::scripted::{Answer, Received, Server};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a measurement of five requests, eight tokens each, left behind.
struct Measured {
    output: Output,
    dir: tempfile::TempDir,
}

impl Measured {
    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn said(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.output.stdout), String::from_utf8_lossy(&self.output.stderr))
    }

    /// Every file of the run.
    fn files(&self) -> Vec<(PathBuf, String)> {
        walk(self.dir.path()).into_iter().map(|p| (p.clone(), read(&p))).collect()
    }

    fn file(&self, name: &str) -> String {
        self.files().into_iter().find(|(path, _)| path.ends_with(name)).expect(name).1
    }

    /// On a busy machine the client may have been late, which makes a point doubtful and not less measured.
    #[track_caller]
    fn is_measured(&self) {
        assert!(matches!(self.code(), Some(0 | 4)), "{:?}: {}", self.code(), self.said());
        let completed = self.file("requests.jsonl").matches(r#""outcome":"completed""#).count();
        assert_eq!(completed, 5, "{}", self.said());
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten().map(|e| e.path());
    entries.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned()
}

/// Measures what answers at `url`.
async fn measure(url: String, flags: &[&str], env: &[(&str, &str)]) -> Measured {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut command = Command::new(env!("CARGO_BIN_EXE_topobench"));
    command.args(["simple", "--attach", &url, "--model", "m", "--tokenizer", "enginesim", "--request-rate", "50"]);
    command.args(["--num-prompts", "5", "--random-input-len", "8", "--random-output-len", "8", "--json"]);
    command.args(flags).arg("--result-dir").arg(dir.path());
    for name in ["VLLM_API_KEY", "OPENAI_API_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TOPOBENCH_HEADERS"] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("no panic");
    Measured { output, dir }
}

/// A server that lists its model, and answers completions by `script`.
async fn serving<F, A>(script: F) -> Server
where
    F: Fn(Received, Answer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Option<Answer>> + Send,
{
    Server::start(move |request, mut answer| {
        let script = script.clone();
        async move {
            match request.path() {
                "/v1/models" => answer.whole("200 OK", r#"{"data":[{"id":"m"}]}"#).await,
                "/v1/completions" | "/v1/chat/completions" => return script(request, answer).await,
                _ => answer.whole("404 Not Found", r#"{"detail":"Not Found"}"#).await,
            }
            Some(answer)
        }
    })
    .await
}

/// Refuses with `status` what `is_bad`, and serves the rest.
async fn refusing(status: &'static str, message: &'static str, is_bad: fn(&Received) -> bool) -> Server {
    serving(move |request: Received, mut answer: Answer| async move {
        if is_bad(&request) {
            answer.whole(status, &format!(r#"{{"error":{{"message":"{message}"}}}}"#)).await;
        } else {
            answer.serve(&request).await;
        }
        Some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_without_a_model_list_is_measured_and_what_it_serves_is_not_told() {
    let server = Server::start(|request: Received, mut answer: Answer| async move {
        match request.path() {
            "/v1/completions" => answer.serve(&request).await,
            _ => answer.whole("404 Not Found", "").await,
        }
        Some(answer)
    })
    .await;
    // As people paste it: without a scheme, with the path of the API.
    let measured = measure(format!("{}/v1/completions/", server.address), &[], &[]).await;
    measured.is_measured();
    let manifest = measured.file("manifest.json");
    assert!(manifest.contains(r#""identity": "not told""#) && manifest.contains("lists no models"), "{manifest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_reach_every_question_and_their_secrets_no_file() {
    let server = Server::start(|request: Received, mut answer: Answer| async move {
        let known = request.header("x-tenant") == Some("blue") && request.header("x-api-key") == Some("s3cret");
        match (known, request.path()) {
            (false, _) => answer.whole("401 Unauthorized", r#"{"error":{"message":"who are you"}}"#).await,
            (_, "/v1/models") => answer.whole("200 OK", r#"{"data":[{"id":"m"}]}"#).await,
            (_, "/v1/completions") => answer.serve(&request).await,
            _ => answer.whole("404 Not Found", "").await,
        }
        Some(answer)
    })
    .await;
    let url = format!("http://{}", server.address);
    let secret = [("TOPOBENCH_HEADERS", "X-Api-Key=s3cret")];
    let measured = measure(url.clone(), &["--header", "X-Tenant=blue"], &secret).await;
    measured.is_measured();
    let shown = measured.files().into_iter().find(|(_, text)| text.contains("s3cret"));
    assert!(shown.is_none() && !measured.said().contains("s3cret"), "{shown:?}");
    assert!(measured.file("manifest.json").contains(r#""X-Tenant": "blue""#));
    let by_flag = measure(url.clone(), &["--header", "X-Tenant=blue", "--header", "X-Api-Key: s3cret"], &[]).await;
    by_flag.is_measured();
    assert!(by_flag.files().iter().all(|(_, text)| !text.contains("s3cret")));
    let refused = measure(url, &[], &[]).await;
    assert_eq!(refused.code(), Some(3));
    assert!(refused.said().contains("--header") && !refused.said().contains("logs"), "{}", refused.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_a_server_fails_on_are_left_out_and_it_is_said() {
    let is_bad = |request: &Received| request.body.get("ignore_eos").or(request.body.get("stream_options")).is_some();
    for status in ["500 Oops", "400 Bad Request"] {
        let server = refusing(status, "unexpected field", is_bad).await;
        let measured = measure(format!("http://{}/v1", server.address), &[], &[]).await;
        measured.is_measured();
        let manifest = measured.file("manifest.json");
        assert!(manifest.contains("left out: stream_options; ignore_eos"), "{manifest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_name_of_the_length_is_used_where_it_is_wanted() {
    let is_bad = |request: &Received| request.body.get("max_tokens").is_some();
    let message = "Unsupported parameter: 'max_tokens' is not supported with this model.";
    let server = refusing("400 Bad Request", message, is_bad).await;
    let chat = ["--endpoint", "/v1/chat/completions"];
    let url = format!("http://{}", server.address);
    let measured = measure(url.clone(), &chat, &[]).await;
    measured.is_measured();
    assert!(measured.file("manifest.json").contains("max_completion_tokens is sent instead"));
    let told = measure(url, &[&chat[..], &["--max-tokens-field", "max_completion_tokens"]].concat(), &[]).await;
    told.is_measured();
    assert!(!told.file("manifest.json").contains("is sent instead"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_least_length_of_the_users_does_not_break_the_warm_up() {
    let is_bad = |request: &Received| request.body["min_tokens"].as_u64() > request.body["max_tokens"].as_u64();
    let server = refusing("400 Bad Request", "min_tokens must not exceed max_tokens", is_bad).await;
    let measured = measure(format!("http://{}", server.address), &["--extra-body", r#"{"min_tokens":8}"#], &[]).await;
    measured.is_measured();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_counts_are_counted_in_their_text_and_it_is_said() {
    let server = serving(|request: Received, mut answer: Answer| async move {
        answer.head().await;
        // Two tokens a chunk, as a server that speculates has them.
        for _ in 0..request.max_tokens().div_ceil(2) {
            answer.event(r#"{"choices":[{"index":0,"text":" a a"}]}"#).await;
        }
        answer.end().await;
        Some(answer)
    })
    .await;
    let measured = measure(format!("http://{}", server.address), &[], &[]).await;
    measured.is_measured();
    let journal = measured.file("requests.jsonl");
    assert_eq!(journal.matches(r#""output_tokens":8,"counted_by":"tokenizer""#).count(), 5, "{journal}");
    assert!(!journal.contains("\"text\""), "texts were not asked for");
    let report = measured.files().into_iter().find(|(path, _)| path.ends_with("report.html")).expect("a report").1;
    assert!(report.contains("counted in their text"), "{}", measured.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_are_the_measurement_are_refused_by_name() {
    for field in ["n", "stream", "max_tokens", "prompt", "model", "messages"] {
        let body = format!(r#"{{"{field}":1}}"#);
        let refused = measure("http://127.0.0.1:9".to_string(), &["--extra-body", &body], &[]).await;
        assert_eq!(refused.code(), Some(2), "{field}: {}", refused.said());
        assert!(refused.said().contains(&format!("`{field}`")), "{}", refused.said());
    }
    let refused = measure("http://127.0.0.1:9".to_string(), &["--extra-body", r#"{"min_tokens":100}"#], &[]).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_stops_answers_may_end_them_early() {
    let server = serving(|_, mut answer: Answer| async move {
        answer.head().await;
        answer.tokens(1).await;
        answer.event(r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#).await;
        answer.usage(1).await;
        answer.end().await;
        Some(answer)
    })
    .await;
    let url = format!("http://{}", server.address);
    measure(url.clone(), &["--extra-body", r#"{"stop":["b"]}"#], &[]).await.is_measured();
    assert_eq!(measure(url, &[], &[]).await.code(), Some(3), "without it they are too short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_elsewhere_or_is_not_ready_is_told_without_secrets() {
    let told = async |status: &'static str| {
        let server = Server::start(move |_: Received, mut answer: Answer| async move {
            answer.whole(status, "").await;
            Some(answer)
        })
        .await;
        let measured = measure(server.address.to_string(), &[], &[]).await;
        assert_eq!(measured.code(), Some(3), "{}", measured.said());
        assert!(!measured.said().contains("s3cret"), "{}", measured.said());
        measured.said()
    };
    let moved = told("301 Moved Permanently\r\nLocation: https://me:s3cret@gpu7/v1/models?key=s3cret").await;
    assert!(moved.contains("to https://***@gpu7/v1/models") && moved.contains("redirects are not followed"), "{moved}");
    let busy = told("503 Service Unavailable").await;
    assert!(busy.contains("GET /v1/models: HTTP 503") && busy.contains("not yet"), "{busy}");
}
