//! Where the counters of engines behind somebody else's front are read: an engine's own page of metrics, a Ray node's, or a
//! Prometheus server that scrapes them.
//!
//! `[ROLE=]URL[{MATCHERS}]`. Matchers are PromQL's: they choose among the series of a page that several engines share, and
//! among those of a Prometheus server.

use super::mask::masked_text;
use super::topology::Role;
use crate::words;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Before a Prometheus server's URL.
const ASKED: &str = "prometheus+";

/// Where counters are read, and of which engines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricsUrl {
    pub role: Role,
    pub kind: MetricsKind,
    /// A page's address, or the base of Prometheus' API.
    pub url: String,
    pub matchers: Vec<Matcher>,
}

/// What answers at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsKind {
    /// A page in Prometheus' text format.
    Page,
    /// Prometheus' HTTP API, `/api/v1/query`.
    Prometheus,
}

/// A condition on a label.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub label: String,
    test: LabelTest,
    value: String,
    /// Of the whole value, where the test is one of patterns.
    pattern: Option<Regex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelTest {
    Is,
    IsNot,
    Matches,
    MatchesNot,
}

impl LabelTest {
    const ALL: [LabelTest; 4] = [LabelTest::Matches, LabelTest::MatchesNot, LabelTest::IsNot, LabelTest::Is];

    fn sign(self) -> &'static str {
        match self {
            LabelTest::Is => "=",
            LabelTest::IsNot => "!=",
            LabelTest::Matches => "=~",
            LabelTest::MatchesNot => "!~",
        }
    }
}

impl Matcher {
    /// `""` is the value of a label that isn't there, as for Prometheus.
    pub fn takes(&self, value: &str) -> bool {
        let matches = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match self.test {
            LabelTest::Is => self.value == value,
            LabelTest::IsNot => self.value != value,
            LabelTest::Matches => matches(),
            LabelTest::MatchesNot => !matches(),
        }
    }

    /// Reads the first of several, and returns what follows it.
    fn first(text: &str) -> Result<(Matcher, &str), String> {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (label, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let test = LabelTest::ALL.into_iter().find(|test| rest.starts_with(test.sign()));
        let test = test.filter(|_| !label.is_empty()).ok_or_else(|| form(text))?;
        let quoted = rest[test.sign().len()..].trim_start().strip_prefix('"').ok_or_else(|| form(text))?;
        let (value, rest) = words::unquoted(quoted, "").ok_or_else(|| format!("the quote of {label} is not closed"))?;
        let pattern = match test {
            LabelTest::Is | LabelTest::IsNot => None,
            LabelTest::Matches | LabelTest::MatchesNot => {
                let whole = Regex::new(&format!("^(?s:{value})$"));
                Some(whole.map_err(|_| format!("`{value}` is no regular expression"))?)
            }
        };
        Ok((Matcher { label: label.to_string(), test, value, pattern }, rest))
    }

    fn all(mut text: &str) -> Result<Vec<Matcher>, String> {
        let mut found = Vec::new();
        loop {
            text = text.trim_start();
            if text.is_empty() {
                return Ok(found);
            }
            let (matcher, rest) = Matcher::first(text)?;
            found.push(matcher);
            let rest = rest.trim_start();
            text = match rest.strip_prefix(',') {
                Some(rest) => rest,
                None if rest.is_empty() => rest,
                None => return Err(form(rest)),
            };
        }
    }
}

fn form(text: &str) -> String {
    format!("`{text}` is no matcher: give label=\"value\", or !=, =~ and !~ as PromQL has them")
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.test, &self.value) == (&other.label, other.test, &other.value)
    }
}

/// As PromQL has it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.label, self.test.sign())
    }
}

impl MetricsUrl {
    /// Whether series with these labels are of its engines.
    pub fn takes(&self, label: impl Fn(&str) -> Option<String>) -> bool {
        self.matchers.iter().all(|matcher| matcher.takes(&label(&matcher.label).unwrap_or_default()))
    }
}

impl FromStr for MetricsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let roles = [Role::Prefill, Role::Decode, Role::Replica];
        let named = roles.into_iter().find_map(|role| Some((role, text.strip_prefix(role.name())?.strip_prefix('=')?)));
        let (role, rest) = named.unwrap_or((Role::Replica, text));
        let (address, matchers) = match rest.split_once('{') {
            Some((address, matchers)) => {
                let inside = matchers.trim_end().strip_suffix('}').ok_or("the matchers end with `}`")?;
                (address, Matcher::all(inside)?)
            }
            None => (rest, Vec::new()),
        };
        let (kind, address) = match address.strip_prefix(ASKED) {
            Some(address) => (MetricsKind::Prometheus, address),
            None => (MetricsKind::Page, address),
        };
        Ok(MetricsUrl { role, kind, url: checked(kind, address)?, matchers })
    }
}

