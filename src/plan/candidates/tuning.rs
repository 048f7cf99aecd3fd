//! Settings worth trying, as a file lists them.

use super::layout::LayoutKind;
use crate::files;
use crate::plan::connector::{self, KvDirection};
use crate::plan::error::PlanError;
use crate::plan::settings::Settings;
use crate::plan::topology::KvTransfer;
use crate::plan::topology_file::settings;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const EMBEDDED: &str = include_str!("../../../topologies/tuning.toml");
const EMBEDDED_NAME: &str = "tuning.toml (built in)";
/// In the working directory it wins over what is built in.
const ON_DISK: &str = "topologies/tuning.toml";
/// Bytes of a file of settings.
const LARGEST: u64 = 1 << 20;

/// A version of an engine: major and minor.
pub type MinorVersion = (u32, u32);

/// A combination of settings for deployments of a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    pub kind: LayoutKind,
    pub settings: Settings,
    /// What it is tried for; empty for the engine's defaults.
    pub why: String,
    /// Whether answers may differ from the defaults'.
    pub changes_outputs: bool,
    from: Option<MinorVersion>,
}

/// `--tune`: where settings come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tune {
    #[default]
    Curated,
    Off,
    File(String),
}

impl std::str::FromStr for Tune {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Tune, Self::Err> {
        Ok(if text == "off" { Tune::Off } else { Tune::File(text.to_string()) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TuningFile {
    #[serde(default)]
    simple: Vec<TuningEntry>,
    #[serde(default)]
    nixl: Vec<TuningEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TuningEntry {
    settings: BTreeMap<String, Value>,
    from: Option<String>,
    #[serde(default)]
    changes_outputs: bool,
    #[serde(default)]
    why: String,
}

impl Tuning {
    fn default_of(kind: LayoutKind) -> Tuning {
        Tuning { kind, settings: Settings::default(), why: String::new(), changes_outputs: false, from: None }
    }

    /// Whether prefill instances push the KV.
    pub fn pushes(&self) -> bool {
        let connector = self.settings.shown().get("kv.connector").cloned();
        connector.is_some_and(|connector| {
            connector::direction(&KvTransfer { connector, ..KvTransfer::default() }) == Ok(KvDirection::Push)
        })
    }

    /// Whether an engine of this version has it; one of an unknown version is taken to have what all have.
    pub fn suits(&self, version: Option<MinorVersion>) -> bool {
        self.from.is_none_or(|from| version.is_some_and(|version| version >= from))
    }
}

/// The defaults of both kinds, then what the file lists.
///
/// # Errors
/// When the file can't be read, has an unknown key, or a setting that no engine can have.
pub fn read(tune: &Tune) -> Result<Vec<Tuning>, PlanError> {
    let listed = match tune {
        Tune::Off => Vec::new(),
        Tune::File(path) => parse(&text(path)?, path)?,
        Tune::Curated if Path::new(ON_DISK).is_file() => parse(&text(ON_DISK)?, ON_DISK)?,
        Tune::Curated => parse(EMBEDDED, EMBEDDED_NAME)?,
    };
    let defaults = [LayoutKind::Simple, LayoutKind::Nixl].map(Tuning::default_of);
    Ok(defaults.into_iter().chain(listed).collect())
}

fn text(path: &str) -> Result<String, PlanError> {
    files::read_text(Path::new(path), LARGEST)
        .map_err(|source| PlanError::Tuning { origin: path.to_string(), detail: source.to_string() })
}

fn parse(text: &str, origin: &str) -> Result<Vec<Tuning>, PlanError> {
    let invalid = |detail: String| PlanError::Tuning { origin: origin.to_string(), detail };
    let file: TuningFile = toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_string()))?;
    let of = |kind: LayoutKind, entries: Vec<TuningEntry>| {
        entries.into_iter().map(move |entry| tuning(kind, entry)).collect::<Result<Vec<_>, _>>()
    };
    let [simple, nixl] = [of(LayoutKind::Simple, file.simple), of(LayoutKind::Nixl, file.nixl)];
    Ok(simple.map_err(&invalid)?.into_iter().chain(nixl.map_err(&invalid)?).collect())
}

fn tuning(kind: LayoutKind, entry: TuningEntry) -> Result<Tuning, String> {
    let settings = settings(&entry.settings).map_err(|e| format!("[[{}]]: {e}", kind.name()))?;
    let from = entry.from.map(|text| {
        version(&text).ok_or_else(|| format!("[[{}]]: from = \"{text}\": give a version, e.g. \"0.26\"", kind.name()))
    });
    Ok(Tuning { kind, settings, why: entry.why, changes_outputs: entry.changes_outputs, from: from.transpose()? })
}

fn version(text: &str) -> Option<MinorVersion> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_valid_and_small() {
        let tunings = parse(EMBEDDED, EMBEDDED_NAME).expect("valid");
        assert!((4..=8).contains(&tunings.len()), "{}", tunings.len());
        assert!(tunings.iter().all(|t| !t.settings.is_empty() && !t.why.is_empty()));
    }

    #[test]
    fn settings_of_later_versions_wait_for_them() {
        let text = "[[nixl]]\nsettings = { 'kv.connector' = 'NixlPushConnector' }\nfrom = '0.26'";
        let tunings = parse(text, "t.toml").expect("valid");
        let suits = |version| tunings[0].suits(version);
        assert!(suits(Some((0, 26))) && suits(Some((1, 0))) && !suits(Some((0, 22))) && !suits(None));
    }

    #[test]
    fn slips_are_told_with_their_place() {
        for (text, word) in [
            ("[[nixll]]\nsettings = {}", "nixll"),
            ("[[nixl]]\nsetting = {}", "setting"),
            ("[[simple]]\nsettings = { tp = 2 }", "tp"),
            ("[[simple]]\nsettings = { block-size = [1] }", "block-size"),
            ("[[simple]]\nsettings = {}\nfrom = 'new'", "new"),
        ] {
            let error = parse(text, "mine.toml").expect_err(text).to_string();
            assert!(error.contains(word) && error.contains("mine.toml"), "{error}");
        }
    }
}
