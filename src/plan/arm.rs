//! ARM = `name[:key=value,...]` or a file, and the sizes that flags, ARM keys and the environment ask for.

use super::connector::{self, KvDirection};
use super::engine_args::table_of;
use super::environment::{self, Environment};
use super::error::PlanError;
use super::mask::masked_text;
use super::settings::{self, Settings};
use super::sizes::{self, Misplaced, is_possible, possible};
pub use super::sizes::{EngineSizes, Sizes};
use super::topology::{Shape, Topology};
use super::topology_file;
use super::tuned;
use std::path::Path;

/// One ARM as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmSpec {
    /// As typed: the arm's name in messages.
    pub text: String,
    pub source: ArmSource,
    pub sizes: Sizes,
    pub settings: Settings,
    /// Whether flags (`--tp`) gave the sizes, rather than keys (`tp=`).
    by_flags: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArmSource {
    Name(String),
    File(String),
}

/// What an ARM's keys may be, for those who typed another.
const KEYS: &str = "keys are sizes (tp, dp, pp, ep, replicas; prefill, decode, prefill-tp, decode-dp and so on) and settings: \
                    an engine's flag (block-size=128), one role's (decode.max-num-seqs=256), env.NAME=, kv.KEY=, proxy.policy=";

impl ArmSpec {
    /// A topology by name, with sizes from flags.
    pub fn named(name: &str, sizes: Sizes) -> Self {
        ArmSpec {
            text: name.to_string(),
            source: ArmSource::Name(name.to_string()),
            sizes,
            settings: Settings::default(),
            by_flags: true,
        }
    }

    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let wrong = |detail: String, remedy: &str| PlanError::Arm {
            arm: masked_text(text),
            detail,
            remedy: remedy.to_string(),
        };
        let (source, keys) = match text.split_once(':') {
            Some((source, keys)) => (source, Some(keys)),
            None => (text, None),
        };
        if source.is_empty() {
            return Err(wrong(
                "it has no name".to_string(),
                "an arm is name[:key=value,...] or a file, e.g. simple:tp=2",
            ));
        }
        let mut sizes = Sizes::default();
        let mut settings = Settings::default();
        let keys = keys.map_or_else(|| Ok(Vec::new()), settings::split_pairs);
        for (key, value) in keys.map_err(|e| wrong(e, "e.g. simple:tp=2 or nixl:prefill=1,decode=1,block-size=128"))? {
            let twice = || wrong(format!("{key} is given twice"), "leave one of them out");
            match sizes.take(&sizes::key(&key), &value) {
                Some(Ok(false)) => {}
                Some(Ok(true)) => return Err(twice()),
                Some(Err((detail, remedy))) => return Err(wrong(detail, remedy)),
                None if settings.insert(&key, &value).map_err(|e| wrong(e, KEYS))?.is_some() => return Err(twice()),
                None => {}
            }
        }
        let source = if topology_file::looks_like_path(source) || Path::new(source).is_file() {
            ArmSource::File(source.to_string())
        } else {
            ArmSource::Name(source.to_string())
        };
        Ok(ArmSpec { text: text.to_string(), source, sizes, settings, by_flags: false })
    }

    /// The topology with the arm's own sizes and the environment's applied, and whether anybody chose sizes.
    pub fn load(&self, engine: &str, env: &Environment) -> Result<SizedTopology, PlanError> {
        let (mut topology, from_file) = match &self.source {
            ArmSource::Name(name) => (topology_file::by_name(name, engine)?, false),
            ArmSource::File(path) => (topology_file::from_path(Path::new(path))?, true),
        };
        self.check_sizes()?;
        let ambient =
            if from_file { Sizes::default() } else { Sizes::from_environment(env)?.relevant_to(&topology.shape) };
        if let Some((key, size)) = ambient.impossible() {
            let what = format!("environment variable {}", variable_of(key));
            return Err(PlanError::Value { what, value: size.to_string(), remedy: possible() });
        }
        let wanted = self.sizes.or(ambient);
        wanted.apply(&mut topology.shape).map_err(|Misplaced { keys, kind, instead }| PlanError::Arm {
            arm: self.text.clone(),
            detail: format!("{keys} mean nothing for a {kind} topology"),
            remedy: format!("its sizes are {instead}"),
        })?;
        check_groups(&topology)?;
        let settings = topology.settings.clone().overridden_by(&self.settings);
        let remedy = "decode.FLAG, prefill.FLAG and kv.KEY belong to prefill-decode topologies".to_string();
        let misplaced = |detail| PlanError::Arm { arm: masked_text(&self.text), detail, remedy };
        tuned::apply(&settings, &mut topology).map_err(misplaced)?;
        check_connector(&topology, &self.text)?;
        let sized = from_file || !wanted.is_empty();
        Ok(SizedTopology { topology, sized })
    }
}

impl ArmSpec {
    /// Each size is told as it was given.
    fn check_sizes(&self) -> Result<(), PlanError> {
        match self.sizes.impossible() {
            None => Ok(()),
            Some((key, size)) if self.by_flags => {
                Err(PlanError::Value { what: format!("--{key}"), value: size.to_string(), remedy: possible() })
            }
            Some((key, size)) => {
                let detail = format!("{key}={size} is out of range");
                Err(PlanError::Arm { arm: self.text.clone(), detail, remedy: possible() })
            }
        }
    }
}

