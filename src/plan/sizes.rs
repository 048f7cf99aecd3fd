//! How large an arm is: sizes that flags, ARM keys and the environment ask for.

use super::environment::{self, Environment};
use super::error::PlanError;
use super::topology::{EngineGroup, Shape};
use super::typed::whole_number;

/// Sizes somebody asked for; `None` leaves the topology file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    pub replicas: Option<u32>,
    pub prefill: Option<u32>,
    pub decode: Option<u32>,
    /// Of engines that serve requests whole.
    pub engine: EngineSizes,
    pub of_prefill: EngineSizes,
    pub of_decode: EngineSizes,
}

/// Those of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineSizes {
    pub tp: Option<u32>,
    pub dp: Option<u32>,
    pub pp: Option<u32>,
    pub ep: Option<bool>,
}

/// Instances of a role, and GPUs of an instance.
const POSSIBLE: std::ops::RangeInclusive<u32> = 1..=1024;

pub(super) fn possible() -> String {
    format!("give a number from {} to {}", POSSIBLE.start(), POSSIBLE.end())
}

pub(super) fn is_possible(size: u32) -> bool {
    POSSIBLE.contains(&size)
}

/// ARM keys that say how large an arm is.
pub(super) const KEYS: [&str; 15] = [
    "replicas",
    "tp",
    "dp",
    "pp",
    "ep",
    "prefill",
    "prefill-tp",
    "prefill-dp",
    "prefill-pp",
    "prefill-ep",
    "decode",
    "decode-tp",
    "decode-dp",
    "decode-pp",
    "decode-ep",
];

/// A key as [`KEYS`] has it: `decode.data-parallel-size`, as vLLM calls it, is `decode-dp`.
pub(super) fn key(typed: &str) -> String {
    let typed = typed.replace('_', "-");
    let (role, size) = match typed.split_once('.') {
        Some((role @ ("prefill" | "decode"), size)) => (format!("{role}-"), size),
        _ => (String::new(), typed.as_str()),
    };
    let short = match size.strip_suffix("-size").unwrap_or(size) {
        "tensor-parallel" => "tp",
        "data-parallel" => "dp",
        "pipeline-parallel" => "pp",
        "expert-parallel" | "enable-expert-parallel" => "ep",
        "tp" | "dp" | "pp" | "ep" => size,
        // No size: a setting of its own name.
        _ => return typed,
    };
    format!("{role}{short}")
}

impl EngineSizes {
    fn or(self, fallback: EngineSizes) -> EngineSizes {
        EngineSizes {
            tp: self.tp.or(fallback.tp),
            dp: self.dp.or(fallback.dp),
            pp: self.pp.or(fallback.pp),
            ep: self.ep.or(fallback.ep),
        }
    }

    fn apply(self, group: &mut EngineGroup) {
        group.tensor_parallel = self.tp.unwrap_or(group.tensor_parallel);
        group.data_parallel = self.dp.unwrap_or(group.data_parallel);
        group.pipeline_parallel = self.pp.unwrap_or(group.pipeline_parallel);
        group.expert_parallel = self.ep.unwrap_or(group.expert_parallel);
    }
}

impl Sizes {
    /// The seed's variables.
    pub fn from_environment(env: &Environment) -> Result<Self, PlanError> {
        let count = |name| env.number::<u32>(name, "a whole number of at least 1");
        let tensor = |tp| EngineSizes { tp, ..EngineSizes::default() };
        Ok(Sizes {
            replicas: None,
            prefill: count(environment::NUM_PREFILL_INSTANCES)?,
            decode: count(environment::NUM_DECODE_INSTANCES)?,
            engine: tensor(count(environment::TENSOR_PARALLEL_SIZE)?),
            of_prefill: tensor(count(environment::PREFILLER_TP_SIZE)?),
            of_decode: tensor(count(environment::DECODER_TP_SIZE)?),
        })
    }

    /// `self` where given, else `fallback`.
    pub fn or(self, fallback: Sizes) -> Sizes {
        Sizes {
            replicas: self.replicas.or(fallback.replicas),
            prefill: self.prefill.or(fallback.prefill),
            decode: self.decode.or(fallback.decode),
            engine: self.engine.or(fallback.engine),
            of_prefill: self.of_prefill.or(fallback.of_prefill),
            of_decode: self.of_decode.or(fallback.of_decode),
        }
    }

