//! A headless Chromium that is told what to do over its debugging pipe.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// One page of a browser of its own.
pub(crate) struct Chromium {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    session: Option<String>,
    calls: u32,
    /// What the page complained about.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// `None` where no Chromium is on the PATH, which the output says.
    pub(crate) fn open(width: u32, dark: bool) -> Option<Chromium> {
        let Ok(browser) = which::which("chromium") else {
            eprintln!("SKIPPED: no `chromium` on PATH, the live page was not opened");
            return None;
        };
        let profile = tempfile::tempdir().expect("tempdir");
        let pipes = ["commands", "answers"].map(|name| profile.path().join(name));
        pipes.iter().for_each(|pipe| mkfifo(pipe, Mode::S_IRWXU).expect("a pipe"));
        // The pipe is descriptors 3 and 4, which a shell can open for it.
        let process = Command::new("sh")
            .args(["-c", "commands=$1 answers=$2; shift 2; exec \"$@\" 3<\"$commands\" 4>\"$answers\"", "sh"])
            .args(&pipes)
            .arg(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let commands = File::options().write(true).open(&pipes[0]).expect("the browser listens");
        let answers = BufReader::new(File::open(&pipes[1]).expect("the browser answers"));
        let mut page =
            Chromium { process, commands, answers, session: None, calls: 0, complaints: Vec::new(), _profile: profile };
        page.attach(width, dark);
        Some(page)
    }

    fn attach(&mut self, width: u32, dark: bool) {
        let targets = self.call("Target.getTargets", json!({}))["targetInfos"].clone();
        let page = targets.as_array().expect("targets").iter().find(|t| t["type"] == "page").expect("a page");
        let attached = self.call("Target.attachToTarget", json!({ "targetId": page["targetId"], "flatten": true }));
        self.session = attached["sessionId"].as_str().map(str::to_string);
        ["Page.enable", "Runtime.enable", "Log.enable"].iter().for_each(|domain| {
            self.call(domain, json!({}));
        });
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(format!("{call}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut bytes = Vec::new();
            let read = self.answers.read_until(0, &mut bytes).expect("the browser answers");
            assert!(read > 0, "the browser has ended");
            let answer: Value = serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes)).expect("JSON");
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            let is_complaint = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
            // A favicon is asked for by the browser, and there is none.
            if is_complaint.iter().any(|m| answer["method"] == *m) && !answer.to_string().contains("favicon") {
                self.complaints.push(answer["params"].to_string());
            }
        }
    }

    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// What an expression is worth in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        // What isn't there yet, isn't true yet.
        let tried = format!("(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()");
        kit::eventually(expression, || (self.value(&tried) == true).then_some(()));
    }

    /// What the page and its policy complained about so far.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.value("1");
        std::mem::take(&mut self.complaints)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
