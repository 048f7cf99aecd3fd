//! From the text of a topology file to a [`Topology`]; where files are found.

use super::engine_env::EngineEnv;
use super::error::PlanError;
use super::settings::Settings;
use super::topology::{Defaults, EngineGroup, KvTransfer, ProxyPolicies, Shape, Topology};
use crate::files;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Compiled in, so that one binary is enough; a file of the same name in `topologies/` wins.
const EMBEDDED: [(&str, &str); 6] = [
    ("simple", include_str!("../../topologies/simple.toml")),
    ("nixl", include_str!("../../topologies/nixl.toml")),
    ("simple-sim", include_str!("../../topologies/simple-sim.toml")),
    ("nixl-sim", include_str!("../../topologies/nixl-sim.toml")),
    ("simple-cpu", include_str!("../../topologies/simple-cpu.toml")),
    ("nixl-cpu", include_str!("../../topologies/nixl-cpu.toml")),
];

/// The engine that needs no suffix in a file's name.
pub const DEFAULT_ENGINE: &str = "vllm";

/// Bytes of a topology file.
const LARGEST: u64 = 1 << 20;
/// Virtual GPUs: each is a name in memory.
const MOST_DEVICES: u32 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    kind: Kind,
    #[serde(default = "vllm")]
    program: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: EngineEnv,
    devices: Option<u32>,
    #[serde(default)]
    tune: BTreeMap<String, Value>,
    group: Option<EngineGroup>,
    prefill: Option<EngineGroup>,
    decode: Option<EngineGroup>,
    kv: Option<KvTransfer>,
    #[serde(default)]
    proxy: ProxyPolicies,
    #[serde(default)]
    defaults: Defaults,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Simple,
    PrefillDecode,
}

fn vllm() -> String {
    DEFAULT_ENGINE.to_string()
}

/// A topology by name (`simple`, `nixl`, or one of the user's) for an engine: `topologies/<name>[-<engine>].toml` in the
/// working directory, else the embedded one.
pub fn by_name(name: &str, engine: &str) -> Result<Topology, PlanError> {
    let stem = if engine == DEFAULT_ENGINE { name.to_string() } else { format!("{name}-{engine}") };
    for extension in ["toml", "yaml", "yml"] {
        let path = PathBuf::from("topologies").join(format!("{stem}.{extension}"));
        if path.is_file() {
            return from_path(&path);
        }
    }
    if let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == stem) {
        return parse_toml(text, &format!("`{stem}` (built in)"));
    }
    if engine != DEFAULT_ENGINE && EMBEDDED.iter().any(|(known, _)| *known == name) {
        return Err(PlanError::EngineUnknown {
            name: name.to_string(),
            engine: engine.to_string(),
            known: engines_of(name),
        });
    }
    Err(PlanError::TopologyUnknown { name: name.to_string(), known: known_names() })
}

fn engines_of(name: &str) -> String {
    let prefix = format!("{name}-");
    let suffixes = EMBEDDED.iter().filter_map(|(known, _)| known.strip_prefix(&prefix));
    std::iter::once(DEFAULT_ENGINE).chain(suffixes).collect::<Vec<_>>().join(", ")
}

fn known_names() -> String {
    EMBEDDED.iter().map(|(name, _)| *name).filter(|name| !name.contains('-')).collect::<Vec<_>>().join(", ")
}

/// # Errors
/// When the file can't be read, has an unknown key, or contradicts itself.
pub fn from_path(path: &Path) -> Result<Topology, PlanError> {
    let origin = path.display().to_string();
    let text = files::read_text(path, LARGEST).map_err(|source| PlanError::TopologyUnreadable {
        path: origin.clone(),
        known: known_names(),
        source,
    })?;
    match path.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml") => parse_yaml(&text, &origin),
        _ => parse_toml(&text, &origin),
    }
}

/// Whether a name can stand in the path of a run: letters, digits, `-`, `_` and `.`, the last one not in front.
pub fn names_a_directory(name: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(safe) && !name.starts_with('.')
}

/// Whether an ARM names a file rather than a topology.
pub fn looks_like_path(arm: &str) -> bool {
    arm.contains('/') || [".toml", ".yaml", ".yml"].iter().any(|end| arm.ends_with(end))
}

