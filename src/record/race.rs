//! best.json: what a race was asked, who took part, what became of each, and the answer so far.

use super::dir;
use super::error::RecordError;
use crate::files;
use crate::plan::slo::{Slo, Target};
use chrono::{DateTime, Local};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub const RACES: &str = "best";
pub const RACE: &str = "best.json";
pub const CANDIDATES: &str = "candidates";
const VERSION: u32 = 1;
/// Bytes of a record. A candidate takes a few kilobytes.
const LARGEST: u64 = 256 << 20;

/// Written before anything is started, and again with what is known by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaceRecord {
    pub version: u32,
    pub question: RaceQuestion,
    pub budget: RaceBudget,
    pub candidates: Vec<CandidateRecord>,
    #[serde(default)]
    pub winner: Option<WinnerRecord>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaceQuestion {
    pub gpus: u32,
    pub model: String,
    pub slo: Slo,
    pub target: Target,
    pub engine: String,
    /// Whose model predicted; `None`: nothing did.
    pub preset: Option<String>,
    /// The command line that began the race.
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RaceBudget {
    /// What it was given, seconds with any engine up.
    pub engine_secs: f64,
    pub spent: f64,
    pub gpu_minutes: f64,
}

/// One deployment that could have been the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    pub label: String,
    /// As an ARM is typed.
    pub arm: String,
    /// `simple` or `nixl`.
    pub kind: String,
    /// What measures it alone.
    pub command: String,
    /// Requests a second of the whole deployment. Never a measurement.
    pub predicted: Option<f64>,
    /// Its run directory below `candidates/`; `None`: it was not raced.
    pub dir: Option<String>,
    #[serde(default)]
    pub measured: Option<MeasuredRate>,
    #[serde(default)]
    pub dropped: Option<DroppedRecord>,
}

/// What a candidate was measured to carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRate {
    /// Requests a second of the whole deployment; `None` where the points lie on one side of the target only.
    pub max_rate: Option<f64>,
    pub max_rate_per_gpu: Option<f64>,
    /// Of the whole deployment; an end is `None` where nothing bounds it.
    pub ci95: [Option<f64>; 2],
    pub launches: u32,
    pub points: usize,
}

/// When a candidate left the race, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DroppedRecord {
    /// Seconds with engines up by then; 0: before anything was started.
    pub at_secs: f64,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WinnerRecord {
    pub label: String,
    /// What runs it again.
    pub command: String,
    pub sentence: String,
    /// Whether its answers are those of a deployment at the engine's defaults; `None`: no other was launched.
    #[serde(default)]
    pub same_answers: Option<SameAnswers>,
}

/// Answers without sampling, compared with those of another deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameAnswers {
    /// Label of the deployment at the engine's defaults.
    pub defaults: String,
    pub same: usize,
    pub of: usize,
}

impl RaceRecord {
    pub fn new(question: RaceQuestion, engine_secs: f64, candidates: Vec<CandidateRecord>) -> RaceRecord {
        let budget = RaceBudget { engine_secs, spent: 0.0, gpu_minutes: 0.0 };
        RaceRecord { version: VERSION, question, budget, candidates, winner: None }
    }

    pub fn read(race: &Path) -> Result<RaceRecord, RecordError> {
        let path = race.join(RACE);
        let bytes = files::read(&path, LARGEST).map_err(RecordError::read(&path))?;
        let invalid = |detail: String| RecordError::Manifest { path: path.clone(), detail };
        let record: RaceRecord = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
        if record.version != VERSION {
            let detail = format!("it has version {}, and this program reads version {VERSION}", record.version);
            return Err(invalid(detail));
        }
        Ok(record)
    }

    pub fn write(&self, race: &Path) -> Result<(), RecordError> {
        let path = race.join(RACE);
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| RecordError::Manifest { path: path.clone(), detail: e.to_string() })?;
        bytes.push(b'\n');
        dir::write_atomically(&path, &bytes)
    }

    /// Candidates with a run, each with its directory.
    pub fn runs<'a>(&'a self, race: &'a Path) -> impl Iterator<Item = (&'a CandidateRecord, PathBuf)> {
        let place = |c: &'a CandidateRecord| Some((c, race.join(CANDIDATES).join(c.dir.as_ref()?)));
        self.candidates.iter().filter_map(place)
    }
}

/// Makes `<results>/best/<stamp>` with a place for the candidates' runs.
pub fn create(result_dir: &Path, now: DateTime<Local>) -> Result<PathBuf, RecordError> {
    let parent = result_dir.join(RACES);
    std::fs::create_dir_all(&parent).map_err(RecordError::write(&parent))?;
    let race = dir::create_unique(&parent, &now.format(dir::STAMP).to_string())?;
    let candidates = race.join(CANDIDATES);
    std::fs::create_dir(&candidates).map_err(RecordError::write(&candidates))?;
    Ok(race)
}

/// The race that a word means: a directory, a unique prefix of a name below `<results>/best`, or `latest`.
pub fn find(result_dir: &Path, word: &str) -> Result<PathBuf, RecordError> {
    let direct = Path::new(word);
    if direct.join(RACE).is_file() {
        return Ok(direct.to_path_buf());
    }
    let parent = result_dir.join(RACES);
    let names = |entries: std::fs::ReadDir| {
        let races = entries.flatten().map(|e| e.path()).filter(|path| path.join(RACE).is_file());
        let mut races: Vec<PathBuf> = races.collect();
        races.sort();
        races
    };
    let all = std::fs::read_dir(&parent).map(names).unwrap_or_default();
    let begins = |path: &&PathBuf| name_of(path).is_some_and(|name| name.starts_with(word));
    let found: Vec<&PathBuf> =
        if word == "latest" { all.last().into_iter().collect() } else { all.iter().filter(begins).collect() };
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(RecordError::NotFound { what: word.to_string(), root: parent }),
        several => Err(RecordError::Ambiguous {
            what: word.to_string(),
            candidates: several.iter().filter_map(|path| name_of(path)).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn name_of(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}
