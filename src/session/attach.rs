//! Servers that somebody else runs: found out about, and from then on engines like others.

use super::error::SessionError;
use super::events::{EventSink, SessionEvent};
use super::identity::identify;
use crate::observe::fleet::{EngineSnapshot, EngineTarget};
use crate::observe::scrape::{self, Scraper};
use crate::plan::access::Access;
use crate::plan::deployment::{AttachPlan, AttachedServers};
use crate::plan::topology::Role;
use crate::record::manifest::InstanceRecord;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was found.
pub(super) struct Attached {
    pub(super) engines: Vec<EngineTarget>,
    pub(super) scraper: Scraper,
    /// Of the servers, then of engines that are only watched.
    pub(super) records: Vec<InstanceRecord>,
}

/// Asks every server who it is, and reads its metrics once.
pub(super) async fn attach(arm: &str, plan: &AttachPlan, events: &EventSink) -> Result<Attached, SessionError> {
    let mut found = servers(arm, plan, events).await?;
    let first = found.scraper.snapshot().await.engines;
    if plan.metrics.is_empty() {
        for ((record, engine), snapshot) in found.records.iter_mut().zip(&mut found.engines).zip(first) {
            record.process_started = snapshot.process_started();
            // What is one server of a router's is nothing that a header reaches.
            if engine.role != Role::Replica {
                engine.ranks = snapshot.data_parallel_ranks().max(1);
            }
        }
        return Ok(found);
    }
    if found.scraper.is_by_ray() {
        let text = format!(
            "{arm}: the counters come through Ray, which makes up the sums of histograms from their buckets: they are left out, \
             and with them times in queues and what hand-overs took"
        );
        events(SessionEvent::Warning { text });
    }
    for engine in first {
        found.records.push(watched(arm, engine, events)?);
    }
    Ok(found)
}

async fn servers(arm: &str, plan: &AttachPlan, events: &EventSink) -> Result<Attached, SessionError> {
    let urls: Vec<(Role, &String)> = match &plan.servers {
        AttachedServers::Endpoint { url, .. } => vec![(Role::Replica, url)],
        AttachedServers::PrefillDecode { prefill, decode } => {
            let prefill = prefill.iter().map(|u| (Role::Prefill, u));
            prefill.chain(decode.iter().map(|u| (Role::Decode, u))).collect()
        }
    };
    let mut engines = Vec::new();
    let mut records = Vec::new();
    let mut counts = BTreeMap::<Role, u32>::new();
    for (role, url) in urls {
        let count = counts.entry(role).or_default();
        let name = format!("{}-{count}", role.name());
        *count += 1;
        let found = identify(url, &plan.model, &plan.access).await.map_err(|e| SessionError::Identity {
            arm: arm.to_string(),
            url: url.clone(),
            detail: e.detail,
            hint: e.hint,
        })?;
        if !found.told {
            let model = &plan.model;
            let text = format!(
                "{name} ({url}) lists no models: that it serves `{model}` is not told, only its answers are seen"
            );
            events(SessionEvent::Warning { text });
        }
        records.push(InstanceRecord {
            name: name.clone(),
            url: url.clone(),
            identity: (!found.told).then(|| "not told".to_string()),
            engine_version: found.version,
            max_model_len: found.max_model_len,
            ..InstanceRecord::default()
        });
        engines.push(EngineTarget { name, role, base_url: url.clone(), ranks: 1, access: plan.access.clone() });
    }
    let scraper = if plan.metrics.is_empty() {
        Scraper::new(engines.clone())
    } else {
        let lag = plan.metrics_lag.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        Scraper::watching(&plan.metrics, &of_metrics(&plan.access), lag)
    };
    Ok(Attached { engines, scraper: scraper.map_err(no_client)?, records })
}

/// The key is for the server that serves the model, and for nobody else.
fn of_metrics(access: &Access) -> Access {
    Access { api_key: None, ..access.clone() }
}

pub(super) fn no_client(error: reqwest::Error) -> SessionError {
    SessionError::System { what: "make the client for engine metrics", source: std::io::Error::other(error) }
}

/// An engine whose counters were asked for and can't be read would only be missed when everything is measured.
fn watched(arm: &str, engine: EngineSnapshot, events: &EventSink) -> Result<InstanceRecord, SessionError> {
    let process_started = engine.process_started();
    match engine.metrics {
        Err(error) if scrape::is_without_counters(&error) => {
            let text = format!("{arm}: {error}; some engines have none before their first request");
            events(SessionEvent::Warning { text });
        }
        Err(error) => {
            return Err(SessionError::Metrics { arm: arm.to_string(), url: error.url, detail: error.detail });
        }
        Ok(_) => {}
    }
    Ok(InstanceRecord { name: engine.name, process_started, watched: true, ..InstanceRecord::default() })
}
