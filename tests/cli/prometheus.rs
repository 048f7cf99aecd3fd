//! A real Prometheus (Debian: `prometheus`) between the engines and topobench.

use crate::attach::Engine;
use crate::support::{Place, read_json};
use kit::{eventually, free_port};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Scrapes the engines once a second.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(place: &Place, jobs: &[(&str, &Engine)]) -> Option<Prometheus> {
        let engines = jobs.len();
        let jobs: String = jobs
            .iter()
            .map(|(job, engine)| {
                let target = engine.url().replace("http://", "");
                format!("  - job_name: {job}\n    static_configs: [{{targets: ['{target}']}}]\n")
            })
            .collect();
        let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}");
        let config = place.write("prometheus.yml", &config);
        let port = free_port();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", place.path().join("tsdb").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let prometheus = Prometheus { child, port };
        eventually("Prometheus has scraped every engine", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            write!(stream, "GET /api/v1/query?query=vllm:generation_tokens_total HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            (answer.matches("__name__").count() == engines).then_some(())
        });
        Some(prometheus)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_tells_what_the_engines_behind_it_counted() {
    let place = Place::new();
    let (prefill, decode) = (Engine::start("kv_producer"), Engine::start("kv_consumer"));
    let Some(prometheus) = Prometheus::start(&place, &[("prefill", &prefill), ("decode", &decode)]) else {
        eprintln!("SKIPPED: a real Prometheus (no `prometheus` on PATH; Debian's package of this name)");
        return;
    };
    let asked =
        |role: &str| format!("--metrics-url {role}=prometheus+http://127.0.0.1:{}{{job=\"{role}\"}}", prometheus.port);
    let line = format!(
        "nixl --prefill-url {} --decode-url {} {} {} --model m --tokenizer enginesim --request-rate 20 --num-prompts 6 \
         --random-input-len 256 --random-output-len 8 --num-warmups 1 --ttft-slo 60s --json",
        prefill.url(),
        decode.url(),
        asked("prefill"),
        asked("decode")
    );
    let ended = place.type_in(&line).measured();
    let point = &ended.json()["arms"][0]["points"][0];
    assert_eq!(point["hand_over_proof"], "proved", "{point}");
    let manifest = read_json(place.runs("random")[0].join("manifest.json"));
    let engines = &manifest["points"][0]["engines"];
    // Exactly this point's: neither the warm-up's before it, nor less than what was scraped too early.
    assert_eq!((&engines["prompt_tokens"], &engines["kv_transfers"]), (&1536.0.into(), &6.0.into()), "{engines}");
    assert_eq!(manifest["instances"][2]["name"], format!("prefill-0 {}", prefill.url().replace("http://", "")));
}
