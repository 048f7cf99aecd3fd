//! Secrets are told from other values by their names, and by where URLs keep them. Masked here: command lines, JSON,
//! `KEY=VALUE` pairs, URLs.

use super::secret::MASK;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const SECRET_WORDS: [&str; 20] = [
    "KEY",
    "KEYS",
    "APIKEY",
    "TOKEN",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "PAT",
    "COOKIE",
    "COOKIES",
    "SIGNATURE",
    "SIG",
    "JWT",
];

/// `HF_TOKEN`, `x-api-key` and `accessToken` are; `TOKENIZERS_PARALLELISM` and `MAX_TOKENS` are not.
pub fn is_secret_name(name: &str) -> bool {
    words_of(name).iter().any(|word| SECRET_WORDS.contains(&word.as_str()))
}

/// Upper-case words of a name in any of the usual spellings.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (after_lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_uppercase());
        }
        after_lower = c.is_ascii_lowercase();
    }
    words
}

/// A URL without its user, password and secret parameters; `None` if it holds none, or is no URL.
pub fn masked_url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = authority.rsplit_once('@').map(|(_, host)| host);
    let masked_tail = masked_query(tail);
    if host.is_none() && masked_tail.is_none() {
        return None;
    }
    let authority = host.map_or_else(|| authority.to_string(), |host| format!("{MASK}@{host}"));
    Some(format!("{scheme}://{authority}{}", masked_tail.as_deref().unwrap_or(tail)))
}

/// `/path?api_key=x&n=1` -> `/path?api_key=***&n=1`.
fn masked_query(tail: &str) -> Option<String> {
    let (path, query) = tail.split_once('?')?;
    let masked: Vec<String> =
        query.split('&').map(|pair| masked_pair(pair).unwrap_or_else(|| pair.to_string())).collect();
    let masked = masked.join("&");
    (masked != query).then(|| format!("{path}?{masked}"))
}

/// `token=x` -> `token=***`; `None` if the name is no secret's.
fn masked_pair(pair: &str) -> Option<String> {
    let (name, _) = pair.split_once('=')?;
    is_secret_name(name).then(|| format!("{name}={MASK}"))
}

/// The value of a named thing as it may be shown.
pub fn masked_value(name: &str, value: &str) -> String {
    if is_secret_name(name) && !value.is_empty() { MASK.to_string() } else { masked_text(value) }
}

/// A text that may be a URL, or JSON with secrets in it.
pub fn masked_text(text: &str) -> String {
    masked_url(text).or_else(|| masked_json_text(text)).unwrap_or_else(|| text.to_string())
}

fn masked_json_text(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        // A slip of the keyboard in a JSON argument must not show what a correct one would hide.
        return mentions_secret(text).then(|| MASK.to_string());
    };
    let before = value.clone();
    mask_json(&mut value);
    (value != before).then(|| value.to_string())
}

fn mentions_secret(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').any(is_secret_name) || text.contains("://")
}

/// Masks strings under secret names, and secrets in URLs, at any depth. Numbers and switches are no secrets:
/// `stop_token_ids` keeps its ids.
pub fn mask_json(value: &mut Value) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(name, value)| mask_field(name, value)),
        Value::Array(items) => items.iter_mut().for_each(mask_json),
        Value::String(text) => {
            if let Some(masked) = masked_url(text) {
                *text = masked;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn mask_field(name: &str, value: &mut Value) {
    match value {
        Value::String(text) if is_secret_name(name) && !text.is_empty() => *text = MASK.to_string(),
        Value::Array(items) if is_secret_name(name) => items.iter_mut().for_each(|item| mask_field(name, item)),
        _ => mask_json(value),
    }
}

/// Whether something was masked: such JSON can't be sent again.
pub fn holds_mask(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(holds_mask),
        Value::Array(items) => items.iter().any(holds_mask),
        Value::String(text) => text.contains(MASK),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// For serde: a JSON object without its secrets.
pub fn serialize_masked_map<S: Serializer>(map: &Map<String, Value>, s: S) -> Result<S::Ok, S::Error> {
    let mut value = Value::Object(map.clone());
    mask_json(&mut value);
    value.serialize(s)
}

/// For serde: a table without its secrets.
pub fn serialize_masked_table<S: Serializer>(table: &BTreeMap<String, Value>, s: S) -> Result<S::Ok, S::Error> {
    let mut table = table.clone();
    table.iter_mut().for_each(|(name, value)| mask_field(name, value));
    table.serialize(s)
}

/// For serde: arguments without their secrets.
pub fn serialize_masked_words<S: Serializer>(words: &[String], s: S) -> Result<S::Ok, S::Error> {
    masked_words(words).serialize(s)
}

/// A command line as it may be kept. Masked are values of flags that end like a secret's name (`--hf-token`, not
/// `--first-token-timeout`), of `NAME=VALUE` and `Name: value` words with such a name, fields of JSON, and what URLs
/// hold of the kind.
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
            if let Some(inner) = word.strip_prefix("--engine-arg=") {
                let masked = masked_words(&[inner.to_string()]).concat();
                secret_follows = is_secret_flag(inner);
                return format!("--engine-arg={}", if follows { MASK.to_string() } else { masked });
            }
            if is_secret_flag(word) {
                secret_follows = true;
                return word.clone();
            }
            if follows { MASK.to_string() } else { masked_word(word) }
        })
        .collect()
}

