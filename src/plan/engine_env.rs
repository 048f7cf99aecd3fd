//! The environment that a plan gives to its engines, secrets masked wherever it is printed or stored.

use super::environment::Environment;
use super::mask::{is_secret_name, masked_url};
use super::secret::{MASK, Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// A value of an engine's environment; secrets print as [`MASK`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    Plain(String),
    Secret(Secret),
}

impl EnvValue {
    /// Named like a secret, or with a password in a URL: kept like one.
    pub fn of(name: &str, value: &str) -> Self {
        match is_secret_name(name) || masked_url(value).is_some() {
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

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn values_are_secrets_by_name_or_by_the_password_in_their_url() {
        assert_eq!(EnvValue::of("HF_TOKEN", "x").masked(), MASK);
        assert_eq!(EnvValue::of("MAX_TOKENS", "x").masked(), "x");
        assert_eq!(EnvValue::of("http_proxy", "http://me:pw@proxy:3128/").masked(), MASK);
        assert_eq!(EnvValue::of("http_proxy", "http://proxy:3128/a@b").masked(), "http://proxy:3128/a@b");
    }
}
