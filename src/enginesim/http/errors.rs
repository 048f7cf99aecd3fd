//! Errors in the bodies that vLLM 0.32 was seen to answer.

use hyper::StatusCode;
use serde::Serialize;

/// An error response of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub param: Option<String>,
    pub message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
}

impl ApiError {
    pub(super) fn bad_request(param: &str, message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", param: Some(param.to_owned()), message }
    }

    pub(super) fn unknown_model(model: &str, served: &[String]) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundError",
            param: Some("model".to_owned()),
            message: format!("The model `{model}` does not exist. Valid aliases: {}.", served.join(", ")),
        }
    }

    /// A body that is not JSON, or not the JSON of a request.
    pub(super) fn validation(error: &serde_json::Error) -> Self {
        let place = format!("body.{}", error.column().saturating_sub(1));
        let kind = if error.is_data() { "value_error" } else { "json_invalid" };
        let what = if error.is_data() { "Invalid request" } else { "JSON decode error" };
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "Bad Request",
            message: format!(
                "1 validation error:\n  {{'type': '{kind}', 'loc': '{place}', 'msg': '{what}', 'input': '<dict of 0 items>', 'ctx': {{'error': '{error}'}}}}"
            ),
            param: Some(place),
        }
    }

    /// The engine could not finish.
    pub(super) fn internal(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "InternalServerError", param: None, message }
    }

    /// Refused at the door; asked for by a fault.
    pub(super) fn injected(status: StatusCode) -> Self {
        Self {
            status,
            kind: "InjectedError",
            param: None,
            message: format!("injected by --sim-fault status={}", status.as_u16()),
        }
    }

    pub(super) fn body(&self) -> String {
        let error = Inner {
            message: &self.message,
            r#type: self.kind,
            param: self.param.as_deref(),
            code: self.status.as_u16(),
        };
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_string(&Envelope { error }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_model_is_answered_as_recorded() {
        let error = ApiError::unknown_model("nope", &["tiny".to_owned()]);
        assert_eq!(
            error.body(),
            r#"{"error":{"message":"The model `nope` does not exist. Valid aliases: tiny.","type":"NotFoundError","param":"model","code":404}}"#
        );
    }
}