/// A flag whose value is the next word.
fn is_secret_flag(word: &str) -> bool {
    word.starts_with("--") && !word.contains('=') && is_secret_name(last_part(word))
}

/// Flags are told by their last part: `--tokenizer-mode` and `--max-token-len` are no secrets.
fn last_part(flag: &str) -> &str {
    flag.rsplit(['-', '_', '.']).next().unwrap_or(flag)
}

fn masked_word(word: &str) -> String {
    if let Some(masked) = masked_json_text(word) {
        return masked;
    }
    if let Some(masked) = masked_url(word).filter(|_| !word.split("://").next().unwrap_or_default().contains('=')) {
        return masked;
    }
    if let Some((name, value)) = word.split_once('=') {
        let secret = is_secret_name(if name.starts_with("--") { last_part(name) } else { name });
        return match secret && !value.is_empty() {
            true => format!("{name}={MASK}"),
            // `--header=Authorization: x` and `env.HF_TOKEN=x` inside of an arm.
            false => format!("{name}={}", masked_word(value)),
        };
    }
    match word.split_once(':') {
        // `Authorization: Bearer x`, a header as curl takes it.
        Some((name, value)) if is_secret_name(name) && !value.trim().is_empty() => format!("{name}: {MASK}"),
        _ => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_told_by_their_names() {
        for name in ["HF_TOKEN", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "db_password", "GITHUB_PAT", "accessToken"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "MONKEY", "PATH", "CUDA_VISIBLE_DEVICES", "PWD"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    fn masked(words: &[&str]) -> String {
        masked_words(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn command_lines_are_kept_without_their_secrets() {
        let line = |text: &str| masked(&text.split(' ').collect::<Vec<_>>());
        assert_eq!(line("run --hf-token hf_1 --tp 2"), "run --hf-token *** --tp 2");
        assert_eq!(
            line("run --engine-arg --hf-token --engine-arg hf_1"),
            "run --engine-arg --hf-token --engine-arg ***"
        );
        assert_eq!(
            line("run --engine-arg=--hf-token --engine-arg=hf_1"),
            "run --engine-arg=--hf-token --engine-arg=***"
        );
        assert_eq!(line("run --engine-arg=--hf-token=hf_1"), "run --engine-arg=--hf-token=***");
        assert_eq!(line("run -- --api_key=sk-1 --x"), "run -- --api_key=*** --x");
        assert_eq!(line("run --metadata team=a api_key=b"), "run --metadata team=a api_key=***");
        assert_eq!(line("run --metadata url=http://u:p@h/x"), "run --metadata url=http://***@h/x");
        assert_eq!(line("run --attach http://u:p@host:1"), "run --attach http://***@host:1");
        assert_eq!(line("run --first-token-timeout 3 --tokenizer t"), "run --first-token-timeout 3 --tokenizer t");
        assert_eq!(line("ab simple nixl:env.HF_TOKEN=x,tp=2"), "ab simple nixl:env.HF_TOKEN=***");
    }

    #[test]
    fn json_and_headers_lose_their_secrets_too() {
        assert_eq!(masked(&["--extra-body", r#"{"api_key":"x","n":1}"#]), r#"--extra-body {"api_key":"***","n":1}"#);
        assert_eq!(masked(&[r#"--extra-body={"a":{"token":"x"}}"#]), r#"--extra-body={"a":{"token":"***"}}"#);
        assert_eq!(masked(&["--extra-body", r#"{"api_key":"x""#]), "--extra-body ***", "broken JSON");
        assert_eq!(masked(&["--header", "Authorization: Bearer x"]), "--header Authorization: ***");
        assert_eq!(masked(&["--header", "X-Api-Key=x"]), "--header X-Api-Key=***");
    }

    #[test]
    fn urls_keep_their_host_and_harmless_parameters() {
        assert_eq!(masked_url("http://u:p@h:1/x?n=1").as_deref(), Some("http://***@h:1/x?n=1"));
        assert_eq!(masked_url("https://h/x?sig=abc&n=1").as_deref(), Some("https://h/x?sig=***&n=1"));
        assert_eq!(masked_url("http://h/a@b?n=1"), None);
        assert_eq!(masked_url("no url"), None);
    }

    #[test]
    fn json_is_masked_at_any_depth_and_numbers_stay() {
        let mut body = json!({"stop_token_ids": [1], "user": {"apiKey": "x"}, "hook": ["http://u:p@h"], "tokens": "t"});
        mask_json(&mut body);
        assert_eq!(
            body,
            json!({"stop_token_ids": [1], "user": {"apiKey": "***"}, "hook": ["http://***@h"], "tokens": "t"})
        );
        assert!(holds_mask(&body) && !holds_mask(&json!({"n": 1})));
    }
}
