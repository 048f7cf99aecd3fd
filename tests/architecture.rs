//! Imports point one way, as ARCHITECTURE.md says; this test makes sure of it.

use std::path::{Path, PathBuf};

/// What each room may import of ours. `units`, `words` and `outcome` are for everyone.
const ALLOWED: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("words", &[]),
    ("tls", &[]),
    ("outcome", &[]),
    ("files", &[]),
    ("plan", &["files"]),
    ("launch", &["plan", "observe"]),
    ("drive", &["plan", "tls"]),
    ("observe", &["plan", "tls"]),
    ("analyse", &["plan"]),
    ("record", &["plan", "analyse", "files"]),
    ("predict", &["plan"]),
    ("draw", &[]),
    ("report", &["analyse", "draw", "record", "plan"]),
    ("strategy", &["plan", "analyse"]),
    ("session", &["tls", "strategy", "launch", "drive", "observe", "record", "plan"]),
    ("cli", &["session", "predict", "strategy", "report", "record", "plan", "launch", "observe", "analyse", "drive"]),
    ("main", &["cli", "launch"]),
];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Rooms named by `crate::<room>` (in `use` or in place).
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group
                .split('}')
                .next()
                .unwrap_or("")
                .split(',')
                .map(|n| n.trim().split("::").next().unwrap_or(""))
                .collect(),
            None => vec![rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")],
        };
        found.extend(names.into_iter().filter(|n| !n.is_empty()).map(str::to_string));
    }
    found
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 30, "the sources were found");
    let mut wrong = Vec::new();
    for file in files.iter().filter(|f| !f.starts_with(src.join("enginesim"))) {
        let relative = file.strip_prefix(&src).expect("below src");
        let room = relative.components().next().and_then(|c| c.as_os_str().to_str()).unwrap_or_default();
        let room = room.trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: room `{room}` is not on the map", relative.display()));
            continue;
        };
        let text = std::fs::read_to_string(file).expect("readable");
        for import in imports(&text) {
            let known = ALLOWED.iter().any(|(name, _)| *name == import);
            if known
                && import != room
                && !["units", "words", "outcome"].contains(&import.as_str())
                && !allowed.contains(&import.as_str())
            {
                wrong.push(format!("{}: imports {import}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the direction:\n{}", wrong.join("\n"));
}

#[test]
fn the_proxy_knows_nothing_of_topobench_and_the_simulated_engine_only_the_model_of_an_engine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (room, allowed) in [("proxy/src", None), ("src/enginesim", Some("topobench::predict::model::"))] {
        let mut files = Vec::new();
        sources(&root.join(room), &mut files);
        assert!(!files.is_empty(), "{room} was found");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("readable");
            let used = text.match_indices("topobench::").map(|(at, _)| &text[at..]);
            let wrong = used.filter(|text| allowed.is_none_or(|allowed| !text.starts_with(allowed)));
            let wrong: Vec<_> = wrong.filter_map(|text| text.lines().next()).collect();
            assert!(wrong.is_empty(), "{} imports {wrong:?}", file.display());
        }
    }
}
