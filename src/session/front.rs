//! The proxy in front of a deployment.

use super::error::SessionError;
use crate::observe::fleet::EngineTarget;
use crate::plan::ArmPlan;
use crate::plan::connector::{self, KvDirection};
use crate::plan::deployment::Deployment;
use crate::plan::topology::{ProxyPolicies, Role};
use crate::tls;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use topobench_proxy::{BackendUrl, Dispatch, Policy, Proxy, ProxyConfig, ProxyHandle, Routes};

/// Where the load goes.
pub(super) struct Front {
    pub(super) base_url: String,
    pub(super) proxy: Option<ProxyHandle>,
}

/// The proxy where the arm needs one: for prefill and decode, for several replicas, or because it was asked for.
pub(super) fn front(arm: &ArmPlan, engines: &[EngineTarget], policies: &ProxyPolicies) -> Result<Front, SessionError> {
    if let [only] = engines
        && !arm.through_proxy
    {
        return Ok(Front { base_url: only.base_url.clone(), proxy: None });
    }
    let failed = |detail: String| SessionError::Proxy { arm: arm.label.clone(), detail };
    let urls = |role: Role| {
        let of_role = engines.iter().filter(move |e| e.role == role);
        of_role
            .map(|e| e.base_url.parse::<BackendUrl>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| failed(e.to_string()))
    };
    let policy = |name: &str| name.parse::<Policy>().map_err(|e| failed(e.to_string()));
    let routes = if engines.iter().any(|e| e.role == Role::Decode) {
        Routes::PrefillDecode {
            prefill: urls(Role::Prefill)?,
            decode: urls(Role::Decode)?,
            prefill_policy: policy(&policies.prefill_policy)?,
            decode_policy: policy(&policies.decode_policy)?,
            dispatch: dispatch(&arm.deployment),
        }
    } else {
        Routes::Balance { backends: urls(Role::Replica)?, policy: policy(&policies.decode_policy)? }
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = ProxyConfig::new(listen, routes);
    if engines.iter().any(|e| e.base_url.starts_with("https:")) {
        let insecure = engines.iter().any(|e| e.access.insecure);
        config.tls = Some(Arc::new(tls::client_config(insecure).map_err(|e| failed(e.to_string()))?));
    }
    let proxy = Proxy::spawn(config).map_err(|e| failed(e.to_string()))?;
    Ok(Front { base_url: format!("http://{}", proxy.addr()), proxy: Some(proxy) })
}

/// Engines of ours have the connector that the plan names; others say themselves what they do.
fn dispatch(deployment: &Deployment) -> Dispatch {
    let kv = match deployment {
        Deployment::Spawn(fleet) => fleet.kv.as_ref(),
        Deployment::Attach(_) => None,
    };
    match kv.map(connector::direction) {
        Some(Ok(KvDirection::Push)) => Dispatch::Together,
        Some(Ok(KvDirection::Pull)) => Dispatch::InTurn,
        Some(Err(_)) | None => Dispatch::AsTold,
    }
}
