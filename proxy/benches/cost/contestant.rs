//! What stands between the load and the engines: nothing, ours, or somebody else's, each a process alone on its core.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use topobench_proxy::{BackendUrl, Proxy, ProxyConfig, Routes};

use crate::client;
use kit::cores;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Direct,
    /// Through prefill and decode.
    Ours,
    /// One hop, as nginx's.
    OursBalancing,
    Nginx,
    /// vllm-router (PyPI), where `VLLM_ROUTER` names the program.
    Router,
    RouterBalancing,
    /// vLLM's `examples/.../toy_proxy_server.py`, where `VLLM_TOY_PROXY` is the command that starts it.
    Toy,
}

impl Contestant {
    /// Those that can be had here.
    pub(crate) fn all() -> Vec<Contestant> {
        use Contestant::{Direct, Nginx, Ours, OursBalancing, Router, RouterBalancing, Toy};
        let there = |program: &str| Command::new(program).arg("-v").stderr(Stdio::null()).status().is_ok();
        let named = |variable: &str| std::env::var_os(variable).is_some();
        let mut all = vec![Direct, OursBalancing, Ours];
        all.extend(there("nginx").then_some(Nginx));
        all.extend(named("VLLM_ROUTER").then_some([RouterBalancing, Router]).into_iter().flatten());
        all.extend(named("VLLM_TOY_PROXY").then_some(Toy));
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Direct => "direct",
            Contestant::Ours => "topobench P/D",
            Contestant::OursBalancing => "topobench",
            Contestant::Nginx => "nginx",
            Contestant::Router => "vllm-router P/D",
            Contestant::RouterBalancing => "vllm-router",
            Contestant::Toy => "toy proxy P/D",
        }
    }

    pub(crate) fn is_prefill_decode(self) -> bool {
        matches!(self, Contestant::Ours | Contestant::Router | Contestant::Toy)
    }

    fn command(self, engines: [u16; 2], port: u16, scratch: &Path) -> Command {
        let [prefill, decode] = engines.map(|port| format!("http://127.0.0.1:{port}"));
        let port = port.to_string();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut command = Command::new("taskset");
        command.args(["-c", &cores::apart()[1].to_string()]);
        match self {
            Contestant::Direct | Contestant::Ours | Contestant::OursBalancing => {
                command = Command::new(std::env::current_exe().expect("this program has a path"));
                command.args(["proxy", if self == Contestant::Ours { &prefill } else { "-" }, &decode, &port]);
            }
            Contestant::Nginx => {
                let conf = scratch.join("nginx.conf");
                std::fs::write(&conf, nginx_conf(&decode, &port)).expect("a scratch file");
                command.args(["nginx", "-e", "stderr", "-p"]).arg(scratch).arg("-c").arg(conf);
            }
            Contestant::Router | Contestant::RouterBalancing => {
                command.arg(std::env::var("VLLM_ROUTER").unwrap_or_default());
                command.args(["--host", "127.0.0.1", "--port", &port, "--log-level", "error"]);
                command.args(["--policy", "round_robin", "--prometheus-port", &free_port().to_string()]);
                match self {
                    Contestant::Router => {
                        command.args(["--vllm-pd-disaggregation", "--prefill", &prefill, "--decode", &decode])
                    }
                    _ => command.args(["--worker-urls", &decode]),
                };
            }
            Contestant::Toy => {
                let ports = engines.map(|port| port.to_string());
                command.args(words(&std::env::var("VLLM_TOY_PROXY").unwrap_or_default()));
                command.args(["--port", &port, "--prefiller-hosts", "127.0.0.1", "--prefiller-ports", &ports[0]]);
                command.args(["--decoder-hosts", "127.0.0.1", "--decoder-ports", &ports[1]]);
            }
        }
        command
    }

    /// Starts it before these engines (prefill, decode), waits until it passes requests on, and lets it rest.
    pub(crate) fn start(self, engines: [u16; 2], scratch: &Path) -> Front {
        if self == Contestant::Direct {
            return Front { child: None, port: engines[1] };
        }
        let port = free_port();
        let mut child = self
            .command(engines, port, scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} starts: {error}", self.name()));
        let deadline = Instant::now() + Duration::from_secs(60);
        // The toy proxy passes nothing on but completions.
        let (page, word) = if self == Contestant::Toy { ("/healthcheck", "ok") } else { ("/v1/models", "tiny") };
        while !client::get(port, page).is_ok_and(|answer| answer.contains(word)) {
            assert!(child.try_wait().expect("our child").is_none(), "{} ended", self.name());
            assert!(Instant::now() < deadline, "{} never answers", self.name());
            std::thread::sleep(Duration::from_millis(50));
        }
        let front = Front { child: Some(child), port };
        front.signal(Signal::SIGSTOP);
        front
    }
}

fn nginx_conf(backend: &str, port: &str) -> String {
    let server = backend.trim_start_matches("http://");
    format!(
        "worker_processes 1; daemon off; master_process off; pid nginx.pid;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 10000000; client_body_temp_path body; proxy_temp_path temp;\n\
         fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         upstream engine {{ server {server}; keepalive 1024; keepalive_requests 10000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://engine;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; }} }} }}\n"
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("bound").port()
}

/// A contestant that was started, and rests but for its turns: all share one core. Gone when dropped.
pub(crate) struct Front {
    child: Option<Child>,
    pub port: u16,
}

impl Front {
    /// Its turn, until what this gives is dropped.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.signal(Signal::SIGCONT);
        Turn(self)
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill(Pid::from_raw(child.id() as i32), signal).expect("our child");
        }
    }

    /// CPU seconds that it and its descendants have used.
    pub(crate) fn cpu_secs(&self) -> f64 {
        let Some(child) = &self.child else { return 0.0 };
        let mut tree = vec![child.id()];
        let mut secs = 0.0;
        while let Some(pid) = tree.pop() {
            secs += kit::process::cpu_secs(pid.cast_signed()).unwrap_or(0.0);
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            tree.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        secs
    }
}

/// Ends when dropped.
pub(crate) struct Turn<'a>(&'a Front);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGSTOP);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Our proxy as a process of its own: `proxy PREFILL|- DECODE PORT`, until its standard input ends.
pub(crate) fn run_ours(words: &[String]) {
    cores::pin(cores::apart()[1]);
    let url = |text: &str| text.parse::<BackendUrl>().expect("a URL");
    let routes = match words[1].as_str() {
        "-" => Routes::balance(vec![url(&words[2])]),
        prefill => Routes::prefill_decode(vec![url(prefill)], vec![url(&words[2])]),
    };
    let listen = format!("127.0.0.1:{}", words[3]).parse().expect("an address");
    let proxy = Proxy::spawn(ProxyConfig::new(listen, routes)).expect("the proxy starts");
    let (ended, input) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _held = ended;
        BufReader::new(std::io::stdin()).lines().for_each(drop);
    });
    // Stamps are drained as a run drains them.
    while input.recv_timeout(Duration::from_millis(20)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        proxy.drain_stamps();
    }
}
