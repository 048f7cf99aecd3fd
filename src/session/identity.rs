//! What a server that somebody else runs says it is: its model list and version.

use crate::observe::{http, identity};
use crate::plan::access::Access;
use crate::plan::mask::masked_text;
use crate::tls;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// What an attached server told of itself.
pub(super) struct ServerIdentity {
    /// Whether it listed its models, with the one expected.
    pub(super) told: bool,
    pub(super) version: Option<String>,
    pub(super) max_model_len: Option<u32>,
}

/// Why a server is not the expected one.
pub(super) struct IdentityError {
    pub(super) detail: String,
    pub(super) hint: String,
}

/// Asks `/v1/models` for the model, and `/version` where there is one. Routers may have neither: then nothing is told.
pub(super) async fn identify(url: &str, model: &str, access: &Access) -> Result<ServerIdentity, IdentityError> {
    let client = http::client(PATIENCE, access.insecure).map_err(|e| unreachable(url, &e))?;
    let get = |path: &str| http::get(&client, format!("{}{path}", url.trim_end_matches('/')), access);
    let answer = get("/v1/models").send().await.map_err(|e| unreachable(url, &e))?;
    match answer.status().as_u16() {
        404 | 405 | 501 => return Ok(ServerIdentity { told: false, version: version(get).await, max_model_len: None }),
        401 | 403 => {
            return Err(IdentityError {
                detail: format!("GET /v1/models: HTTP {}", answer.status()),
                hint: "it wants a key or a header: an API key comes from VLLM_API_KEY or OPENAI_API_KEY, others from --header NAME=VALUE or TOPOBENCH_HEADERS".to_string(),
            });
        }
        _ => {}
    }
    let malformed = |detail: String| IdentityError {
        detail: format!("its /v1/models is not a model list: {detail}"),
        hint: "check the URL: it must be the base of an OpenAI-compatible server's".to_string(),
    };
    if answer.status().is_redirection() {
        let target = answer.headers().get("location").and_then(|value| value.to_str().ok());
        // What follows may be a secret, and so may what stands before the host.
        let target = target.map(|target| masked_text(target.split(['?', '#']).next().unwrap_or_default()));
        let target = target.unwrap_or_else(|| "a place that it doesn't tell".to_string());
        return Err(IdentityError {
            detail: format!("GET /v1/models: HTTP {}, to {target}", answer.status()),
            hint: "redirects are not followed: name the server that answers".to_string(),
        });
    }
    if answer.status().is_server_error() {
        return Err(IdentityError {
            detail: format!("GET /v1/models: HTTP {}", answer.status()),
            hint: "something answers there and can't serve, or not yet: look at its log, and try again".to_string(),
        });
    }
    if !answer.status().is_success() {
        return Err(malformed(format!("HTTP {}", answer.status())));
    }
    let page = http::body(answer, http::SMALL).await.map_err(|e| malformed(e.to_string()))?;
    let models = identity::served_models(&page).map_err(|e| malformed(e.to_string()))?;
    let Some(found) = models.iter().find(|m| m.id == model) else {
        let known: Vec<_> = models.iter().take(8).map(|m| m.id.chars().take(100).collect::<String>()).collect();
        return Err(IdentityError {
            detail: match known.is_empty() {
                true => format!("it serves no model, and so not `{model}`"),
                false => format!("it serves {} and not `{model}`", known.join(", ")),
            },
            hint: "give the served name with --served-model-name, or --model".to_string(),
        });
    };
    Ok(ServerIdentity { told: true, version: version(get).await, max_model_len: found.max_model_len })
}

async fn version(get: impl Fn(&str) -> reqwest::RequestBuilder) -> Option<String> {
    let answer = get("/version").send().await.ok().filter(|answer| answer.status().is_success())?;
    let page = http::body(answer, http::SMALL).await.ok()?;
    identity::version(&page)
}

fn unreachable(url: &str, error: &reqwest::Error) -> IdentityError {
    let detail = innermost(error);
    let meaning = tls::in_words(&detail).filter(|_| url.starts_with("https"));
    let hint = match meaning {
        Some(meaning) => meaning.to_string(),
        None if url.starts_with("http:") => {
            "check that the server runs there, and the URL; a server that speaks TLS wants https://".to_string()
        }
        None => "check that the server runs there, and the URL".to_string(),
    };
    // The library's own words are none.
    let detail = if meaning.is_some() { "TLS failed".to_string() } else { detail };
    IdentityError { detail: format!("GET /v1/models: {detail}"), hint }
}

/// The cause that the others wrap: `connection refused` says more than `error sending request`.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
