//! Where requests go, and the bytes they consist of.

use super::answer::Asked;
use crate::plan::access::Access;
use crate::plan::load::{Endpoint, LengthField, Workload};
use crate::plan::workload::Prompt;
use serde_json::{Map, Value, json};

/// What a server understands beyond the common ground. To be found out with [`super::send_one`] before the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// `stream_options.continuous_usage_stats`: token counts in every chunk. vLLM has it; others answer 400 or ignore it.
    pub continuous_usage: bool,
    /// `ignore_eos`: vLLM and SGLang have it, OpenAI's own API refuses it.
    pub ignore_eos: bool,
    /// `stream_options` at all: some servers fail on what they don't know.
    pub stream_options: bool,
    /// Its answers say how many tokens they hold.
    pub counts_tokens: bool,
    /// How it calls the most tokens that an answer may have.
    pub length_field: LengthField,
}

impl Default for Capabilities {
    /// vLLM's.
    fn default() -> Self {
        Capabilities {
            continuous_usage: true,
            ignore_eos: true,
            stream_options: true,
            counts_tokens: true,
            length_field: LengthField::MaxTokens,
        }
    }
}

/// Where the load goes and what stands in every body.
#[derive(Debug, Clone)]
pub struct Destination {
    /// `http://host:port`, with a path if the API lies below one.
    pub base_url: String,
    pub endpoint: Endpoint,
    /// The served model's name.
    pub model: String,
    pub access: Access,
    pub ignore_eos: bool,
    pub temperature: Option<f64>,
    /// Merged over the fields that the benchmark sets, except those that the plan refuses.
    pub extra_body: Map<String, Value>,
    pub capabilities: Capabilities,
}

/// A target that can't be driven.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("`{url}` is not a base URL: give http://HOST:PORT or https://HOST, with a path if the API lies below one")]
    Url { url: String },
    #[error("cannot resolve host `{host}`: {source}; check the name, or give the address")]
    Resolve { host: String, source: std::io::Error },
    #[error("host `{host}` has no address; check the name, or give the address")]
    NoAddress { host: String },
    #[error("TLS for {host}: {detail}")]
    Tls { host: String, detail: String },
    #[error("header `{name}` holds bytes that HTTP doesn't allow; an API key must be printable ASCII")]
    Header { name: String },
}

impl Destination {
    /// A vLLM server with what the workload says of every body.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>, workload: &Workload) -> Self {
        Destination {
            base_url: base_url.into(),
            endpoint: workload.endpoint,
            model: model.into(),
            access: Access::default(),
            ignore_eos: workload.ignore_eos,
            temperature: workload.temperature,
            extra_body: workload.extra_body.clone(),
            capabilities: Capabilities {
                length_field: workload.length_field.unwrap_or_default(),
                ..Capabilities::default()
            },
        }
    }

    /// For a request of our own that asks for less than the workload does: without what would contradict it.
    pub(super) fn shortened(&self, max_tokens: u32) -> Destination {
        let mut target = self.clone();
        let contradicts = |field: &str, value: &Value| match field {
            "min_tokens" => value.as_u64().is_some_and(|least| least > u64::from(max_tokens)),
            "max_completion_tokens" => true,
            _ => false,
        };
        target.extra_body.retain(|field, value| !contradicts(field, value));
        target
    }

    /// Whether nothing but `max_tokens` ends an answer: a text that stops one may come at any place.
    pub(crate) fn is_full_length(&self) -> bool {
        let stops = ["stop", "stop_token_ids"].iter().any(|field| self.extra_body.get(*field).is_some_and(is_set));
        self.ignore_eos && self.capabilities.ignore_eos && !stops
    }

    /// What an answer of at most `max_tokens` is judged against.
    pub(super) fn asked(&self, max_tokens: u32) -> Asked {
        Asked { max_tokens, full_length: self.is_full_length() }
    }
}

fn is_set(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty())
}

/// Parts of a base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Without a slash at its end.
    prefix: String,
}

impl Authority {
    pub(super) fn parse(url: &str) -> Result<Self, TargetError> {
        let bad = || TargetError::Url { url: url.to_string() };
        let parsed = reqwest::Url::parse(url).map_err(|_| bad())?;
        let tls = match parsed.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(bad()),
        };
        // Brackets belong to the URL, not to the IPv6 address.
        let host = parsed.host_str().ok_or_else(bad)?.trim_matches(['[', ']']).to_string();
        let port = parsed.port_or_known_default().ok_or_else(bad)?;
        Ok(Authority { tls, host, port, prefix: parsed.path().trim_end_matches('/').to_string() })
    }

    fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Writes whole requests: what doesn't change is written once.
#[derive(Debug, Clone)]
pub(super) struct RequestWriter {
    head: String,
    /// The body without its closing brace.
    fields: String,
    length_field: &'static str,
}

