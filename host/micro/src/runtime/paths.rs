//! `[[route]]` and `host`: HTTP paths and host names that lead to endpoints and handlers, whatever go-micro's rules would make
//! of them.

use http::Method;
use matchit::Router;
use micro_engine::Manifest;
use micro_engine::manifest::Route;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// All paths and host names of all deployments.
#[derive(Default)]
pub struct Paths {
    any: Patterns,
    hosts: HashMap<String, Host>,
    /// The deployments that have paths or host names, or asked for some.
    services: HashSet<Arc<str>>,
}

/// What a host name leads to.
#[derive(Default)]
struct Host {
    patterns: Patterns,
    /// The deployment whose handler gets the rest.
    owner: Option<Arc<str>>,
}

#[derive(Default)]
struct Patterns {
    router: Router<Vec<Leaf>>,
    is_empty: bool,
}

/// Where a pattern leads for one method, or for all.
#[derive(Debug, Clone)]
struct Leaf {
    method: Option<Method>,
    service: Arc<str>,
    /// None leads to the handler.
    endpoint: Option<Arc<str>>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The deployment.
    pub service: Arc<str>,
    /// What of it.
    pub leads: Leads,
}

/// What of a deployment a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Leads {
    /// An endpoint, and what stands in the path for the pattern's names.
    Endpoint {
        /// Its name.
        endpoint: Arc<str>,
        /// What the path says.
        fields: Vec<(String, String)>,
    },
    /// The HTTP handler.
    Handler,
}

/// The query string together with the fields of the path, which go before it.
pub fn query_with(fields: &[(String, String)], query: Option<&str>) -> String {
    let mut all = form_urlencoded::Serializer::new(String::new());
    all.extend_pairs(fields);
    let all = all.finish();
    match query {
        Some(query) if !query.is_empty() => format!("{all}&{query}"),
        _ => all,
    }
}

/// The methods by which the gateway makes calls.
const CALLED: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What a deployment asks for.
pub struct Claims<'d> {
    name: &'d Arc<str>,
    hosts: &'d [String],
    routes: &'d [Route],
}

impl<'d> Claims<'d> {
    /// What its manifest asks for.
    pub fn new(name: &'d Arc<str>, manifest: &'d Manifest) -> Claims<'d> {
        Claims { name, hosts: &manifest.host, routes: &manifest.route }
    }
}

impl Paths {
    /// The paths of these deployments. Where two of them claim the same, the first by name has it.
    pub fn of<'d>(claims: impl Iterator<Item = Claims<'d>>) -> (Paths, Vec<String>) {
        let mut problems = Vec::new();
        let mut drafts: HashMap<String, Draft<'d>> = HashMap::new();
        let mut owners: HashMap<String, Arc<str>> = HashMap::new();
        let mut services = HashSet::new();
        for Claims { name, hosts, routes } in claims {
            if !routes.is_empty() || !hosts.is_empty() {
                services.insert(name.clone());
            }
            for host in hosts {
                let host = host.to_ascii_lowercase();
                match owners.get(&host).filter(|owner| *owner != name) {
                    Some(owner) => problems.push(format!("{name}: host {host} is taken by {owner}")),
                    None => drop(owners.insert(host, name.clone())),
                }
            }
            for route in routes {
                let host = route.host.as_deref().unwrap_or_default().to_ascii_lowercase();
                let draft = drafts.entry(host).or_default();
                if let Err(problem) = draft.add(name, route) {
                    problems.push(problem);
                }
            }
        }
        let any = drafts.remove("").map_or_else(Patterns::none, |draft| draft.finish(&mut problems));
        let mut hosts: HashMap<String, Host> = HashMap::new();
        for (host, owner) in owners {
            hosts.insert(host, Host { patterns: Patterns::none(), owner: Some(owner) });
        }
        for (host, draft) in drafts {
            hosts.entry(host).or_default().patterns = draft.finish(&mut problems);
        }
        (Paths { any, hosts, services }, problems)
    }

    /// Where a request leads, if a pattern or a host name says so.
    pub fn find(&self, host: Option<&str>, method: &Method, path: &str) -> Option<Found> {
        if let Some(host) = host.and_then(|host| self.host(host)) {
            let owned = || host.owner.clone().map(|service| Found { service, leads: Leads::Handler });
            if let Some(found) = host.patterns.find(method, path).or_else(owned) {
                return Some(found);
            }
        }
        self.any.find(method, path)
    }

    /// Whether a host name belongs to a deployment, the gateway's own pages on it included.
    pub fn is_owned(&self, host: &str) -> bool {
        self.host(host).is_some_and(|host| host.owner.is_some())
    }

    /// Whether there is any host name that leads somewhere.
    pub fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// What a host name leads to: `shop.example.com`, or else `*.example.com`.
    fn host(&self, host: &str) -> Option<&Host> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        let wildcard = || self.hosts.get(&format!("*.{}", host.split_once('.')?.1));
        self.hosts.get(&*host).or_else(wildcard)
    }
}

