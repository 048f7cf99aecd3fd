//! Who a prefill instance is to decode instances, where it pushes the KV: all that decode has to know before the prompt is
//! computed. vLLM's push connector matches the two halves of a request by their `X-Request-Id`.
//!
//! Members are chosen here by name, unlike those of the params that travel untouched: what an answer says of its own
//! request (blocks, token counts, expiry) must not reach the next one.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rewrite::KvParams;

/// A prefill instance's address and shape, as its answers' `kv_transfer_params` tell them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The params of any request that it will push: they hold nothing of the request.
    params: Bytes,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    remote_engine_id: Option<&'a RawValue>,
    #[serde(borrow)]
    remote_host: Option<&'a RawValue>,
    #[serde(borrow)]
    remote_port: Option<&'a RawValue>,
    #[serde(borrow)]
    tp_size: Option<&'a RawValue>,
    #[serde(borrow)]
    dcp_size: Option<&'a RawValue>,
    #[serde(borrow)]
    pp_size: Option<&'a RawValue>,
    #[serde(borrow)]
    transfer_mode: Option<&'a RawValue>,
}

impl Identity {
    /// `None` where the params tell no identity. The other value: whether they say that the instance pushes.
    pub(crate) fn told_by(params: &KvParams) -> Option<(Self, bool)> {
        let told: Told<'_> = serde_json::from_slice(&params.0).ok()?;
        let pushes = told.transfer_mode.is_some_and(|mode| mode.get() == r#""push""#);
        // vLLM reads remote_request_id without asking whether it is there; the instance gives its request an id that
        // nobody knows yet.
        let mut text =
            r#"{"do_remote_prefill":true,"do_remote_decode":false,"remote_request_id":null,"remote_block_ids":[]"#
                .to_owned();
        let needed = [
            ("remote_engine_id", Some(told.remote_engine_id?)),
            ("remote_host", Some(told.remote_host?)),
            ("remote_port", Some(told.remote_port?)),
        ];
        let shape = [
            ("tp_size", told.tp_size),
            ("dcp_size", told.dcp_size),
            ("pp_size", told.pp_size),
            ("transfer_mode", told.transfer_mode),
        ];
        for (name, value) in needed.into_iter().chain(shape) {
            if let Some(value) = value {
                text.push_str(&format!(",\"{name}\":{}", value.get()));
            }
        }
        text.push('}');
        Some((Identity { params: text.into() }, pushes))
    }

    /// What decode is given before the prompt is computed.
    pub(crate) fn params(&self) -> KvParams {
        KvParams(self.params.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(params: &'static str) -> Option<(Identity, bool)> {
        Identity::told_by(&KvParams(Bytes::from_static(params.as_bytes())))
    }

    #[test]
    fn what_an_answer_says_of_its_own_request_is_left_behind() {
        let params = r#"{"do_remote_prefill":true,"do_remote_decode":false,"remote_block_ids":[[1,2]],
            "remote_engine_id":"e-1","remote_request_id":"cmpl-a-0-12345678","remote_host":"h","remote_port":5600,
            "tp_size":2,"dcp_size":1,"pp_size":1,"remote_num_tokens":47,"transfer_mode":"push"}"#;
        let (identity, pushes) = told(params).unwrap();
        assert!(pushes);
        let params: serde_json::Value = serde_json::from_slice(&identity.params().0).unwrap();
        let expected = serde_json::json!({
            "do_remote_prefill": true, "do_remote_decode": false, "remote_request_id": null, "remote_block_ids": [],
            "remote_engine_id": "e-1", "remote_host": "h", "remote_port": 5600,
            "tp_size": 2, "dcp_size": 1, "pp_size": 1, "transfer_mode": "push",
        });
        assert_eq!(params, expected);
    }

    #[test]
    fn an_answer_that_names_no_engine_tells_nothing() {
        assert_eq!(told(r#"{"remote_host":"h","remote_port":1}"#), None);
        let pull = r#"{"remote_engine_id":"e","remote_host":"h","remote_port":1,"transfer_mode":"pull"}"#;
        assert!(!told(pull).unwrap().1);
    }
}
