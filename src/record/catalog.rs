//! History: which runs there are below a results directory, and which one a name means.

use super::dir;
use super::error::RecordError;
use super::import::{self, ImportedFacts};
use super::manifest::Manifest;
use super::run::{mode_of_name, stamp_position};
use crate::outcome::RunStatus;
use crate::plan::topology::{Shape, Topology};
use chrono::{DateTime, Local, NaiveDateTime, TimeZone};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One line of history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CatalogEntry {
    /// Local time, from the directory's stamp, else its modification time.
    pub when: DateTime<Local>,
    pub path: PathBuf,
    /// `<dataset>/<run>`, as it is shown.
    pub name: String,
    pub dataset: String,
    pub mode: String,
    /// `None` for others' files.
    pub status: Option<RunStatus>,
    /// Result files in vLLM's format.
    pub files: usize,
    /// Figures, each counted once whatever its formats.
    pub plots: usize,
    pub bytes: u64,
    pub config: Config,
}

/// What `Config:` shows; parts that are not known stay out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Config {
    pub prefill: Option<u32>,
    pub decode: Option<u32>,
    pub replicas: Option<u32>,
    /// `2`, or `2x1` for prefill x decode.
    pub tp: Option<String>,
    /// Likewise; `None` without data parallelism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp: Option<String>,
    pub model: Option<String>,
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.prefill.map(|n| format!("PF:{n}")),
            self.decode.map(|n| format!("D:{n}")),
            self.replicas.filter(|&n| n != 1).map(|n| format!("R:{n}")),
            self.tp.as_ref().map(|tp| format!("TP:{tp}")),
            self.dp.as_ref().map(|dp| format!("DP:{dp}")),
            self.model.as_ref().map(|m| format!("Model:{}", m.trim_end_matches('/').rsplit('/').next().unwrap_or(m))),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Config {
    fn of_topology(topology: &Topology) -> Config {
        match &topology.shape {
            Shape::Simple { group } => Config {
                replicas: Some(group.replicas),
                tp: Some(group.tensor_parallel.to_string()),
                dp: (group.data_parallel > 1).then(|| group.data_parallel.to_string()),
                ..Config::default()
            },
            Shape::PrefillDecode { prefill, decode, .. } => Config {
                prefill: Some(prefill.replicas),
                decode: Some(decode.replicas),
                tp: Some(format!("{}x{}", prefill.tensor_parallel, decode.tensor_parallel)),
                dp: (prefill.data_parallel.max(decode.data_parallel) > 1)
                    .then(|| format!("{}x{}", prefill.data_parallel, decode.data_parallel)),
                ..Config::default()
            },
        }
    }

    fn of_files(facts: ImportedFacts) -> Config {
        let pair = facts.prefill_tp.zip(facts.decode_tp);
        Config {
            prefill: facts.prefill.filter(|&n| n > 0),
            decode: facts.decode.filter(|&n| n > 0),
            replicas: None,
            tp: pair.map(|(p, d)| format!("{p}x{d}")).or(facts.tensor_parallel.map(|n| n.to_string())),
            dp: None,
            model: facts.model,
        }
    }
}

/// Every run below `root`, newest first. A missing root is an empty history.
pub fn list(root: &Path) -> Result<Vec<CatalogEntry>, RecordError> {
    let mut entries = Vec::new();
    let groups = match std::fs::read_dir(root) {
        Ok(groups) => groups,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(entries),
        Err(e) => return Err(RecordError::read(root)(e)),
    };
    for group in groups.flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
        let group_name = file_name(&group);
        if group_name == dir::COMPARISONS {
            continue;
        }
        if let Some(entry) = entry(&group, "") {
            entries.push(entry);
            continue;
        }
        let runs = std::fs::read_dir(&group).map_err(RecordError::read(&group))?;
        entries
            .extend(runs.flatten().map(|e| e.path()).filter(|p| p.is_dir()).filter_map(|run| entry(&run, &group_name)));
    }
    entries.sort_by(|a, b| b.when.cmp(&a.when).then_with(|| b.name.cmp(&a.name)));
    Ok(entries)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `None` where the directory is no run.
fn entry(run: &Path, group: &str) -> Option<CatalogEntry> {
    let files = import::files_in(run).unwrap_or_default();
    let manifest = Manifest::read(run).ok();
    if manifest.is_none() && files.is_empty() {
        return None;
    }
    let run_name = file_name(run);
    let told = || files.iter().find_map(|file| import::facts_of(file));
    let imported = if manifest.is_none() { Some(told()?) } else { None };
    let config = match (&manifest, imported) {
        (Some(m), _) => Config {
            model: Some(m.sweep.model.clone()),
            ..m.arm.topology.as_ref().map(Config::of_topology).unwrap_or_default()
        },
        (None, Some(facts)) => Config::of_files(facts),
        (None, None) => Config::default(),
    };
    Some(CatalogEntry {
        when: when(run, &run_name)?,
        name: if group.is_empty() { run_name.clone() } else { format!("{group}/{run_name}") },
        dataset: manifest.as_ref().map_or_else(|| group.to_string(), |m| m.sweep.workload.dataset.name().to_string()),
        mode: manifest.as_ref().map_or_else(|| mode_of_name(run), |m| m.arm.name.clone()),
        status: manifest.map(|m| m.status),
        plots: plots(run),
        bytes: size(run),
        path: run.to_path_buf(),
        files: files.len(),
        config,
    })
}

fn plots(run: &Path) -> usize {
    let figures = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        entries
            .filter(|p| p.extension().is_some_and(|e| ["svg", "pdf", "png"].iter().any(|f| e == *f)))
            .filter_map(|p| p.file_stem().map(|s| s.to_os_string()))
            .collect::<std::collections::BTreeSet<_>>()
    };
    // The seed put its figures beside the files.
    figures(&run.join(dir::PLOTS)).union(&figures(run)).count()
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => size(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

fn when(run: &Path, name: &str) -> Option<DateTime<Local>> {
    let stamped = stamp_position(name)
        .and_then(|at| NaiveDateTime::parse_from_str(&name[at..at + 15], dir::STAMP).ok())
        .and_then(|t| Local.from_local_datetime(&t).earliest());
    stamped.or_else(|| Some(std::fs::metadata(run).ok()?.modified().ok()?.into()))
}

/// The directory that RUN means: a path, a unique prefix of a run's name, or `latest`.
pub fn resolve(root: &Path, what: &str) -> Result<PathBuf, RecordError> {
    let path = PathBuf::from(what);
    if path.is_dir() {
        return Ok(path);
    }
    let entries = list(root)?;
    let not_found = || RecordError::NotFound { what: format!("`{what}`"), root: root.to_path_buf() };
    if what == "latest" {
        return entries.first().map(|e| e.path.clone()).ok_or_else(not_found);
    }
    let exact = entries.iter().find(|e| e.name == what || file_name(&e.path) == what);
    let matching: Vec<_> =
        entries.iter().filter(|e| e.name.starts_with(what) || file_name(&e.path).starts_with(what)).collect();
    match (exact, matching.as_slice()) {
        (Some(one), _) => Ok(one.path.clone()),
        (None, []) => Err(not_found()),
        (None, [one]) => Ok(one.path.clone()),
        (None, several) => Err(RecordError::Ambiguous {
            what: what.to_string(),
            candidates: several.iter().map(|e| e.name.as_str()).take(8).collect::<Vec<_>>().join(", "),
        }),
    }
}
