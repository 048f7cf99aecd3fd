//! How requests get past what stands in front of a server: a key, headers, certificates.

use super::environment::{Environment, HEADERS};
use super::error::PlanError;
use super::secrecy::{EngineEnv, Secret};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Headers that belong to the connection or to the measurement.
const OURS: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
    // A packed stream comes in pieces that are no tokens.
    "accept-encoding",
    "expect",
    "x-request-id",
];

/// What every request to a server carries, beside what it asks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Access {
    /// `Authorization: Bearer ..`, unless a header says otherwise.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Values with secret names print as masks.
    #[serde(default, skip_serializing_if = "EngineEnv::is_empty")]
    pub headers: EngineEnv,
    /// Certificates are not checked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

impl Access {
    /// With a key and nothing else.
    pub fn with_key(api_key: Option<Secret>) -> Access {
        Access { api_key, ..Access::default() }
    }

    /// The flags' headers over the environment's.
    pub fn new(env: &Environment, flags: &[HeaderWord], insecure: bool) -> Result<Access, PlanError> {
        let mut headers = from_environment(env)?;
        for HeaderWord { name, value } in flags {
            let known = headers.iter().map(|(name, _)| name).find(|known| known.eq_ignore_ascii_case(name)).cloned();
            headers.insert(known.as_deref().unwrap_or(name), value);
        }
        Ok(Access { api_key: env.api_key(), headers, insecure })
    }

    /// Names and values as they are sent; for requests, and for nothing else.
    pub fn to_headers(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_string())).collect();
        let authorized = all.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let Some(key) = self.api_key.as_ref().filter(|_| !authorized) {
            all.push(("Authorization".to_string(), format!("Bearer {}", key.expose())));
        }
        all
    }

    /// A run that is resumed takes its secrets from the environment: the manifest holds only masks.
    ///
    /// # Errors
    /// Names of headers that the environment doesn't have.
    pub fn take_secrets(&mut self, env: &Environment) -> Result<(), Vec<String>> {
        self.api_key = env.api_key();
        let given = from_environment(env).unwrap_or_default();
        let values = given.iter().map(|(name, value)| (name.clone(), value.expose().to_string()));
        let missing = self.headers.unmask(&values.collect::<Environment>());
        missing.map_err(|names| names.into_iter().map(|name| format!("{name} ({HEADERS})")).collect())
    }
}

/// One `NAME=VALUE` or `Name: value` a line.
fn from_environment(env: &Environment) -> Result<EngineEnv, PlanError> {
    let mut headers = EngineEnv::default();
    for line in env.get(HEADERS).unwrap_or_default().lines().filter(|line| !line.trim().is_empty()) {
        let HeaderWord { name, value } = line.parse().map_err(|remedy| PlanError::Value {
            what: format!("environment variable {HEADERS}"),
            value: line.split(['=', ':']).next().unwrap_or_default().to_string(),
            remedy,
        })?;
        headers.insert(&name, &value);
    }
    Ok(headers)
}

/// A header as people type it: `NAME=VALUE`, or `Name: value` as curl has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderWord {
    name: String,
    value: String,
}

impl FromStr for HeaderWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(['=', ':']).ok_or("give NAME=VALUE, e.g. X-Tenant=blue")?;
        let (name, value) = (name.trim(), value.trim());
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err("a header's name consists of letters, digits and -; give NAME=VALUE, e.g. X-Tenant=blue".into());
        }
        if !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(format!("the value of {name} holds bytes that HTTP doesn't allow: use printable ASCII"));
        }
        if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(format!("topobench itself sets {name}: leave it out"));
        }
        Ok(HeaderWord { name: name.to_string(), value: value.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[&str]) -> Vec<HeaderWord> {
        all.iter().map(|word| word.parse().expect("a header")).collect()
    }

    #[test]
    fn flags_win_over_the_environment_and_a_header_over_the_key() {
        let env = Environment::of([(HEADERS, "X-Tenant=red\nx-api-key: s3cret\n"), ("VLLM_API_KEY", "k")]);
        let access = Access::new(&env, &words(&["x-tenant=blue"]), false).expect("headers");
        let sent = access.to_headers();
        let has = |name: &str, value: &str| sent.contains(&(name.to_string(), value.to_string()));
        assert!(has("X-Tenant", "blue") && has("x-api-key", "s3cret") && has("Authorization", "Bearer k"), "{sent:?}");
        let own = Access::new(&env, &words(&["authorization: Basic abc"]), false).expect("headers").to_headers();
        assert!(!own.iter().any(|(_, value)| value == "Bearer k"));
    }

    #[test]
    fn secrets_are_masked_and_come_back_from_the_environment() {
        let env = Environment::of([(HEADERS, "X-Api-Key=s3cret")]);
        let access = Access::new(&env, &words(&["X-Tenant=blue"]), true).expect("headers");
        let stored = serde_json::to_string(&access).expect("serialises");
        assert!(stored.contains("blue") && !stored.contains("s3cret") && stored.contains("insecure"), "{stored}");
        assert!(!format!("{access:?}").contains("s3cret"));
        let mut read: Access = serde_json::from_str(&stored).expect("reads");
        assert!(read.take_secrets(&Environment::default()).expect_err("missing")[0].contains("X-Api-Key"));
        read.take_secrets(&env).expect("found");
        assert_eq!(read, access);
    }

    #[test]
    fn what_is_no_header_is_refused_in_words() {
        for (text, word) in
            [("novalue", "NAME=VALUE"), ("a b=c", "letters"), ("X=\n", ""), ("Content-Length=3", "itself")]
        {
            let refused = text.parse::<HeaderWord>();
            assert!(word.is_empty() || refused.expect_err(text).contains(word), "{text}");
        }
        assert!("X-A=a\u{7}b".parse::<HeaderWord>().is_err());
    }
}