pub fn parse_toml(text: &str, origin: &str) -> Result<Topology, PlanError> {
    let file = toml::from_str(text).map_err(|e| invalid(origin, e.to_string()))?;
    build(file, origin)
}

pub fn parse_yaml(text: &str, origin: &str) -> Result<Topology, PlanError> {
    let file = serde_saphyr::from_str(text).map_err(|e| invalid(origin, e.to_string()))?;
    build(file, origin)
}

fn invalid(origin: &str, detail: impl Into<String>) -> PlanError {
    PlanError::TopologyInvalid { origin: origin.to_string(), detail: detail.into().trim_end().to_string() }
}

fn build(file: File, origin: &str) -> Result<Topology, PlanError> {
    let shape = match file.kind {
        Kind::Simple => {
            if file.prefill.is_some() || file.decode.is_some() || file.kv.is_some() {
                return Err(invalid(origin, "kind = \"simple\" takes one [group], and no [prefill], [decode] or [kv]"));
            }
            Shape::Simple { group: file.group.unwrap_or_default() }
        }
        Kind::PrefillDecode => {
            if file.group.is_some() {
                return Err(invalid(origin, "kind = \"prefill-decode\" takes [prefill] and [decode], and no [group]"));
            }
            Shape::PrefillDecode {
                prefill: file.prefill.unwrap_or_default(),
                decode: file.decode.unwrap_or_default(),
                kv: file.kv.unwrap_or_default(),
            }
        }
    };
    if !names_a_directory(&file.name) {
        return Err(invalid(
            origin,
            format!("name = {:?}: it names directories, so use letters, digits, - and _", file.name),
        ));
    }
    if let Some(devices) = file.devices.filter(|n| !(1..=MOST_DEVICES).contains(n)) {
        return Err(invalid(origin, format!("devices = {devices}: give a number from 1 to {MOST_DEVICES}")));
    }
    Ok(Topology {
        name: file.name,
        program: file.program,
        args: file.args,
        env: file.env,
        settings: settings(&file.tune).map_err(|detail| invalid(origin, format!("[tune]: {detail}")))?,
        devices: file.devices,
        shape,
        proxy: file.proxy,
        defaults: file.defaults,
    })
}

/// Settings as ARM's keys have them; those of a role may stand in a table of its own.
pub(super) fn settings(tune: &BTreeMap<String, Value>) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (key, value) in tune {
        match value {
            Value::Object(table) => {
                for (inner, value) in table {
                    settings.insert(&format!("{key}.{inner}"), &word(inner, value)?)?;
                }
            }
            value => {
                settings.insert(key, &word(key, value)?)?;
            }
        }
    }
    Ok(settings)
}

fn word(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(format!("{key}: give one number, text, true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_topology_is_valid() {
        for (name, text) in EMBEDDED {
            let topology = parse_toml(text, name).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(name.starts_with(&topology.name), "{name} calls itself {}", topology.name);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse_toml("name = \"x\"\nkind = \"simple\"\nreplica = 2\n", "x.toml").expect_err("unknown key");
        let text = error.to_string();
        assert!(text.contains("x.toml") && text.contains("replica") && text.contains("line 3"), "{text}");
    }

    #[test]
    fn a_simple_topology_has_no_prefill_group() {
        let error = parse_toml("name = \"x\"\nkind = \"simple\"\n[prefill]\nreplicas = 1\n", "x.toml")
            .expect_err("contradiction");
        assert!(error.to_string().contains("[group]"));
    }

    #[test]
    fn yaml_says_the_same_as_toml() {
        let toml = parse_toml(
            "name = \"x\"\nkind = \"prefill-decode\"\n[prefill]\nreplicas = 2\ngpus = [[0], [1]]\n",
            "x.toml",
        );
        let yaml = parse_yaml("name: x\nkind: prefill-decode\nprefill:\n  replicas: 2\n  gpus: [[0], [1]]\n", "x.yaml");
        assert_eq!(toml.expect("toml"), yaml.expect("yaml"));
    }

    #[test]
    fn an_unknown_engine_is_never_replaced_by_another() {
        let error = by_name("simple", "tpu").expect_err("no such engine");
        assert!(error.to_string().contains("sim"), "{error}");
    }

    #[test]
    fn a_name_that_escapes_the_results_directory_is_refused() {
        assert!(parse_toml("name = \"../x\"\nkind = \"simple\"\n", "x.toml").is_err());
    }
}
