//! vLLM's KV connectors as topobench can serve them: which way the KV goes, and with that when decode gets its request.

use super::topology::KvTransfer;
use serde_json::Value;

/// Which way a connector moves KV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDirection {
    /// Decode reads what prefill computed, inside its own steps: one stage after the other.
    Pull,
    /// Prefill writes into blocks that decode named, from a thread of its own: both stages begin together.
    Push,
}

/// Connectors with others inside.
pub const MULTI: &str = "MultiConnector";

/// Where a MultiConnector's own are listed.
const INSIDE: &str = "connectors";

/// Connectors whose requests hold what the proxy doesn't send, and what that is.
const OTHER_PROTOCOLS: [(&str, &str); 3] = [
    ("mooncake", "its requests carry a transfer_id and the address of a bootstrap server"),
    ("lmcache", "its instances find KV in a store of their own"),
    ("p2pnccl", "its request ids carry the addresses of both instances"),
];

/// Which way the KV goes.
///
/// # Errors
/// In words, for connectors that speak another protocol.
pub fn direction(kv: &KvTransfer) -> Result<KvDirection, String> {
    if kv.connector != MULTI {
        return of_name(&kv.connector);
    }
    let inside = kv.extra_config.get(INSIDE).and_then(Value::as_array);
    let names: Vec<&str> =
        inside.into_iter().flatten().filter_map(|c| c.get("kv_connector").and_then(Value::as_str)).collect();
    let mut nixl = names.iter().filter_map(|name| of_name(name).ok());
    match (nixl.next(), nixl.next()) {
        (Some(direction), None) => Ok(direction),
        (Some(_), Some(_)) => Err(format!("{MULTI} has several NIXL connectors inside, and one moves the KV")),
        (None, _) => Err(format!(
            "{MULTI} has no NIXL connector inside (its {INSIDE}: {})",
            if names.is_empty() { "none".to_string() } else { names.join(", ") }
        )),
    }
}

fn of_name(connector: &str) -> Result<KvDirection, String> {
    match connector {
        "NixlConnector" | "NixlPullConnector" => return Ok(KvDirection::Pull),
        "NixlPushConnector" => return Ok(KvDirection::Push),
        _ => {}
    }
    let plain = connector.to_ascii_lowercase();
    let known = OTHER_PROTOCOLS.iter().find(|(name, _)| plain.starts_with(name));
    let why = known.map_or_else(|| "its protocol is not known".to_string(), |(_, why)| (*why).to_string());
    Err(format!("connector {connector}: {why}"))
}

/// What can be had instead of a connector that isn't served.
pub const REMEDY: &str =
    "use NixlConnector (decode pulls), NixlPushConnector (prefill pushes), or MultiConnector around one of them";

/// The options of a connector for one role: connectors inside another take their role from it.
pub fn options_for(kv: &KvTransfer, role: &str) -> serde_json::Map<String, Value> {
    let mut options: serde_json::Map<String, Value> =
        kv.extra_config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if kv.connector == MULTI
        && let Some(inside) = options.get_mut(INSIDE).and_then(Value::as_array_mut)
    {
        for connector in inside.iter_mut().filter_map(Value::as_object_mut) {
            connector.entry("kv_role").or_insert_with(|| role.into());
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kv(connector: &str, inside: Option<Value>) -> KvTransfer {
        let extra_config = inside.into_iter().map(|list| (INSIDE.to_string(), list)).collect();
        KvTransfer { connector: connector.to_string(), extra_config, ..KvTransfer::default() }
    }

    #[test]
    fn the_connector_says_which_way_the_kv_goes() {
        assert_eq!(direction(&KvTransfer::default()), Ok(KvDirection::Pull));
        assert_eq!(direction(&kv("NixlPushConnector", None)), Ok(KvDirection::Push));
        let around = |name: &str| json!([{"kv_connector": name}, {"kv_connector": "OffloadingConnector"}]);
        assert_eq!(direction(&kv(MULTI, Some(around("NixlConnector")))), Ok(KvDirection::Pull));
        assert_eq!(direction(&kv(MULTI, Some(around("NixlPushConnector")))), Ok(KvDirection::Push));
    }

    #[test]
    fn other_protocols_are_refused_by_name() {
        for (connector, inside, word) in [
            ("MooncakeConnector", None, "transfer_id"),
            ("LMCacheConnectorV1", None, "store"),
            ("P2pNcclConnector", None, "request ids"),
            ("NixlConector", None, "NixlConector"),
            (MULTI, None, "none"),
            (MULTI, Some(json!([{"kv_connector": "LMCacheConnectorV1"}])), "LMCacheConnectorV1"),
            (MULTI, Some(json!([{"kv_connector": "NixlConnector"}, {"kv_connector": "NixlPushConnector"}])), "several"),
        ] {
            let refused = direction(&kv(connector, inside)).expect_err(connector);
            assert!(refused.contains(word), "{refused}");
        }
    }

    #[test]
    fn connectors_inside_another_get_its_role_unless_they_have_one() {
        let inside =
            json!([{"kv_connector": "NixlConnector"}, {"kv_connector": "OffloadingConnector", "kv_role": "kv_both"}]);
        let options = options_for(&kv(MULTI, Some(inside)), "kv_producer");
        assert_eq!(options[INSIDE][0]["kv_role"], "kv_producer");
        assert_eq!(options[INSIDE][1]["kv_role"], "kv_both");
    }
}
