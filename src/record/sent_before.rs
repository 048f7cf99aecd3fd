//! Which prompts a server that somebody else runs has seen already, from earlier runs: its prefix cache may still hold
//! them, and latencies measured on it are not those of fresh prompts.
//!
//! A server is known again by its address and by when its process started; one that doesn't tell the latter, by its
//! address alone.

use super::dir;
use super::manifest::{InstanceRecord, Manifest};
use super::run::stamp_position;
use crate::files;
use crate::plan::workload::TraceLine;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Two scrapes of one process tell the same second.
const SAME_START_SECS: f64 = 1.0;

/// Prompts that earlier runs sent to servers that still live.
#[derive(Debug, Default)]
pub struct SentBefore {
    runs: Vec<Earlier>,
    /// Which of the runs sent it last.
    prompts: HashMap<PromptHash, u16>,
}

/// The first half of the trace's hash of a prompt: eight bytes tell a million prompts apart.
type PromptHash = u64;

#[derive(Debug)]
struct Earlier {
    name: String,
    /// Whether the server's process is known to be the same.
    certain: bool,
}

/// How many prompts of a point had been sent before.
#[derive(Debug, Default)]
pub struct Repeats {
    of: u32,
    /// By run.
    counts: Vec<u32>,
}

impl SentBefore {
    /// Looks through the runs below `root` other than `own`. What can't be read is passed over: it is a warning's
    /// business, not a run's.
    pub fn to(instances: &[InstanceRecord], root: &Path, own: &Path) -> SentBefore {
        let mut found = SentBefore::default();
        for run in runs(root).into_iter().filter(|run| run != own) {
            let Ok(manifest) = Manifest::read(&run) else { continue };
            let Some(certain) = same_server(instances, &manifest.instances) else { continue };
            let Ok(number) = u16::try_from(found.runs.len()) else { break };
            let name = run.strip_prefix(root).unwrap_or(&run).display().to_string();
            found.runs.push(Earlier { name, certain });
            found.add_trace(&run.join(dir::TRACE), number);
        }
        found
    }

    fn add_trace(&mut self, trace: &Path, run: u16) {
        let Ok(file) = files::open_raw(trace) else { return };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let parsed = lines.filter_map(|line| serde_json::from_str::<TraceLine>(&line).ok());
        self.prompts.extend(parsed.filter_map(|line| Some((hash(&line)?, run))));
    }

    /// Counts a line of a point that is about to be sent.
    pub fn count(&self, line: &TraceLine, repeats: &mut Repeats) {
        repeats.of += 1;
        repeats.counts.resize(self.runs.len(), 0);
        if let Some(run) = hash(line).and_then(|hash| self.prompts.get(&hash)) {
            repeats.counts[usize::from(*run)] += 1;
        }
    }

    /// What there is to warn of, with the seed that was used.
    pub fn warning(&self, repeats: &Repeats, offered: &str, seed: u64) -> Option<String> {
        let total: u32 = repeats.counts.iter().sum();
        let (most, _) = repeats.counts.iter().enumerate().max_by_key(|(_, n)| **n)?;
        let Earlier { name, certain } = &self.runs[most];
        let unless = if *certain { "" } else { ", unless it was restarted since (it doesn't tell when it started)" };
        (total > 0).then(|| {
            format!(
                "{total} of the {} prompts at {offered} were already sent to this server by run {name}{unless}: its \
                 prefix cache may answer instead of the model; use another --seed, e.g. --seed {}, or restart it",
                repeats.of,
                seed.wrapping_add(1)
            )
        })
    }
}

fn hash(line: &TraceLine) -> Option<PromptHash> {
    u64::from_str_radix(line.prompt_sha256.get(..16)?, 16).ok()
}

/// Run directories below `root`, oldest first.
fn runs(root: &Path) -> Vec<PathBuf> {
    let below = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut runs: Vec<PathBuf> = below(root).flat_map(|group| below(&group).collect::<Vec<_>>()).collect();
    let stamp = |run: &PathBuf| {
        let name = run.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        stamp_position(&name).map(|at| name[at..].to_string()).unwrap_or_default()
    };
    runs.sort_by_cached_key(stamp);
    runs
}

/// Whether one of ours is one of theirs; inside, whether that is certain.
fn same_server(ours: &[InstanceRecord], theirs: &[InstanceRecord]) -> Option<bool> {
    let same = |a: &InstanceRecord, b: &InstanceRecord| {
        let address = |url: &str| url.trim_end_matches('/').to_string();
        match (a.process_started, b.process_started) {
            _ if address(&a.url) != address(&b.url) => None,
            (Some(x), Some(y)) => ((x - y).abs() <= SAME_START_SECS).then_some(true),
            // It told then and doesn't now, or the other way round: another program.
            (Some(_), None) | (None, Some(_)) => None,
            (None, None) => Some(false),
        }
    };
    // What only counters were read of got its requests from a front.
    let asked = |all: &&InstanceRecord| !all.watched;
    ours.iter().filter(asked).flat_map(|a| theirs.iter().filter(asked).filter_map(move |b| same(a, b))).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, started: Option<f64>) -> InstanceRecord {
        InstanceRecord { url: url.to_string(), process_started: started, ..InstanceRecord::default() }
    }

    #[test]
    fn a_server_is_known_by_its_address_and_its_start() {
        let of = |a: InstanceRecord, b: InstanceRecord| same_server(&[a], &[b]);
        let (here, there) = ("http://a:8000", "http://b:8000");
        assert_eq!(of(server(here, Some(5.0)), server("http://a:8000/", Some(5.2))), Some(true));
        assert_eq!(of(server(here, Some(5.0)), server(here, Some(99.0))), None, "restarted");
        assert_eq!(of(server(here, Some(5.0)), server(there, Some(5.0))), None, "another one");
        assert_eq!(of(server(here, None), server(here, None)), Some(false), "nobody knows");
        assert_eq!(of(server(here, Some(5.0)), server(here, None)), None);
    }
}