fn checked(kind: MetricsKind, address: &str) -> Result<String, String> {
    let with_scheme = if address.contains("://") { address.to_string() } else { format!("http://{address}") };
    let example = "give prefill=URL or decode=URL, e.g. prefill=http://10.0.0.7:8100/metrics";
    let url =
        reqwest::Url::parse(&with_scheme).map_err(|_| format!("`{}` is no URL: {example}", masked_text(address)))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(|host| host.contains('=')) {
        return Err(format!("`{}` is no http:// or https:// URL: {example}", masked_text(address)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The URL is recorded; what stands in it would be seen.
        return Err("leave user and password out of the URL: a header, in TOPOBENCH_HEADERS, is not recorded".into());
    }
    let bare = with_scheme.trim_end_matches('/');
    Ok(match kind {
        MetricsKind::Prometheus => bare.trim_end_matches("/api/v1/query").trim_end_matches("/api/v1").to_string(),
        MetricsKind::Page if matches!(url.path(), "" | "/") && url.query().is_none() => format!("{bare}/metrics"),
        MetricsKind::Page => with_scheme,
    })
}

/// As it is typed.
impl fmt::Display for MetricsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = if self.kind == MetricsKind::Prometheus { ASKED } else { "" };
        write!(f, "{}={asked}{}", self.role.name(), self.url)?;
        match self.matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",") {
            matchers if matchers.is_empty() => Ok(()),
            matchers => write!(f, "{{{matchers}}}"),
        }
    }
}

impl TryFrom<String> for MetricsUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MetricsUrl> for String {
    fn from(url: MetricsUrl) -> String {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> MetricsUrl {
        text.parse().expect(text)
    }

    #[test]
    fn pages_and_prometheus_servers_are_told_apart_and_completed() {
        for (text, whole) in [
            ("http://a:8000", "replica=http://a:8000/metrics"),
            ("prefill=a:8100/", "prefill=http://a:8100/metrics"),
            ("decode=https://b/x/metrics?name=1", "decode=https://b/x/metrics?name=1"),
            ("decode=prometheus+http://p:9090/api/v1/query", "decode=prometheus+http://p:9090"),
            (
                r#"prefill=prometheus+https://p/prom/{pod=~"p-.*", job="x"}"#,
                r#"prefill=prometheus+https://p/prom{pod=~"p-.*",job="x"}"#,
            ),
        ] {
            assert_eq!(read(text).to_string(), whole);
            assert_eq!(read(whole), read(text), "what is recorded is read back");
        }
    }

    #[test]
    fn matchers_choose_as_prometheus_does() {
        let url = read(r#"decode=http://n:8080/metrics{deployment=~"Decode:.*",job!="old",zone=""}"#);
        let with = |deployment: &str, job: &str| {
            let (deployment, job) = (deployment.to_string(), job.to_string());
            url.takes(|label| match label {
                "deployment" => Some(deployment.clone()),
                "job" => Some(job.clone()),
                _ => None,
            })
        };
        assert!(with("Decode:m", "new"));
        assert!(!with("Decode:m", "old") && !with("Prefill:m", "new") && !with("a Decode:m", "new"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_words() {
        for (text, word) in [
            ("ftp://a", "http://"),
            ("pre fill=http://a", "prefill=URL"),
            ("shards=http://a", "prefill=URL"),
            ("http://user:secret@a", "leave user and password out"),
            ("http://a{job}", "is no matcher"),
            ("http://a{job=\"x}", "not closed"),
            ("http://a{job=\"x\"", "`}`"),
            ("http://a{job=~\"(\"}", "no regular expression"),
        ] {
            let refused = text.parse::<MetricsUrl>().expect_err(text);
            assert!(refused.contains(word) && !refused.contains("secret"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn any_value_of_a_label_is_written_and_read_back(value in "(?s).{0,20}") {
            let written = Matcher { label: "a".into(), test: LabelTest::Is, value, pattern: None };
            let text = format!("decode=http://h/metrics{{{written}}}");
            prop_assert_eq!(read(&text).matchers, vec![written]);
        }
    }
}
