//! A dependency that no code names makes every build longer: what programs are linked with must be used outside tests, the
//! rest by tests, benches or examples.

use std::path::{Path, PathBuf};

#[test]
fn every_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let members = manifest(root)["workspace"]["members"].as_array().expect("members").clone();
    let members = members.iter().filter_map(toml::Value::as_str).map(|member| root.join(member));
    let unused: Vec<String> = members.flat_map(|member| unused(&member)).collect();
    assert!(unused.is_empty(), "no code uses\n{}", unused.join("\n"));
}

fn manifest(member: &Path) -> toml::Table {
    std::fs::read_to_string(member.join("Cargo.toml")).expect("a manifest").parse().expect("TOML")
}

fn unused(member: &Path) -> Vec<String> {
    let manifest = manifest(member);
    let build = std::fs::read_to_string(member.join("build.rs")).unwrap_or_default();
    let sections = [
        ("dependencies", code(member, &["src"], Tests::LeftOut)),
        ("dev-dependencies", code(member, &["src", "tests", "benches"], Tests::Included)),
        ("build-dependencies", build),
    ];
    let unused = sections.iter().flat_map(|(section, code)| {
        let names = manifest.get(*section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
        let unused = names.filter(|name| !uses(code, &name.replace('-', "_")));
        unused.map(|name| format!("{}, [{section}]: {name}", member.join("Cargo.toml").display())).collect::<Vec<_>>()
    });
    unused.collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Tests {
    Included,
    LeftOut,
}

/// All code of these folders, without comments.
fn code(member: &Path, folders: &[&str], tests: Tests) -> String {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| sources(&member.join(folder), &mut files));
    let mut code = String::new();
    for file in files {
        let place = file.strip_prefix(member).expect("a file of this member");
        let of_tests = place.iter().any(|part| part == "tests" || part == "tests.rs");
        if of_tests && tests == Tests::LeftOut {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source file");
        let shown = match tests {
            Tests::Included => text.as_str(),
            Tests::LeftOut => text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default(),
        };
        for line in shown.lines().filter(|line| !line.trim_start().starts_with("//")) {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The Rust files of a folder, without those of packages in it.
fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.join("Cargo.toml").exists() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Whether `code` has a path into the crate or a macro of it, or imports it whole.
fn uses(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        let leads_on = after.starts_with("::") || after.starts_with('!');
        begins && (leads_on || (before.ends_with("use ") && after.starts_with([';', ' '])))
    })
}

#[test]
fn a_name_in_a_longer_name_is_no_use() {
    for (code, used) in [
        ("use bytes::Bytes;", true),
        ("let x = ::bytes::Bytes::new();", true),
        ("bytes!()", true),
        ("use bytes;", true),
        ("from_bytes::<T>(bytes)", false),
        ("self.bytes::<u8>()", false),
    ] {
        assert_eq!(uses(code, "bytes"), used, "{code}");
    }
}
