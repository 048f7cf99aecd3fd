//! Files that a killed engine leaves behind: shared memory, semaphores, sockets.
//!
//! Other engines of the same user make files with the same names, so neither a name nor an age proves anything. What
//! counts is the inventory: files that a process of *our* tree was seen to map, hold open or listen on while it lived.
//! They are removed once the tree is gone, if this user owns them and nobody else holds them. `/tmp/vllm_dist_*` files,
//! open for moments only, are seen rarely and left alone otherwise.
//!
//! The guardian looks and removes: it is there even when topobench is not.

use procfs::process::{FDTarget, MMapPath, Process};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files of a tree of processes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    files: BTreeSet<PathBuf>,
}

impl Inventory {
    /// What these processes use now.
    pub(super) fn of(pids: &[i32]) -> Self {
        let mut files = BTreeSet::new();
        let mut sockets = HashSet::new();
        for process in pids.iter().filter_map(|&pid| Process::new(pid).ok()) {
            look_into(&process, &mut files, &mut sockets);
        }
        if !sockets.is_empty() {
            let bound = procfs::net::unix().into_iter().flatten().filter(|socket| sockets.contains(&socket.inode));
            files.extend(bound.filter_map(|socket| socket.path));
        }
        files.retain(|file| is_engine_file(file));
        Inventory { files }
    }

    pub(super) fn add(&mut self, other: Inventory) {
        self.files.extend(other.files);
    }

    /// Removes what is still there and used by nobody; to be called when the tree is gone.
    pub(super) fn remove(&self) -> Vec<PathBuf> {
        let there: BTreeSet<&PathBuf> = self.files.iter().filter(|file| is_mine(file)).collect();
        if there.is_empty() {
            return Vec::new();
        }
        let in_use = Inventory::of(&every_pid()).files;
        let removable = there.into_iter().filter(|file| !in_use.contains(*file));
        removable.filter(|file| fs::remove_file(file).is_ok()).cloned().collect()
    }
}

fn every_pid() -> Vec<i32> {
    procfs::process::all_processes().into_iter().flatten().flatten().map(|process| process.pid).collect()
}

fn look_into(process: &Process, files: &mut BTreeSet<PathBuf>, sockets: &mut HashSet<u64>) {
    files.extend(process.maps().into_iter().flatten().filter_map(|map| match map.pathname {
        MMapPath::Path(path) => Some(path),
        _ => None,
    }));
    for fd in process.fd().into_iter().flatten().flatten() {
        match fd.target {
            FDTarget::Path(path) => drop(files.insert(path)),
            FDTarget::Socket(inode) => drop(sockets.insert(inode)),
            _ => {}
        }
    }
}

/// Names that Python's multiprocessing, ZeroMQ as vLLM uses it, and torch's file store give.
fn is_engine_file(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    match path.parent() {
        Some(dir) if dir == Path::new("/dev/shm") => name.starts_with("psm_") || name.starts_with("sem.mp-"),
        Some(dir) if dir == std::env::temp_dir() || dir == Path::new("/tmp") => {
            is_uuid(name) || name.starts_with("vllm_dist_")
        }
        _ => false,
    }
}

fn is_uuid(name: &str) -> bool {
    let groups: Vec<&str> = name.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_mine(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.uid() == nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared_memory(name: &str) -> (PathBuf, fs::File) {
        let path = PathBuf::from(format!("/dev/shm/psm_{name}_{}", std::process::id()));
        let file = fs::File::create(&path).expect("creates");
        (path, file)
    }

    #[test]
    fn only_names_that_engines_give_are_ever_touched() {
        for file in [
            "/dev/shm/psm_1a2b3c4d",
            "/dev/shm/sem.mp-x1y2",
            "/tmp/38f2b8b3-bd45-462a-8e80-97ee6c772742",
            "/tmp/vllm_dist_38f2",
        ] {
            assert!(is_engine_file(Path::new(file)), "{file}");
        }
        for file in ["/home/u/psm_1", "/dev/shm/other", "/tmp/notes", "/tmp/38f2b8b3-bd45-462a-8e80-97ee6c77274g", "/"]
        {
            assert!(!is_engine_file(Path::new(file)), "{file}");
        }
    }

    #[test]
    fn what_was_seen_is_removed_once_nobody_uses_it() {
        let (path, file) = shared_memory("seen");
        let inventory = Inventory::of(&[std::process::id().cast_signed()]);
        assert!(inventory.files.contains(&path));
        assert!(!inventory.remove().contains(&path), "still open here");
        drop(file);
        assert!(inventory.remove().contains(&path));
        assert!(!path.exists());
    }

    #[test]
    fn what_nobody_saw_in_our_tree_stays() {
        let (path, file) = shared_memory("unseen");
        drop(file);
        let inventory = Inventory::of(&[std::process::id().cast_signed()]);
        inventory.remove();
        assert!(path.exists());
        fs::remove_file(&path).expect("removes");
    }
}