/// What is left can only come from the topology's file.
fn check_groups(topology: &Topology) -> Result<(), PlanError> {
    for (role, group) in topology.groups() {
        let sizes = [
            ("replicas", group.replicas),
            ("tensor_parallel", group.tensor_parallel),
            ("data_parallel", group.data_parallel),
            ("pipeline_parallel", group.pipeline_parallel),
        ];
        for (key, size) in sizes {
            if !is_possible(size) {
                let what = format!("{key} in [{}] of topology `{}`", table_of(role), topology.name);
                return Err(PlanError::Value { what, value: size.to_string(), remedy: possible() });
            }
        }
    }
    Ok(())
}

fn check_connector(topology: &Topology, arm: &str) -> Result<(), PlanError> {
    let Shape::PrefillDecode { kv, prefill, .. } = &topology.shape else { return Ok(()) };
    let refused = |detail, remedy: &str| PlanError::Arm { arm: masked_text(arm), detail, remedy: remedy.to_string() };
    let direction = connector::direction(kv).map_err(|detail| refused(detail, connector::REMEDY))?;
    if direction == KvDirection::Push && prefill.data_parallel > 1 {
        // Decode waits for an engine's id before the prompt has reached a rank, and every rank has an id of its own.
        let detail = format!("prefill instances with {} data-parallel ranks can't push", prefill.data_parallel);
        return Err(refused(detail, "use NixlConnector, or more prefill instances instead of ranks"));
    }
    Ok(())
}

/// The variable that gives a size.
fn variable_of(key: &str) -> &'static str {
    match key {
        "prefill" => environment::NUM_PREFILL_INSTANCES,
        "decode" => environment::NUM_DECODE_INSTANCES,
        "prefill-tp" => environment::PREFILLER_TP_SIZE,
        "decode-tp" => environment::DECODER_TP_SIZE,
        _ => environment::TENSOR_PARALLEL_SIZE,
    }
}

/// A topology, and whether its size was chosen (by a file, a key, a flag, the environment) or is only the default.
#[derive(Debug, Clone, PartialEq)]
pub struct SizedTopology {
    pub topology: Topology,
    pub sized: bool,
}

/// Gives every arm without a chosen size as many GPUs as the largest arm has: a comparison on equal hardware is the
/// default, and anything else has to be asked for.
pub fn equalise(arms: &mut [SizedTopology]) {
    let largest = arms.iter().map(|a| a.topology.gpu_count()).max().unwrap_or(1);
    for arm in arms.iter_mut().filter(|a| !a.sized) {
        match &mut arm.topology.shape {
            Shape::Simple { group } => group.tensor_parallel = largest,
            Shape::PrefillDecode { prefill, decode, .. } => {
                prefill.replicas = largest.div_ceil(2).max(1);
                decode.replicas = (largest / 2).max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arms: &[&str], env: &Environment) -> Vec<String> {
        let mut loaded: Vec<_> = arms
            .iter()
            .map(|arm| ArmSpec::parse(arm).and_then(|a| a.load("vllm", env)).unwrap_or_else(|e| panic!("{arm}: {e}")))
            .collect();
        equalise(&mut loaded);
        loaded.iter().map(|a| format!("{} {}", a.topology.name, a.topology.size_label())).collect()
    }

    #[test]
    fn an_arm_without_sizes_takes_the_gpus_of_the_largest() {
        let env = Environment::default();
        assert_eq!(load(&["simple", "nixl"], &env), ["simple TP2", "nixl 1P1D"]);
        assert_eq!(load(&["simple", "nixl:prefill=2,decode=2"], &env), ["simple TP4", "nixl 2P2D"]);
        assert_eq!(load(&["simple:tp=4", "nixl"], &env), ["simple TP4", "nixl 2P2D"]);
        assert_eq!(load(&["simple:replicas=2", "nixl"], &env), ["simple 2xTP1", "nixl 1P1D"]);
        assert_eq!(load(&["simple:tp=1", "nixl"], &env), ["simple TP1", "nixl 1P1D"]);
    }

    #[test]
    fn the_environment_sizes_an_arm_unless_its_keys_do() {
        let env =
            Environment::of([("TENSOR_PARALLEL_SIZE", "8"), ("NUM_PREFILL_INSTANCES", "3"), ("DECODER_TP_SIZE", "2")]);
        assert_eq!(load(&["simple"], &env), ["simple TP8"]);
        assert_eq!(load(&["simple:tp=2"], &env), ["simple TP2"]);
        assert_eq!(load(&["nixl"], &env), ["nixl 3P1D TP1/TP2"]);
    }

    #[test]
    fn keys_that_mean_nothing_are_refused() {
        for (arm, word) in [
            ("simple:prefill=1", "simple"),
            ("nixl:tp=2", "prefill-decode"),
            ("nixl:preffil=1", "preffil"),
            ("nixl:prefill=x", "x"),
            ("simple:tp", "key=value"),
            ("simple:tp=1,tp=2", "twice"),
            (":tp=1", "name"),
            ("sinple", "sinple"),
        ] {
            let error = ArmSpec::parse(arm).and_then(|a| a.load("vllm", &Environment::default())).expect_err(arm);
            assert!(error.to_string().contains(word), "{arm}: {error}");
        }
    }
}
