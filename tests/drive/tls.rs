//! The whole program against a server that speaks TLS with a certificate made here, and asks for a key.

use kit::scripted::{Answer, Received, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Starts it; returns its port and its certificate as PEM.
async fn start(is_ca: IsCa) -> (u16, String) {
    let signing_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("a name");
    params.is_ca = is_ca;
    let cert = params.self_signed(&signing_key).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![cert.der().clone()], key).expect("a usable certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // A client that doesn't trust the certificate leaves during the handshake.
    let handshake = move |tcp| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(tcp).await.ok() }
    };
    let server = Server::start_behind(handshake, |request, mut answer| async move {
        reply(&request, &mut answer).await;
        Some(answer)
    })
    .await;
    (server.address.port(), cert.pem())
}

async fn reply(request: &Received, answer: &mut Answer) {
    if request.header("authorization") != Some("Bearer s3cret") {
        return answer.whole("401 Unauthorized", "").await;
    }
    match request.path() {
        "/v1/models" => answer.whole("200 OK", r#"{"data":[{"id":"tiny","max_model_len":64}]}"#).await,
        "/v1/completions" => {
            let token = "data: {\"choices\":[{\"index\":0,\"text\":\" a\"}]}\n\n".repeat(request.max_tokens());
            answer.whole("200 OK", &format!("{token}data: [DONE]\n\n")).await;
        }
        _ => answer.whole("404 Not Found", "").await,
    }
}

/// As plain `openssl req -x509` marks what it makes.
fn authority() -> IsCa {
    IsCa::Ca(BasicConstraints::Unconstrained)
}

async fn sweep(port: u16, certificate: Option<&Path>, flags: &[&str], results: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topobench"));
    command.args(["simple", "--model", "tiny", "--tokenizer", "enginesim", "--request-rate", "50"]);
    command.args(["--num-prompts", "5", "--random-input-len", "8", "--random-output-len", "3", "--json"]);
    command.arg("--attach").arg(format!("https://localhost:{port}")).arg("--result-dir").arg(results);
    command.env("VLLM_API_KEY", "s3cret").env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command.args(flags);
    if let Some(certificate) = certificate {
        command.env("SSL_CERT_FILE", certificate);
    }
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_is_trusted_by_name_and_a_key_is_sent() {
    for is_ca in [IsCa::NoCa, authority()] {
        let (port, pem) = start(is_ca).await;
        let dir = tempfile::tempdir().expect("tempdir");
        let certificate = dir.path().join("ca.pem");
        std::fs::write(&certificate, pem).expect("write");
        let output = sweep(port, Some(&certificate), &[], &dir.path().join("results")).await;
        measured(&output, &dir.path().join("results"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_may_go_unchecked_where_that_is_asked_for_and_the_results_say_so() {
    let (port, _) = start(authority()).await;
    let dir = tempfile::tempdir().expect("tempdir");
    let output = sweep(port, None, &["--insecure"], dir.path()).await;
    measured(&output, dir.path());
    let manifest = std::fs::read_to_string(&walk(dir.path(), "manifest.json")[0]).expect("readable");
    assert!(
        manifest.contains("were not checked (--insecure)") && manifest.contains(r#""insecure": true"#),
        "{manifest}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_behind_tls_are_measured_through_the_proxy_too() {
    let (port, pem) = start(authority()).await;
    let dir = tempfile::tempdir().expect("tempdir");
    let certificate = dir.path().join("ca.pem");
    std::fs::write(&certificate, pem).expect("write");
    for (trusted, flags) in
        [(Some(certificate.as_path()), &["--through-proxy"][..]), (None, &["--through-proxy", "--insecure"])]
    {
        let results = dir.path().join(format!("results-{}", flags.len()));
        measured(&sweep(port, trusted, flags, &results).await, &results);
    }
}

/// Five requests were served.
fn measured(output: &Output, results: &Path) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // 4: on a busy machine the client may have been late, which makes the point doubtful; it was measured all the same.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{out}\n{err}");
    let journals: Vec<_> = walk(results, "requests.jsonl");
    let [journal] = &journals[..] else { panic!("{journals:?}") };
    let lines = std::fs::read_to_string(journal).expect("readable");
    assert_eq!(lines.matches(r#""outcome":"completed""#).count(), 5, "{lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_certificate_is_refused_with_the_remedy() {
    let (port, _) = start(IsCa::NoCa).await;
    let dir = tempfile::tempdir().expect("tempdir");
    let output = sweep(port, None, &[], dir.path()).await;
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(err.contains("signed by nobody this machine trusts") && err.contains("SSL_CERT_FILE"), "{err}");
}

fn walk(dir: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten().map(|e| e.path());
    let found = |p: std::path::PathBuf| match p.is_dir() {
        true => walk(&p, name),
        false => Vec::from_iter(p.ends_with(name).then_some(p)),
    };
    entries.flat_map(found).collect()
}
