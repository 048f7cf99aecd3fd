//! Settings of an arm beside its sizes: flags of its engines (for all of them or one role), environment, options of the
//! KV connector, policies of the proxy. They come from ARM's keys and from `[tune]` in a topology file, and are part of what the arm is.

use super::gpu_flags;
use super::mask::masked_value;
use super::sizes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Keys as they are typed: `block-size`, `decode.max-num-seqs`, `env.NAME`, `kv.KEY`, `proxy.policy`. Shown and stored without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(#[serde(serialize_with = "masked")] BTreeMap<String, String>);

fn masked<S: serde::Serializer>(settings: &BTreeMap<String, String>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(settings.iter().map(|(key, value)| (key, masked_value(key, value))))
}

/// What a key sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettingTarget<'a> {
    /// A flag of every engine.
    Flag(&'a str),
    /// A flag of the prefill engines.
    Prefill(&'a str),
    Decode(&'a str),
    Env(&'a str),
    Kv(&'a str),
    Proxy(&'a str),
}

/// What may stand behind `proxy.`: the choice of an instance, for every role or one of them.
const PROXY_KEYS: [&str; 3] = ["policy", "prefill-policy", "decode-policy"];

pub(super) fn target(key: &str) -> SettingTarget<'_> {
    match key.split_once('.') {
        Some(("env", name)) => SettingTarget::Env(name),
        Some(("kv", name)) => SettingTarget::Kv(name),
        Some(("proxy", name)) => SettingTarget::Proxy(name),
        Some(("prefill", flag)) => SettingTarget::Prefill(flag),
        Some(("decode", flag)) => SettingTarget::Decode(flag),
        // vLLM has dotted flags itself: compilation-config.level.
        _ => SettingTarget::Flag(key),
    }
}

impl Settings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys with their values, as typed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// Keys with their values, secrets masked.
    pub fn shown(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, value)| (key.clone(), masked_value(key, value))).collect()
    }

    /// Adds a setting; the old value if the key was there.
    ///
    /// # Errors
    /// In words, when no engine can have it.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<Option<String>, String> {
        let (role, flag) = match target(key) {
            SettingTarget::Flag(flag) => ("", flag),
            SettingTarget::Prefill(flag) => ("prefill.", flag),
            SettingTarget::Decode(flag) => ("decode.", flag),
            SettingTarget::Env("") | SettingTarget::Kv("") => return Err(format!("`{key}` names nothing")),
            SettingTarget::Env(_) | SettingTarget::Kv(_) => {
                return Ok(self.0.insert(key.to_string(), value.to_string()));
            }
            SettingTarget::Proxy(name) => {
                let name = name.replace('_', "-");
                return match PROXY_KEYS.contains(&name.as_str()) {
                    true => Ok(self.0.insert(format!("proxy.{name}"), value.to_string())),
                    false => Err(format!("`{key}` is none of proxy.{}", PROXY_KEYS.join(", proxy."))),
                };
            }
        };
        check_flag(flag)?;
        let key = format!("{role}{}", flag.replace('_', "-"));
        Ok(self.0.insert(key, value.to_string()))
    }

    /// Those of `self`, and those of `other` in place of them where both have one.
    pub fn overridden_by(mut self, other: &Settings) -> Settings {
        self.0.extend(other.0.iter().map(|(k, v)| (k.clone(), v.clone())));
        self
    }
}

fn check_flag(flag: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if !flag.starts_with(|c: char| c.is_ascii_lowercase()) || !flag.chars().all(plain) {
        return Err(format!("unknown key `{flag}`"));
    }
    if let Some(size) = sizes::KEYS.iter().find(|size| size.len() > 3 && distance(size, flag) <= 2) {
        return Err(format!("unknown key `{flag}`: did you mean {size}?"));
    }
    // No flag of an engine is so short, nor called gpus: it is a size that was meant.
    if flag.len() < 4 || flag == "gpus" {
        return Err(format!("unknown key `{flag}`"));
    }
    match gpu_flags::refusal(&format!("--{flag}")) {
        Some(remedy) => {
            Err(format!("{flag} changes how many GPUs an engine takes, which topobench has to count: {remedy}"))
        }
        None => Ok(()),
    }
}

/// Edits from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            corner = above;
        }
    }
    row[b.len()]
}

/// `key=value,key='a,b'` taken apart; quotes keep commas together and are taken off.
///
/// # Errors
/// In words, when a pair is none or a quote isn't closed.
pub fn split_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '\'' | '"') if words.last().is_some_and(|w| w.ends_with('=')) => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ',') => words.push(String::new()),
            (_, c) => words.last_mut().into_iter().for_each(|w| w.push(c)),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_string());
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
        _ => Err(format!("`{word}` is not key=value")),
    };
    words.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas_together() {
        let pairs = |text: &str| split_pairs(text).expect("pairs");
        let two = |a: (&str, &str), b: (&str, &str)| {
            vec![(a.0.to_string(), a.1.to_string()), (b.0.to_string(), b.1.to_string())]
        };
        assert_eq!(pairs("tp=2,x-y=a"), two(("tp", "2"), ("x-y", "a")));
        assert_eq!(pairs(r#"x='{"a": 1, "b": 2}',tp=2"#), two(("x", r#"{"a": 1, "b": 2}"#), ("tp", "2")));
        assert_eq!(pairs(r#"x="a,'b'",tp=2"#), two(("x", "a,'b'"), ("tp", "2")));
        assert!(split_pairs("x='a").is_err() && split_pairs("x").is_err() && split_pairs("=a").is_err());
    }

    #[test]
    fn keys_that_are_no_flags_are_refused() {
        let refused = |key: &str| Settings::default().insert(key, "1").expect_err(key);
        assert!(refused("prefil").contains("did you mean prefill"));
        assert!(refused("replica").contains("did you mean replicas"));
        for key in ["gpus", "dp", "x", "Max-Seqs", "a b", "", "env.", "kv.", "proxy.", "proxy.polic"] {
            refused(key);
        }
        for key in ["data-parallel-size", "decode.pipeline_parallel_size", "tensor-parallel-size", "config"] {
            assert!(refused(key).contains("GPUs"), "{key}");
        }
        for key in [
            "block-size",
            "decode.max_num_seqs",
            "env.VLLM_X",
            "kv.num_threads",
            "proxy.policy",
            "compilation-config.level",
        ] {
            assert_eq!(Settings::default().insert(key, "1"), Ok(None), "{key}");
        }
    }

    #[test]
    fn secrets_are_shown_as_masks() {
        let mut settings = Settings::default();
        settings.insert("env.HF_TOKEN", "s3cret").expect("a setting");
        assert_eq!(settings.shown()["env.HF_TOKEN"], "***");
        assert_eq!(serde_json::to_string(&settings).expect("JSON"), r#"{"env.HF_TOKEN":"***"}"#);
    }
}
