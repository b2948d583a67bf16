//! What a deployment's instances reach through the host, and whom they do it for.

use crate::egress::Egress;
use crate::log::{Log, Stream, one_line};
use crate::manifest::{Allow, Folder};
use crate::usage::Usage;
use micro_mesh::broker::{Broker, Delivered};
use micro_mesh::call::RequestId;
use micro_mesh::{Client, HeaderMap, Outbox, Store, Trace};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// How many calls may be inside of each other, guest calling guest: more is a loop.
pub const MAX_DEPTH: u8 = 16;

/// What all instances of a revision have in common.
#[derive(Clone)]
pub struct Access {
    /// The deployment, as callees and stores know it.
    pub service: Arc<str>,
    /// The way to other services, when there is one.
    pub client: Option<Client>,
    /// Where stores are kept, when there is a place.
    pub store: Option<Arc<dyn Store>>,
    /// Where messages are published, when there is a place.
    pub broker: Option<Arc<dyn Broker>>,
    /// The way to both in one step, when there are both.
    pub outbox: Option<Arc<Outbox>>,
    /// What the manifest lets it reach.
    pub allow: Allow,
    /// Imported interfaces, and the deployments that give them.
    pub imports: HashMap<Arc<str>, String>,
    /// Command line arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// What the manifest asks of the host and the host gives.
    pub granted: Granted,
    /// Takes what it writes.
    pub log: Arc<dyn Log>,
    /// Counts what it uses.
    pub usage: Arc<Usage>,
}

/// What the host gives a revision because its manifest asks for it. Secrets are in it: nothing prints it.
#[derive(Clone, Default)]
pub struct Granted {
    /// The way out.
    pub egress: Arc<Egress>,
    /// What it reads by `wasi:config`, secrets among it.
    pub config: Vec<(String, String)>,
    /// Folders that it may read.
    pub files: Vec<Folder>,
    /// How often it asked for something that is not allowed.
    pub denied: Arc<AtomicU64>,
}

impl Access {
    /// Nothing but a log.
    pub fn to_log(service: &str, log: Arc<dyn Log>) -> Access {
        Access {
            service: service.into(),
            client: None,
            store: None,
            broker: None,
            outbox: None,
            allow: Allow::default(),
            imports: HashMap::new(),
            args: Vec::new(),
            env: Vec::new(),
            granted: Granted::default(),
            log,
            usage: Arc::new(Usage::alone()),
        }
    }

    /// Counts something that was asked for and is not allowed, and says so in the log.
    pub(crate) fn deny(&self, request: RequestId, denial: &impl ToString) {
        self.count_denied();
        self.log.line(request, Stream::Host, &one_line(&denial.to_string()));
    }

    /// Counts something that was asked for and is not allowed, where the guest itself is told the reason.
    pub(crate) fn count_denied(&self) {
        self.granted.denied.fetch_add(1, Ordering::Relaxed);
    }
}

/// The call that an instance works for. What it calls in turn is done in this name and within this time.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Ties the log lines of everything together that one request set off.
    pub id: RequestId,
    /// Where the call stands in a trace, whose id is `id`, if somebody keeps one.
    pub trace: Option<Trace>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// How many guests stand between the door and this one.
    pub depth: u8,
    /// What travels on with calls to others.
    pub header: Option<Arc<HeaderMap>>,
    /// The message that the call is about.
    pub delivery: Option<Arc<Delivered>>,
}

impl Scope {
    /// Work of the host itself, such as a question for health.
    pub(crate) fn idle() -> Scope {
        Scope::new(RequestId::next())
    }

    /// Work that nobody asked for from outside.
    pub fn new(id: RequestId) -> Scope {
        Scope { id, trace: None, deadline: None, depth: 0, header: None, delivery: None }
    }
}
