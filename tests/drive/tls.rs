//! The whole program against a server that speaks TLS with a certificate made here, and asks for a key.

use super::server;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Starts it; returns its port and its certificate as PEM.
async fn start() -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a usable certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that doesn't trust the certificate leaves here.
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                while let Some(request) = server::receive(&mut stream).await {
                    if stream.write_all(answer(&request).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, made.cert.pem())
}

fn answer(request: &server::Received) -> String {
    let whole = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    if request.header("authorization") != Some("Bearer s3cret") {
        return whole("401 Unauthorized", "");
    }
    match request.head.split(' ').nth(1) {
        Some("/v1/models") => whole("200 OK", r#"{"data":[{"id":"tiny","max_model_len":64}]}"#),
        Some("/v1/completions") => {
            let token = "data: {\"choices\":[{\"index\":0,\"text\":\" a\"}]}\n\n".repeat(request.max_tokens());
            whole("200 OK", &format!("{token}data: [DONE]\n\n"))
        }
        _ => whole("404 Not Found", ""),
    }
}

async fn sweep(port: u16, certificate: Option<&Path>, results: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topobench"));
    command.args(["simple", "--model", "tiny", "--tokenizer", "enginesim", "--request-rate", "50"]);
    command.args(["--num-prompts", "5", "--random-input-len", "8", "--random-output-len", "3", "--json"]);
    command.arg("--attach").arg(format!("https://localhost:{port}")).arg("--result-dir").arg(results);
    command.env("VLLM_API_KEY", "s3cret").env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    if let Some(certificate) = certificate {
        command.env("SSL_CERT_FILE", certificate);
    }
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_is_trusted_by_name_and_a_key_is_sent() {
    let (port, pem) = start().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let certificate = dir.path().join("ca.pem");
    std::fs::write(&certificate, pem).expect("write");
    let output = sweep(port, Some(&certificate), &dir.path().join("results")).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // 4: on a busy machine the client may have been late, which makes the point doubtful and not less measured.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{out}\n{err}");
    let journals: Vec<_> = walk(&dir.path().join("results"), "requests.jsonl");
    let [journal] = &journals[..] else { panic!("{journals:?}") };
    let lines = std::fs::read_to_string(journal).expect("readable");
    assert_eq!(lines.matches(r#""outcome":"completed""#).count(), 5, "{lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_certificate_is_refused_with_the_remedy() {
    let (port, _) = start().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let output = sweep(port, None, dir.path()).await;
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(err.contains("invalid peer certificate") && err.contains("SSL_CERT_FILE"), "{err}");
}

fn walk(dir: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten().map(|e| e.path());
    let found = |p: std::path::PathBuf| match p.is_dir() {
        true => walk(&p, name),
        false => Vec::from_iter(p.ends_with(name).then_some(p)),
    };
    entries.flat_map(found).collect()
}