    /// Only what means something for this kind of topology: the environment speaks to both kinds at once.
    pub fn relevant_to(self, shape: &Shape) -> Sizes {
        match shape {
            Shape::Simple { .. } => Sizes { replicas: self.replicas, engine: self.engine, ..Sizes::default() },
            Shape::PrefillDecode { .. } => Sizes { replicas: None, engine: EngineSizes::default(), ..self },
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Sizes::default()
    }

    /// Gives the topology these sizes.
    ///
    /// # Errors
    /// Keys that mean nothing for its kind, the kind, and the keys that do.
    pub(super) fn apply(self, shape: &mut Shape) -> Result<(), Misplaced> {
        if self.relevant_to(shape) != self {
            return Err(match shape {
                Shape::Simple { .. } => Misplaced {
                    keys: "prefill, decode and their tp, dp, pp and ep",
                    kind: "simple",
                    instead: "replicas, tp, dp, pp and ep",
                },
                Shape::PrefillDecode { .. } => Misplaced {
                    keys: "replicas, tp, dp, pp and ep without a role",
                    kind: "prefill-decode",
                    instead: "prefill, decode, prefill-tp and decode-tp, and dp, pp and ep likewise",
                },
            });
        }
        match shape {
            Shape::Simple { group } => {
                group.replicas = self.replicas.unwrap_or(group.replicas);
                self.engine.apply(group);
            }
            Shape::PrefillDecode { prefill, decode, .. } => {
                prefill.replicas = self.prefill.unwrap_or(prefill.replicas);
                decode.replicas = self.decode.unwrap_or(decode.replicas);
                self.of_prefill.apply(prefill);
                self.of_decode.apply(decode);
            }
        }
        Ok(())
    }

    /// Takes a value for one of [`KEYS`]; `None`: it is no size. `Some(true)`: it was given before.
    ///
    /// # Errors
    /// What is wrong with the value, and what would be right.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Option<Result<bool, (String, &'static str)>> {
        if let Some(slot) = self.switch(key) {
            let on = match value {
                "true" | "on" => true,
                "false" | "off" => false,
                other => return Some(Err((format!("{key}: `{other}`"), "give true or false"))),
            };
            return Some(Ok(slot.replace(on).is_some()));
        }
        let slot = self.count(key)?;
        Some(match whole_number(value) {
            Ok(number) => Ok(slot.replace(number).is_some()),
            Err(error) => Err((format!("{key}: {error}"), "give a whole number of at least 1")),
        })
    }

    fn of_role(&mut self, key: &str) -> (&mut EngineSizes, String) {
        match key.split_once('-') {
            Some(("prefill", size)) => (&mut self.of_prefill, size.to_string()),
            Some(("decode", size)) => (&mut self.of_decode, size.to_string()),
            _ => (&mut self.engine, key.to_string()),
        }
    }

    fn switch(&mut self, key: &str) -> Option<&mut Option<bool>> {
        let (sizes, size) = self.of_role(key);
        (size == "ep").then_some(&mut sizes.ep)
    }

    fn count(&mut self, key: &str) -> Option<&mut Option<u32>> {
        match key {
            "replicas" => return Some(&mut self.replicas),
            "prefill" => return Some(&mut self.prefill),
            "decode" => return Some(&mut self.decode),
            _ => {}
        }
        let (sizes, size) = self.of_role(key);
        match size.as_str() {
            "tp" => Some(&mut sizes.tp),
            "dp" => Some(&mut sizes.dp),
            "pp" => Some(&mut sizes.pp),
            _ => None,
        }
    }

    /// The first size that no deployment can have, as its ARM key, with its value.
    pub(super) fn impossible(mut self) -> Option<(&'static str, u32)> {
        KEYS.into_iter().find_map(|key| {
            let size = (*self.count(key)?)?;
            (!is_possible(size)).then_some((key, size))
        })
    }
}

/// Sizes that mean nothing for a kind of topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misplaced {
    pub(super) keys: &'static str,
    pub(super) kind: &'static str,
    pub(super) instead: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_place_of_its_own_and_vllms_names_are_understood() {
        let mut sizes = Sizes::default();
        for key in KEYS {
            let value = if key.ends_with("ep") { "true" } else { "3" };
            assert_eq!(sizes.take(key, value), Some(Ok(false)), "{key}");
            assert_eq!(sizes.take(key, value), Some(Ok(true)), "{key} again");
        }
        assert_eq!(sizes.take("block-size", "3"), None);
        for (typed, short) in [
            ("decode.data-parallel-size", "decode-dp"),
            ("decode.data_parallel", "decode-dp"),
            ("prefill.enable-expert-parallel", "prefill-ep"),
            ("pipeline_parallel", "pp"),
            ("prefill_tp", "prefill-tp"),
            ("decode.max_num_seqs", "decode.max-num-seqs"),
        ] {
            assert_eq!(key(typed), short);
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert!(matches!(Sizes::default().take("decode-ep", "2"), Some(Err(_))));
        let mut sizes = Sizes::default();
        sizes.take("ep", "off");
        assert_eq!(sizes.engine.ep, Some(false));
    }
}