impl RequestWriter {
    pub(super) fn new(
        target: &Destination,
        authority: &Authority,
        headers: &[(String, String)],
    ) -> Result<Self, TargetError> {
        let mut head = format!(
            "POST {}{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: topobench/{}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n",
            authority.prefix,
            target.endpoint.path(),
            authority.host_header(),
            env!("CARGO_PKG_VERSION"),
        );
        for (name, value) in target.access.to_headers().into_iter().chain(headers.iter().cloned()) {
            let printable = |s: &str| s.bytes().all(|b| (b' '..=b'~').contains(&b));
            if !printable(&value) || !printable(&name) || name.is_empty() || name.contains([':', ' ']) {
                return Err(TargetError::Header { name });
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut fields = json!(common_fields(target)).to_string();
        fields.pop();
        Ok(RequestWriter { head, fields, length_field: target.capabilities.length_field.name() })
    }

    /// Head and body, ready for the socket.
    pub(super) fn write(&self, id: &str, prompt: &Prompt, max_tokens: u32) -> Vec<u8> {
        let key = prompt.field();
        let prompt = prompt.to_json();
        let length = self.fields.len() + prompt.len() + key.len() + 40;
        let mut body = Vec::with_capacity(length);
        body.extend_from_slice(self.fields.as_bytes());
        body.extend_from_slice(format!(",\"{}\":{max_tokens},\"{key}\":", self.length_field).as_bytes());
        body.extend_from_slice(&prompt);
        body.push(b'}');
        let mut request =
            format!("{}X-Request-Id: {id}\r\nContent-Length: {}\r\n\r\n", self.head, body.len()).into_bytes();
        request.extend_from_slice(&body);
        request
    }
}

fn common_fields(target: &Destination) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("model".into(), target.model.clone().into());
    fields.insert("stream".into(), true.into());
    if target.capabilities.stream_options {
        let mut stream_options = json!({"include_usage": true});
        if target.capabilities.continuous_usage {
            stream_options["continuous_usage_stats"] = true.into();
        }
        fields.insert("stream_options".into(), stream_options);
    }
    if target.ignore_eos && target.capabilities.ignore_eos {
        fields.insert("ignore_eos".into(), true.into());
    }
    if let Some(temperature) = target.temperature {
        fields.insert("temperature".into(), temperature.into());
    }
    fields.extend(target.extra_body.clone());
    fields.remove(target.capabilities.length_field.name());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::deployment::Secret;

    fn target() -> Destination {
        Destination {
            base_url: "http://127.0.0.1:8000/api/".into(),
            endpoint: Endpoint::Completions,
            model: "m".into(),
            access: Access::with_key(Some(Secret::new("k3y"))),
            ignore_eos: true,
            temperature: Some(0.0),
            extra_body: Map::new(),
            capabilities: Capabilities::default(),
        }
    }

    fn written(target: &Destination, prompt: &Prompt) -> String {
        let authority = Authority::parse(&target.base_url).expect("a URL");
        let headers = [("X-Pin".to_string(), "0,1".to_string())];
        let writer = RequestWriter::new(target, &authority, &headers).expect("a target");
        String::from_utf8(writer.write("tb-1", prompt, 9)).expect("UTF-8").replace(env!("CARGO_PKG_VERSION"), "V")
    }

    #[test]
    fn a_request_is_what_vllm_expects() {
        insta::assert_snapshot!(written(&target(), &Prompt::TokenIds(vec![5, 6])));
        let chat = Destination { endpoint: Endpoint::Chat, access: Access::default(), ..target() };
        insta::assert_snapshot!(written(&chat, &Prompt::user("say \"hi\"".into())));
    }

    #[test]
    fn extra_fields_go_over_ours_but_never_over_the_measurement() {
        let mut target = target();
        target.extra_body = json!({"temperature": 0.7, "top_p": 0.9}).as_object().expect("object").clone();
        let body = written(&target, &Prompt::Text("x".into()));
        assert!(body.contains("\"temperature\":0.7") && body.contains("\"top_p\":0.9"), "{body}");
        assert_eq!(body.matches("temperature").count(), 1);
        let least = json!({"min_tokens": 16, "max_completion_tokens": 16, "top_k": 1});
        target.extra_body = least.as_object().expect("object").clone();
        let body = written(&target.shortened(9), &Prompt::Text("x".into()));
        assert!(
            body.contains("top_k") && !body.contains("min_tokens") && !body.contains("completion_tokens"),
            "{body}"
        );
        target.capabilities.length_field = LengthField::MaxCompletionTokens;
        let body = written(&target, &Prompt::Text("x".into()));
        assert!(body.contains("\"max_completion_tokens\":9") && !body.contains("max_tokens"), "{body}");
    }

    #[test]
    fn a_key_is_neither_printed_nor_able_to_smuggle_headers() {
        let mut target = target();
        assert!(!format!("{target:?}").contains("k3y"));
        target.access.api_key = Some(Secret::new("a\r\nX-Evil: 1"));
        let authority = Authority::parse(&target.base_url).expect("a URL");
        let refused = RequestWriter::new(&target, &authority, &[]).expect_err("refused");
        assert!(matches!(&refused, TargetError::Header { name } if name == "Authorization"));
        assert!(!refused.to_string().contains("Evil"));
    }

    #[test]
    fn base_urls_are_taken_apart() {
        let parsed = |url| Authority::parse(url).map(|a| (a.tls, a.host.clone(), a.port, a.host_header()));
        let v6 = parsed("http://[::1]:81").expect("a URL");
        assert_eq!(v6, (false, "::1".into(), 81, "[::1]:81".into()));
        let tls = parsed("https://example.org").expect("a URL");
        assert_eq!(tls, (true, "example.org".into(), 443, "example.org".into()));
        for bad in ["localhost:8000", "ftp://x", "http://", ""] {
            assert!(matches!(parsed(bad), Err(TargetError::Url { .. })), "{bad}");
        }
    }
}
