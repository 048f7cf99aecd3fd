//! Imports point one way, as ARCHITECTURE.md says; this test makes sure of it.

use std::path::{Path, PathBuf};

/// What each room may import of ours. `units`, `words` and `outcome` are for everyone.
const ALLOWED: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("words", &[]),
    ("tls", &["files"]),
    ("outcome", &[]),
    ("files", &[]),
    ("plan", &["files"]),
    ("launch", &["plan", "observe"]),
    ("drive", &["plan", "tls", "files"]),
    ("observe", &["plan", "tls"]),
    ("analyse", &["plan"]),
    ("record", &["plan", "analyse", "files"]),
    ("predict", &["plan"]),
    ("draw", &[]),
    ("report", &["analyse", "draw", "record", "plan", "files"]),
    ("strategy", &["plan", "analyse"]),
    ("session", &["tls", "strategy", "launch", "drive", "observe", "record", "plan", "analyse"]),
    ("live", &["session", "report", "record", "analyse", "plan"]),
    (
        "cli",
        &[
            "live", "session", "predict", "strategy", "report", "record", "plan", "launch", "observe", "analyse",
            "drive", "tls", "files",
        ],
    ),
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

/// A file of the library as others see it.
struct Module {
    /// `plan/build/load`, `plan` for `plan/mod.rs`.
    name: String,
    text: String,
}

/// Without tests, which may use what they like.
fn modules() -> Vec<Module> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut modules = Vec::new();
    for file in files {
        let name = file.strip_prefix(&src).expect("below src").with_extension("").display().to_string();
        if name.split('/').any(|part| part == "tests") || ["lib", "main"].contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        if text.starts_with("#![cfg(test)]") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        modules.push(Module { name: name.trim_end_matches("/mod").to_string(), text: code });
    }
    modules
}

/// `{a::b, c}` after a prefix: every path in full.
fn expanded(prefix: &str, group: &str, out: &mut Vec<String>) {
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let path = group[start..at].trim();
                start = (at + 1).min(group.len());
                match path.split_once('{') {
                    Some((head, rest)) => {
                        expanded(&format!("{prefix}{head}"), rest.trim_end().trim_end_matches('}'), out);
                    }
                    None if path.is_empty() => {}
                    None => out.push(format!("{prefix}{path}")),
                }
            }
            _ => {}
        }
    }
}

/// Every path that a file names: those it imports for itself, and those in its code. What it passes on is not used.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = String::new();
    for statement in text.split_inclusive(';') {
        let line = statement.trim_start();
        match line.strip_prefix("use ") {
            Some(path) => expanded("", path.trim_end_matches(';'), &mut found),
            None if line.starts_with("pub") && line.contains(" use ") && !line.contains("fn ") => {}
            None => code.push_str(statement),
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    found.extend(code.split(|c| !is_path(c)).filter(|word| word.contains("::")).map(str::to_string));
    found
}

/// The file that a path of `from` leads to, where it leads to one of ours.
fn target<'a>(from: &str, path: &str, modules: &'a [Module]) -> Option<&'a Module> {
    let find = |name: &str| modules.iter().find(|m| m.name == name);
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut base: Vec<&str> = from.split('/').collect();
    match parts[0] {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while parts.first() == Some(&"super") {
                base.pop();
                parts.remove(0);
            }
            parts.insert(0, "super");
        }
        // A child, named as it is.
        child if find(&format!("{from}/{child}")).is_some() => parts.insert(0, "self"),
        _ => return None,
    }
    parts.remove(0);
    let mut at = base.join("/");
    let mut found = find(&at);
    let mut item = None;
    for part in parts {
        let next = if at.is_empty() { part.to_string() } else { format!("{at}/{part}") };
        match find(&next) {
            Some(module) => (found, at) = (Some(module), next),
            None => {
                item = Some(part);
                break;
            }
        }
    }
    let (found, item) = (found?, item?);
    // What a file only passes on is used from where it is declared.
    let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "macro_rules!"];
    kinds.iter().any(|kind| found.text.contains(&format!("{kind} {item}"))).then_some(found)
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let modules = modules();
    let room = |name: &str| name.split('/').next().unwrap_or_default().to_string();
    let uses = |module: &Module| {
        let targets = paths(&module.text).into_iter().filter_map(|path| target(&module.name, &path, &modules));
        let here = room(&module.name);
        targets.map(|m| m.name.clone()).filter(|n| *n != module.name && room(n) == here).collect::<Vec<_>>()
    };
    let edges: std::collections::BTreeMap<String, Vec<String>> =
        modules.iter().map(|m| (m.name.clone(), uses(m))).collect();
    assert!(edges.values().map(Vec::len).sum::<usize>() > 100, "the uses were found");
    let reaches_itself = |name: &&String| {
        let mut open = edges[*name].clone();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(next) = open.pop() {
            if next == **name {
                return true;
            }
            if seen.insert(next.clone()) {
                open.extend(edges[&next].iter().cloned());
            }
        }
        false
    };
    let circles: Vec<&String> = edges.keys().filter(reaches_itself).collect();
    assert!(circles.is_empty(), "files that use each other in a circle:\n{circles:#?}");
}

#[test]
fn no_two_types_share_a_name() {
    let mut declared: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    // The simulated engine is a program of its own, with its own words.
    for module in modules().iter().filter(|m| !m.name.starts_with("enginesim")) {
        for line in module.text.lines() {
            let line =
                line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or(rest, |(_, item)| item));
            let kinds = ["struct ", "enum ", "trait ", "type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            declared.entry(name).or_default().push(module.name.clone());
        }
    }
    assert!(declared.len() > 300, "the types were found");
    let shared: Vec<_> = declared.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(shared.is_empty(), "names of more than one type:\n{shared:#?}");
}