/// The patterns of one host, while they are collected.
#[derive(Default)]
struct Draft<'d> {
    leaves: HashMap<&'d str, Vec<Leaf>>,
    patterns: Vec<&'d str>,
}

impl<'d> Draft<'d> {
    fn add(&mut self, service: &Arc<str>, route: &'d Route) -> Result<(), String> {
        let endpoint = Some(route.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
        let path = &route.path;
        let method = match &route.method {
            None => None,
            Some(text) if endpoint.is_some() => {
                let called = CALLED.iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
                Some(called.cloned().ok_or_else(|| {
                    format!("{service}: route {path}: nothing is called by {text}: use GET, POST, PUT, PATCH or DELETE")
                })?)
            }
            // A handler takes whatever there is.
            Some(text) => {
                let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes());
                Some(method.map_err(|_| format!("{service}: route {path}: {text:?} is no method"))?)
            }
        };
        let leaves = self.leaves.entry(path).or_insert_with(|| {
            self.patterns.push(path);
            Vec::new()
        });
        if let Some(leaf) = leaves.iter().find(|leaf| leaf.method == method && leaf.service != *service) {
            return Err(format!("{service}: route {path} is taken by {}", leaf.service));
        }
        leaves.push(Leaf { method, service: service.clone(), endpoint: endpoint.map(Into::into) });
        Ok(())
    }

    fn finish(mut self, problems: &mut Vec<String>) -> Patterns {
        let mut router = Router::new();
        for pattern in &self.patterns {
            let leaves = self.leaves.remove(pattern).unwrap_or_default();
            let owner = leaves.first().map(|leaf| leaf.service.clone()).unwrap_or_default();
            if let Err(error) = router.insert(*pattern, leaves) {
                problems.push(format!("{owner}: route {pattern}: {error}"));
            }
        }
        Patterns { router, is_empty: self.patterns.is_empty() }
    }
}

impl Patterns {
    fn none() -> Patterns {
        Patterns { is_empty: true, ..Patterns::default() }
    }

    fn find(&self, method: &Method, path: &str) -> Option<Found> {
        if self.is_empty {
            return None;
        }
        let matched = self.router.at(path).ok()?;
        let exact = matched.value.iter().find(|leaf| leaf.method.as_ref() == Some(method));
        let leaf = exact.or_else(|| matched.value.iter().find(|leaf| leaf.method.is_none()))?;
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let leads = match &leaf.endpoint {
            None => Leads::Handler,
            Some(endpoint) => {
                let fields = matched.params.iter().map(|(name, value)| (name.to_string(), decode(value)));
                Leads::Endpoint { endpoint: endpoint.clone(), fields: fields.collect() }
            }
        };
        Some(Found { service: leaf.service.clone(), leads })
    }
}

impl super::Runtime {
    /// The paths and host names that manifests claim.
    pub fn paths(&self) -> arc_swap::Guard<Arc<Paths>> {
        self.paths.load()
    }

    /// Takes the paths anew after a change of one deployment. Most have none, and then nothing is done.
    pub(super) fn refresh_paths_of(&self, name: &str) {
        let has = self.deployment(name).is_some_and(|deployment| has_paths(&deployment.current()));
        if has || self.paths.load().services.contains(name) {
            self.refresh_paths();
        }
    }

    /// Takes the paths of all current revisions anew.
    pub(super) fn refresh_paths(&self) {
        // Two names that change at once both look again until none has overtaken the other.
        self.paths.rcu(|_| {
            let current = self.with_paths();
            let (paths, problems) =
                Paths::of(current.iter().map(|(name, revision)| Claims::new(name, &revision.manifest)));
            for problem in problems {
                tracing::warn!("{problem}");
            }
            paths
        });
    }

    /// Says why a deployment cannot have the paths and host names that it asks for, if so.
    pub(super) fn check_paths(&self, name: &str, manifest: &Manifest) -> Result<(), String> {
        if manifest.route.is_empty() && manifest.host.is_empty() {
            return Ok(());
        }
        let name: Arc<str> = name.into();
        let mut others = self.with_paths();
        others.retain(|(other, _)| *other != name);
        let others = others.iter().map(|(name, revision)| Claims::new(name, &revision.manifest));
        let (_, problems) = Paths::of(others.chain([Claims::new(&name, manifest)]));
        match problems.into_iter().find(|problem| problem.starts_with(&format!("{name}: "))) {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    /// The current revisions that have paths, by the names of their deployments.
    fn with_paths(&self) -> Vec<(Arc<str>, Arc<super::Revision>)> {
        let routes = self.routes.load();
        let current = routes.values().map(|deployment| (deployment.name.clone(), deployment.current()));
        let mut all: Vec<_> = current.filter(|(_, revision)| has_paths(revision)).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

fn has_paths(revision: &super::Revision) -> bool {
    !revision.manifest.route.is_empty() || !revision.manifest.host.is_empty()
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
