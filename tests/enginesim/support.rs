//! Starting instances and talking HTTP to them, byte by byte.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

pub(crate) use kit::free_port;

use kit::{PATIENCE, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A running instance; killed at the end of its test.
pub(crate) struct Sim {
    pub child: Child,
    pub port: u16,
    log: tempfile::NamedTempFile,
}

impl Sim {
    /// Starts `qwen3-0.6b` with more arguments and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut sim = Self::spawn(free_port(), arguments, &[]);
        sim.wait_ready();
        sim
    }

    pub(crate) fn spawn(port: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(kit::enginesim!())
            .args(["serve", "qwen3-0.6b", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--max-model-len", "8192", "--sim-start-delay", "0", "--sim-handshake-ms", "5"])
            .args(arguments)
            .env_remove("VLLM_API_KEY")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.reopen().unwrap())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, port, log }
    }

    /// A prefill or decode instance with its own side channel.
    pub(crate) fn start_pd(role: &str, config: Value, arguments: &[&str]) -> Self {
        let mut kv = json!({"kv_connector": "NixlConnector", "kv_role": role});
        kv.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let (kv, side_port) = (kv.to_string(), free_port().to_string());
        let arguments: Vec<&str> = ["--kv-transfer-config", &kv].iter().chain(arguments).copied().collect();
        let environment =
            [("VLLM_NIXL_SIDE_CHANNEL_HOST", "127.0.0.1"), ("VLLM_NIXL_SIDE_CHANNEL_PORT", side_port.as_str())];
        let mut sim = Self::spawn(free_port(), &arguments, &environment);
        sim.wait_ready();
        sim
    }

    pub(crate) fn wait_ready(&mut self) {
        eventually("ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before it was ready:\n{}", self.log());
            }
            self.get("/health").ok().filter(|response| response.status == 200)
        });
    }

    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.log.path()).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn log_size(&self) -> u64 {
        self.log.path().metadata().unwrap().len()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        eventually("exit", || self.child.try_wait().unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<Response> {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> io::Result<Response> {
        self.send("POST", path, &[], &body.to_string())
    }

    /// A completion that must succeed, as JSON.
    pub(crate) fn complete(&self, body: &Value) -> Value {
        let response = self.post("/v1/completions", body).unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Response> {
        let mut stream = self.open(method, path, headers, body)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Response::parse(&bytes)
    }

    /// Sends a request, and returns the connection with the answer unread.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        Ok(stream)
    }

    /// Value of the first sample whose line begins with `name` and contains `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let page = self.get("/metrics").unwrap().text();
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
        let line = line.unwrap_or_else(|| panic!("no {name} {label}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The chunks of a chunked body, as framed.
    pub chunks: Vec<Vec<u8>>,
    /// Whether the body ended where it said it would.
    pub complete: bool,
}

impl Response {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let split = split.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
        let raw = &bytes[split + 4..];
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut response = Self {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            chunks: Vec::new(),
            body: raw.to_vec(),
            complete: true,
            head,
        };
        if response.head.contains("transfer-encoding: chunked") {
            response.take_chunks(raw);
        }
        Ok(response)
    }

    fn take_chunks(&mut self, mut raw: &[u8]) {
        self.complete = false;
        while let Some(end) = raw.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&raw[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                self.complete = true;
                break;
            }
            let Some(chunk) = raw.get(end + 2..end + 2 + size) else {
                break;
            };
            self.chunks.push(chunk.to_vec());
            raw = raw.get(end + 4 + size..).unwrap_or_default();
        }
        self.body = self.chunks.concat();
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Data of the server-sent events, in order, without broken JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text().replace("\r\n", "\n");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| match data {
            "[DONE]" => Some(Value::from("[DONE]")),
            json => serde_json::from_str(json).ok(),
        })
        .collect()
    }

    /// Text of all token events of a completion stream.
    pub(crate) fn streamed_text(&self) -> String {
        let events = self.events();
        let texts = events.iter().filter_map(|event| event["choices"][0]["text"].as_str());
        texts.collect()
    }
}

/// Text of the first choice of a whole completion.
pub(crate) fn text_of(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

/// A deterministic completion of `tokens` tokens.
pub(crate) fn greedy(prompt: &str, tokens: u32) -> Value {
    json!({"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true})
}

/// The same, streamed with usage.
pub(crate) fn streamed(prompt: &str, tokens: u32) -> Value {
    let mut body = greedy(prompt, tokens);
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    body
}
