//! A program under another of its names.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A link to `program` called `name` in `dir`, for a program that looks at its `argv[0]`. Made once; tests may ask for it
/// at the same time.
pub fn alias(program: &str, name: &str, dir: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let link = Path::new(dir).join(name);
    if std::fs::read_link(&link).is_ok_and(|target| target.as_os_str() == program) {
        return link;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = Path::new(dir).join(format!(".{name}-{}-{count}", std::process::id()));
    std::os::unix::fs::symlink(program, &aside).expect("links");
    std::fs::rename(&aside, &link).expect("renames");
    link
}
