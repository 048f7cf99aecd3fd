//! Values that must not be seen, and how they are told from those that may: by their names.
//!
//! A secret may travel in the environment of a child or in a request's header. Arguments can be read by every user of the
//! machine, and manifests and logs are passed on: there it never stands.

use super::environment::Environment;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What is shown in a secret's place.
pub const MASK: &str = "***";

/// A value that prints as [`MASK`], everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// For the header of a request or the environment of a child; for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(MASK)
    }
}

/// What was masked stays masked; whoever resumes a run takes the secret from the environment again.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Secret)
    }
}

/// A value of an engine's environment; secrets print as [`MASK`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    Plain(String),
    Secret(Secret),
}

impl EnvValue {
    /// Named like a secret, or with a password in a URL: kept like one.
    pub fn of(name: &str, value: &str) -> Self {
        match is_secret_name(name) || has_credentials(value) {
            true => EnvValue::Secret(Secret::new(value)),
            false => EnvValue::Plain(value.to_string()),
        }
    }

    /// For the environment of a child; for nothing else.
    pub fn expose(&self) -> &str {
        match self {
            EnvValue::Plain(value) => value,
            EnvValue::Secret(secret) => secret.expose(),
        }
    }

    /// As it may be shown.
    pub fn masked(&self) -> &str {
        match self {
            EnvValue::Plain(value) => value,
            EnvValue::Secret(_) => MASK,
        }
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.masked())
    }
}

/// Environment that a plan gives to every engine, beside what they inherit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct EngineEnv(BTreeMap<String, EnvValue>);

impl EngineEnv {
    pub fn insert(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_string(), EnvValue::of(name, value));
    }

    pub fn get(&self, name: &str) -> Option<&EnvValue> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &EnvValue)> {
        self.0.iter()
    }

    /// Gives secrets that were read back as masks their values again.
    ///
    /// # Errors
    /// The names that the environment doesn't have.
    pub fn unmask(&mut self, env: &Environment) -> Result<(), Vec<String>> {
        let mut missing = Vec::new();
        for (name, value) in &mut self.0 {
            match (&value, env.get(name)) {
                (EnvValue::Secret(secret), found) if secret.expose() == MASK => match found {
                    Some(found) => *value = EnvValue::Secret(Secret::new(found)),
                    None => missing.push(name.clone()),
                },
                _ => {}
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for EngineEnv {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut env = EngineEnv::default();
        pairs.into_iter().for_each(|(name, value)| env.insert(name, value));
        env
    }
}

impl<'de> Deserialize<'de> for EngineEnv {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let plain = BTreeMap::<String, String>::deserialize(d)?;
        // A mask stays one, whatever had made its value a secret.
        let kept = |(name, value): (String, String)| match value.as_str() {
            MASK => (name, EnvValue::Secret(Secret::new(value))),
            _ => (name.clone(), EnvValue::of(&name, &value)),
        };
        Ok(EngineEnv(plain.into_iter().map(kept).collect()))
    }
}

const SECRET_WORDS: [&str; 12] = [
    "KEY",
    "APIKEY",
    "TOKEN",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "CREDENTIALS",
    "AUTH",
    "PAT",
    "COOKIE",
];

/// `HF_TOKEN` is one, `TOKENIZERS_PARALLELISM` and `MAX_TOKENS` are not.
fn is_secret_name(name: &str) -> bool {
    name.to_ascii_uppercase().split(['_', '-', '.']).any(|part| SECRET_WORDS.contains(&part))
}

/// `http://user:password@host`.
fn has_credentials(value: &str) -> bool {
    let authority = value.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or(rest));
    authority.is_some_and(|authority| authority.contains('@'))
}

/// A command line as it may be kept: values of flags that end like a secret's name (`--hf-token`, not
/// `--first-token-timeout`), values of `NAME=VALUE` words, and URLs with credentials are masked.
pub fn masked_words(words: &[String]) -> Vec<String> {
    let mut secret_follows = false;
    words
        .iter()
        .map(|word| {
            // What passes an argument on to the engine stands between a flag and its value.
            if word == "--engine-arg" {
                return word.clone();
            }
            let follows = std::mem::take(&mut secret_follows);
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
            let is_flag = name.starts_with("--");
            let last = name.rsplit(['-', '_']).next().unwrap_or(name);
            match value {
                Some(value) if is_secret_name(if is_flag { last } else { name }) || has_credentials(value) => {
                    format!("{name}={MASK}")
                }
                None if is_flag => {
                    secret_follows = is_secret_name(last);
                    word.clone()
                }
                _ if follows || has_credentials(word) => MASK.to_string(),
                _ => word.clone(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for name in ["HF_TOKEN", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "db_password", "GITHUB_PAT"] {
            assert_eq!(EnvValue::of(name, "x").masked(), MASK, "{name}");
        }
        for name in ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "MONKEY", "PATH", "CUDA_VISIBLE_DEVICES"] {
            assert_eq!(EnvValue::of(name, "x").masked(), "x", "{name}");
        }
        assert_eq!(EnvValue::of("http_proxy", "http://me:pw@proxy:3128/").masked(), MASK);
        assert_eq!(EnvValue::of("http_proxy", "http://proxy:3128/a@b").masked(), "http://proxy:3128/a@b");
    }

    #[test]
    fn what_is_stored_is_masked_and_comes_back_from_the_environment_only() {
        let env: EngineEnv = [("HF_TOKEN", "hf_1"), ("OMP_NUM_THREADS", "4")].into_iter().collect();
        let stored = serde_json::to_string(&env).expect("serialises");
        assert_eq!(stored, r#"{"HF_TOKEN":"***","OMP_NUM_THREADS":"4"}"#);
        assert!(!format!("{env:?}").contains("hf_1"));
        let mut read: EngineEnv = serde_json::from_str(&stored).expect("reads");
        assert_eq!(read.clone().unmask(&Environment::default()), Err(vec!["HF_TOKEN".to_string()]));
        assert_eq!(read.unmask(&Environment::of([("HF_TOKEN", "hf_2")])), Ok(()));
        assert_eq!(read.get("HF_TOKEN").map(EnvValue::expose), Some("hf_2"));
        assert_eq!(read.get("OMP_NUM_THREADS").map(EnvValue::expose), Some("4"));
    }

    #[test]
    fn command_lines_are_kept_without_their_secrets() {
        let masked = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_string).collect();
            masked_words(&words).join(" ")
        };
        assert_eq!(masked("run --hf-token hf_1 --tp 2"), "run --hf-token *** --tp 2");
        assert_eq!(
            masked("run --engine-arg --hf-token --engine-arg hf_1"),
            "run --engine-arg --hf-token --engine-arg ***"
        );
        assert_eq!(masked("run -- --api_key=sk-1 --x"), "run -- --api_key=*** --x");
        assert_eq!(masked("run --metadata team=a api_key=b"), "run --metadata team=a api_key=***");
        assert_eq!(masked("run --attach http://u:p@host:1"), "run --attach ***");
        assert_eq!(masked("run --first-token-timeout 3 --tokenizer t"), "run --first-token-timeout 3 --tokenizer t");
    }
}
