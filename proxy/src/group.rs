//! The backends of one role: their load, their passive health, and the guard that keeps the load true.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::config::BackendUrl;
use crate::fault::{Fault, FaultKind, Refusal, Stage};
use crate::identity::Identity;
use crate::load::{Asked, Load};
use crate::policy::{Chooser, Policy};

/// One backend and what the proxy knows of it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) stage: Stage,
    /// Index within its role.
    pub(crate) index: usize,
    /// Number among all backends of the proxy.
    pub(crate) slot: usize,
    pub(crate) url: BackendUrl,
    pub(crate) authority: String,
    requests: AtomicUsize,
    tokens: AtomicU64,
    total: AtomicU64,
    refused_until: Mutex<Option<Instant>>,
    /// Who this prefill instance is to decode instances, if it pushes and has told.
    identity: Mutex<Option<Identity>>,
}

impl Backend {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Requests ever sent its way.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// It refused a connection: skip it for a while.
    pub(crate) fn mark_refusing(&self, cooldown: Duration) {
        *self.refused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + cooldown);
    }

    pub(crate) fn mark_accepting(&self) {
        *self.refused_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn remember(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    fn is_available(&self) -> bool {
        let mut until = self.refused_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| until <= Instant::now()) {
            *until = None;
        }
        until.is_none()
    }

    fn load(&self) -> Load {
        Load { available: self.is_available(), requests: self.requests(), tokens: self.tokens() }
    }

    pub(crate) fn fault(&self, kind: FaultKind, detail: &dyn fmt::Display) -> Fault {
        Fault { stage: self.stage, kind, backend: format!("{} ({})", self.index, self.url), detail: detail.to_string() }
    }
}

/// The backends of one role and the policy that chooses among them.
#[derive(Debug)]
pub(crate) struct Group {
    stage: Stage,
    backends: Vec<Arc<Backend>>,
    policy: Policy,
    chooser: Mutex<Chooser>,
}

impl Group {
    /// `first_slot`: the number of the first of these backends among all of the proxy.
    pub(crate) fn new(stage: Stage, urls: Vec<BackendUrl>, policy: Policy, first_slot: usize) -> Self {
        let chooser = Mutex::new(Chooser::new(policy, urls.len()));
        let backends = urls
            .into_iter()
            .enumerate()
            .map(|(index, url)| {
                Arc::new(Backend {
                    stage,
                    index,
                    slot: first_slot + index,
                    authority: url.authority(),
                    url,
                    requests: AtomicUsize::new(0),
                    tokens: AtomicU64::new(0),
                    total: AtomicU64::new(0),
                    refused_until: Mutex::new(None),
                    identity: Mutex::new(None),
                })
            })
            .collect();
        Group { stage, backends, policy, chooser }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Checks that a pinned index exists.
    pub(crate) fn check_pin(&self, pin: Option<usize>) -> Result<(), Refusal> {
        match pin {
            Some(index) if index >= self.backends.len() => Err(Refusal::BadRequest {
                param: None,
                message: format!(
                    "there is no {} backend {index}: pin one of 0 to {}",
                    self.stage.name(),
                    self.backends.len() - 1
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Fails if every backend refused connections a moment ago.
    pub(crate) fn check_available(&self) -> Result<(), Fault> {
        if self.backends.iter().any(|backend| backend.is_available()) { Ok(()) } else { Err(self.none_available()) }
    }

    /// Chooses a backend and charges it with the request's prompt tokens. A pinned one is taken as it is.
    pub(crate) fn assign(&self, asked: Asked<'_>, pin: Option<usize>) -> Result<Assignment, Fault> {
        let wanted = self.policy.look_at(asked);
        // Held until the choice is charged, so that two threads do not both find the same backend idle.
        let mut chooser = self.chooser.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match pin.filter(|&index| index < self.backends.len()) {
            Some(index) => index,
            None => {
                let loads: Vec<Load> = self.backends.iter().map(|backend| backend.load()).collect();
                chooser
                    .choose(&loads, wanted, |below| rand::rng().random_range(0..below))
                    .ok_or_else(|| self.none_available())?
            }
        };
        let backend = Arc::clone(&self.backends[index]);
        backend.requests.fetch_add(1, Ordering::Relaxed);
        backend.tokens.fetch_add(asked.tokens, Ordering::Relaxed);
        backend.total.fetch_add(1, Ordering::Relaxed);
        Ok(Assignment { backend, tokens: asked.tokens })
    }

    fn none_available(&self) -> Fault {
        let urls: Vec<String> = self.backends.iter().map(|backend| backend.url.to_string()).collect();
        Fault {
            stage: self.stage,
            kind: FaultKind::NoBackend,
            backend: urls.join(", "),
            detail: "every one refused a connection a moment ago; see /health".to_owned(),
        }
    }
}

/// A backend with one request in flight; dropping it takes the request off its load.
#[derive(Debug)]
pub(crate) struct Assignment {
    backend: Arc<Backend>,
    tokens: u64,
}

impl Assignment {
    /// The backend, for longer than it is charged.
    pub(crate) fn shared(&self) -> Arc<Backend> {
        Arc::clone(&self.backend)
    }
}

impl std::ops::Deref for Assignment {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.backend.requests.fetch_sub(1, Ordering::Relaxed);
        self.backend.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}
