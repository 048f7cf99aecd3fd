//! A client of the page that does as a test says, and runs for it to be about.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// A curated run: of vLLM on two H100s.
pub(crate) fn curated(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results/curated/h100x2-qwen3-8b").join(name)
}

/// An address as it is printed, in parts: `127.0.0.1:4000` and `/token/`.
pub(crate) fn parts(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").expect("a plain URL");
    let (host, path) = rest.split_once('/').expect("a path");
    (host.to_string(), format!("/{path}"))
}

/// What came back of one request: status, headers, and what follows them.
pub(crate) struct Answered {
    pub status: u16,
    pub head: String,
    body: BufReader<TcpStream>,
}

/// Sends the head of a request as it is given.
pub(crate) fn ask(address: &str, head: &str) -> Answered {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(kit::PATIENCE)).expect("a timeout");
    stream.write_all(head.as_bytes()).expect("writes");
    let mut body = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(body.read_line(&mut head).expect("a head") > 0, "the connection ended in the head: {head:?}");
    }
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answered { status, head: head.to_lowercase(), body }
}

/// A browser's request for a path of the page.
pub(crate) fn get(url: &str, path: &str) -> Answered {
    let (host, _) = parts(url);
    ask(&host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

impl Answered {
    pub(crate) fn text(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).expect("UTF-8");
        text
    }
}

/// The events of a page.
pub(crate) struct Events {
    answer: Answered,
    text: String,
}

impl Events {
    pub(crate) fn open(url: &str) -> Events {
        let answer = get(url, &format!("{}events", parts(url).1));
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert!(answer.head.contains("content-type: text/event-stream"), "{}", answer.head);
        Events { answer, text: String::new() }
    }

    /// Its name and data; `None` where there are no more.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_string(), rest.to_string());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_string));
                // What has no name is a heartbeat.
                let Some(name) = field("event: ") else { continue };
                let data = field("data: ").expect("data");
                return Some((name, serde_json::from_str(&data).expect("JSON")));
            }
            let more = self.chunk()?;
            self.text += &more;
        }
    }

    /// Waits for an event whose data is as wanted.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (_, data) = self.next().unwrap_or_else(|| panic!("the events ended before {what}"));
            if wanted(&data) {
                return data;
            }
        }
    }

    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.answer.body.read_line(&mut size).expect("a chunk's size");
        let size = usize::from_str_radix(size.trim(), 16).ok().filter(|n| *n > 0)?;
        let mut bytes = vec![0; size + 2];
        self.answer.body.read_exact(&mut bytes).expect("a whole chunk");
        bytes.truncate(size);
        Some(String::from_utf8(bytes).expect("UTF-8"))
    }
}

/// A copy of a curated run, to be changed.
pub(crate) fn copied(name: &str, to: &Path) -> PathBuf {
    let target = to.join(name);
    std::fs::create_dir_all(target.join("logs")).expect("made");
    for file in std::fs::read_dir(curated(name)).expect("readable").flatten().filter(|f| f.path().is_file()) {
        std::fs::copy(file.path(), target.join(file.file_name())).expect("copied");
    }
    target
}

/// What no page may run or show as anything but text.
pub(crate) const HOSTILE: &str =
    "</script><script>document.title='broken'</script><img src=x onerror=document.title='broken'>";

/// A run whose names and log say [`HOSTILE`].
pub(crate) fn hostile(to: &Path) -> PathBuf {
    let run = copied("nixl_20261122_001955", to);
    let path = run.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).expect("a manifest")).expect("JSON");
    manifest["arm"]["name"] = HOSTILE.into();
    manifest["arm"]["label"] = HOSTILE.into();
    manifest["sweep"]["model"] = HOSTILE.replace('/', "|").into();
    manifest["sweep"]["metadata"] = serde_json::json!({ HOSTILE: HOSTILE });
    manifest["instances"][0]["engine_version"] = HOSTILE.into();
    std::fs::write(&path, manifest.to_string()).expect("written");
    std::fs::write(run.join("logs/decode-0.log"), format!("INFO up\n\u{1b}[31m{HOSTILE}\u{1b}[0m\n")).expect("written");
    run
}
