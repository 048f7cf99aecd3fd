//! Tells `topobench --version` which commit and which features it is built from. Asks only the checkout it stands in:
//! never the network, and never a repository that merely surrounds an unpacked tarball.

use std::path::Path;
use std::process::Command;

/// What a new build would have to tell differently.
const SOURCES: [&str; 6] = ["build.rs", "Cargo.toml", "Cargo.lock", "src", "proxy/src", "topologies"];

fn main() {
    println!("cargo::rerun-if-env-changed=TOPOBENCH_COMMIT");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // Debug builds don't name their commit: each commit would rebuild the library, and the tests with it.
    let commit = if release { given().or_else(checked_out).or_else(packaged) } else { Some("debug build".to_string()) };
    if !release {
        println!("cargo::rerun-if-changed=build.rs");
    }
    println!("cargo::rustc-env=TOPOBENCH_BUILD={}", commit.unwrap_or_else(|| "unknown commit".to_string()));
    println!("cargo::rustc-env=TOPOBENCH_FEATURES={}", features());
}

/// Packagers who build without a checkout name the commit themselves.
fn given() -> Option<String> {
    std::env::var("TOPOBENCH_COMMIT").ok().filter(|commit| !commit.trim().is_empty())
}

/// Commit and date of this checkout, and whether the sources differ from it.
fn checked_out() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    for name in ["HEAD", "packed-refs", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["show", "--no-patch", "--format=%h %cs", "--abbrev=9", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(SOURCES);
    let modified = git(&status).is_some_and(|changes| !changes.is_empty());
    Some(if modified { format!("{commit}, modified") } else { commit })
}

/// `cargo package` notes the commit in the tarball.
fn packaged() -> Option<String> {
    println!("cargo::rerun-if-changed=build.rs");
    let note = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let hash = note.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
    hash.get(..9).map(str::to_string)
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

/// Names of the optional features that are on.
fn features() -> String {
    let mut names: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .filter(|name| name != "default")
        .collect();
    names.sort();
    if names.is_empty() { "none".to_string() } else { names.join(" ") }
}
