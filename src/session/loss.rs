//! What can befall an engine while it is measured, as facts: no behaviour here.

use crate::launch::{Death, ExitStatus};
use crate::observe::fleet::EngineTarget;
use crate::plan::topology::Role;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Requests may fail an instant before their engine's death is reported.
pub(super) const DEATH_NOTICE: Duration = Duration::from_millis(500);

/// An engine on which nothing more can be measured.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) instance: String,
    /// `ended (exit code 1): ..`, `ended on n2 (..)`, `gives no token: ..`.
    pub(super) how: String,
    /// What tells more; `None`: the instance's own.
    pub(super) log: Option<PathBuf>,
    /// Its process had ended, which has been reported already.
    pub(super) ended: bool,
}

impl From<&Death> for Loss {
    fn from(death: &Death) -> Self {
        let ended = how_it_ended(death.node.as_deref(), death.status);
        let how = match &death.cause {
            Some(cause) => format!("{ended}: {}", cause.kind.what()),
            None => ended,
        };
        Loss { instance: death.instance.clone(), how, log: Some(death.log.clone()), ended: true }
    }
}

/// `node`: of an instance over several, where it ended first.
pub(super) fn how_it_ended(node: Option<&str>, status: ExitStatus) -> String {
    let place = node.map(|node| format!(" on {node}")).unwrap_or_default();
    format!("ended{place} ({status})")
}

/// An engine's index among those of its role, as the proxy counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BackendIndex {
    pub(super) role: Role,
    pub(super) index: u32,
}

impl BackendIndex {
    pub(super) fn find(engines: &[EngineTarget], instance: &str) -> Option<BackendIndex> {
        let role = engines.iter().find(|e| e.name == instance)?.role;
        let index = engines.iter().filter(|e| e.role == role).position(|e| e.name == instance)?;
        Some(BackendIndex { role, index: u32::try_from(index).ok()? })
    }
}

/// Why a point was aborted, as far as its requests are concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Abort {
    Died {
        instance: String,
        backend: Option<BackendIndex>,
    },
    /// No token came from any engine for this long.
    Silence {
        secs: f64,
    },
}

/// Set once when the load is over: `None` if nothing aborted it. Until then it is not known.
pub(super) type AbortCell = Arc<OnceLock<Option<Abort>>>;

/// What befell the fleet while a point ran.
#[derive(Debug, Clone)]
pub(super) enum Incident {
    Died(Death),
    Silence { secs: f64, in_flight: u32 },
}

impl Incident {
    pub(super) fn why(&self) -> String {
        match self {
            Incident::Died(death) => format!("{} {}", death.instance, Loss::from(death).how),
            Incident::Silence { secs, in_flight } => {
                format!("not one token for {secs:.1} s while {in_flight} requests were in flight")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::access::Access;

    #[test]
    fn engines_are_counted_within_their_role() {
        let engine = |name: &str, role| EngineTarget {
            name: name.to_string(),
            role,
            base_url: String::new(),
            ranks: 1,
            access: Access::default(),
        };
        let engines =
            [engine("prefill-0", Role::Prefill), engine("decode-0", Role::Decode), engine("decode-1", Role::Decode)];
        let find = |name| BackendIndex::find(&engines, name);
        assert_eq!(find("decode-1"), Some(BackendIndex { role: Role::Decode, index: 1 }));
        assert_eq!(find("prefill-0"), Some(BackendIndex { role: Role::Prefill, index: 0 }));
        assert_eq!(find("decode-7"), None);
    }
}
