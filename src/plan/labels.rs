//! What arms are called: by their topology's name, and by whatever tells them apart.

use crate::words;
use std::collections::BTreeMap;

/// An arm, and what may tell it from others.
#[derive(Debug, Clone)]
pub struct Unnamed {
    pub name: String,
    /// `TP2`, `1P1D`.
    pub size: Option<String>,
    /// Without secrets.
    pub settings: BTreeMap<String, String>,
}

/// `simple` where the name says enough, `simple TP2` where two arms share it, `simple TP2 (block-size 128)` where they
/// differ in settings, `simple TP2 (2)` for two that are alike.
pub fn unique(arms: &[Unnamed]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for arm in arms {
        let shared = arms.iter().filter(|other| other.name == arm.name).count() > 1;
        let own = own_settings(arm, arms);
        let size = arm.size.as_ref().filter(|_| shared || !own.is_empty());
        let mut base = size.map_or_else(|| arm.name.clone(), |size| format!("{} {size}", arm.name));
        if !own.is_empty() {
            base.push_str(&format!(" ({})", own.join(", ")));
        }
        let numbered = (2..).map(|n| format!("{base} ({n})"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|candidate| !labels.contains(candidate));
        labels.extend(free);
    }
    labels
}

/// Settings that not all arms have.
fn own_settings(arm: &Unnamed, arms: &[Unnamed]) -> Vec<String> {
    let common = |key: &String, value: &String| arms.iter().all(|other| other.settings.get(key) == Some(value));
    let own = arm.settings.iter().filter(|(key, value)| !common(key, value));
    own.map(|(key, value)| format!("{key} {value}")).collect()
}

/// Settings of some arms that others could have and left at the engine's default, a sentence for each.
pub fn left_at_default(arms: &[(String, Flags)]) -> Vec<String> {
    /// Who set a flag to a value, and who could have.
    struct Left<'a> {
        flag: &'a str,
        value: &'a str,
        by: Vec<&'a str>,
        others: Vec<&'a str>,
    }
    let mut all: Vec<Left<'_>> = Vec::new();
    for (label, flags) in arms {
        for (flag, value) in &flags.set {
            let others: Vec<&str> =
                arms.iter().filter(|(_, theirs)| !theirs.has(flag)).map(|(other, _)| other.as_str()).collect();
            match all.iter_mut().find(|left| left.flag == flag && left.value == value) {
                Some(left) => left.by.push(label),
                None if others.is_empty() => {}
                None => all.push(Left { flag, value, by: vec![label], others }),
            }
        }
    }
    let told = |left: &Left<'_>| {
        let by = words::listed(&left.by);
        let others = match left.others.len() {
            n if n > words::NAMED && n + left.by.len() == arms.len() => format!("the {n} others"),
            _ => words::listed(&left.others),
        };
        format!("{others} ran with the engine's default {}, {by} with {}", left.flag, left.value)
    };
    all.iter().map(told).collect()
}

/// Flags that an arm's engines were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags {
    /// By the arm's settings: the flag without its role, and the value.
    pub set: BTreeMap<String, String>,
    /// By anything else, as arguments.
    pub args: Vec<String>,
}

impl Flags {
    pub fn new(settings: &BTreeMap<String, String>, args: Vec<String>) -> Flags {
        // Options of a connector or a proxy are nothing that an arm without one could have.
        let flags = settings.iter().filter(|(key, _)| !key.starts_with("kv.") && !key.starts_with("proxy."));
        let bare = |key: &String| {
            let flag = key.strip_prefix("prefill.").or_else(|| key.strip_prefix("decode.")).unwrap_or(key);
            flag.to_string()
        };
        Flags { set: flags.map(|(key, value)| (bare(key), value.clone())).collect(), args }
    }

    fn has(&self, flag: &str) -> bool {
        let given = |arg: &String| {
            let name = arg.split('=').next().unwrap_or(arg).trim_start_matches('-').replace('_', "-");
            name == flag || name.strip_prefix("no-") == Some(flag)
        };
        self.set.contains_key(flag) || self.args.iter().any(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(name: &str, size: &str, settings: &[(&str, &str)]) -> Unnamed {
        let settings = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Unnamed { name: name.to_string(), size: Some(size.to_string()), settings }
    }

    #[test]
    fn labels_say_what_differs_and_no_more() {
        let labels = |arms: &[Unnamed]| unique(arms);
        assert_eq!(labels(&[arm("simple", "TP2", &[]), arm("nixl", "1P1D", &[])]), ["simple", "nixl"]);
        assert_eq!(
            labels(&[arm("nixl", "1P1D", &[]), arm("nixl", "1P1D", &[("block-size", "128")])]),
            ["nixl 1P1D", "nixl 1P1D (block-size 128)"]
        );
        let both = [("block-size", "128")];
        assert_eq!(labels(&[arm("simple", "TP2", &both), arm("nixl", "1P1D", &both)]), ["simple", "nixl"]);
        assert_eq!(
            labels(&[arm("simple", "TP2", &[("max-num-batched-tokens", "512")]), arm("nixl", "1P1D", &[])]),
            ["simple TP2 (max-num-batched-tokens 512)", "nixl"]
        );
        assert_eq!(labels(&[arm("a", "TP1", &both), arm("a", "TP1", &both)]), ["a TP1", "a TP1 (2)"]);
    }

    #[test]
    fn a_setting_that_the_other_could_have_is_told() {
        let flags = |settings: &[(&str, &str)], args: &[&str]| {
            let settings = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            Flags::new(&settings, args.iter().map(ToString::to_string).collect())
        };
        let tuned = ("nixl".to_string(), flags(&[("decode.block-size", "128"), ("kv.num_threads", "4")], &[]));
        let told = |args: &[&str]| left_at_default(&[("simple".to_string(), flags(&[], args)), tuned.clone()]);
        assert_eq!(told(&[]), ["simple ran with the engine's default block-size, nixl with 128"]);
        assert_eq!(told(&["--block-size=16"]), [""; 0]);
        let plain = |name: &str| (name.to_string(), Flags::default());
        let other = ("nixl 2P2D".to_string(), tuned.1.clone());
        assert_eq!(
            left_at_default(&[plain("a"), plain("b"), tuned.clone(), other]),
            ["a and b ran with the engine's default block-size, nixl and nixl 2P2D with 128"],
            "one sentence, however many arms there are"
        );
        assert_eq!(told(&["--block_size", "16"]), [""; 0]);
    }
}
