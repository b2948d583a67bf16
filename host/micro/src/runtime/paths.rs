//! `[[route]]`: HTTP paths that lead to endpoints, whatever go-micro's rules would make of them.

use super::deployment::Deployment;
use http::Method;
use matchit::Router;
use micro_engine::manifest::Route;
use std::collections::HashMap;
use std::sync::Arc;

/// All paths of all deployments.
#[derive(Default)]
pub struct Paths {
    patterns: Router<Vec<Leaf>>,
    is_empty: bool,
}

/// Where a pattern leads for one method, or for all.
#[derive(Debug, Clone)]
struct Leaf {
    method: Option<Method>,
    service: Arc<str>,
    endpoint: Arc<str>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The deployment.
    pub service: Arc<str>,
    /// The endpoint.
    pub endpoint: Arc<str>,
    /// What stands in the path for the pattern's names.
    pub fields: Vec<(String, String)>,
}

impl Found {
    /// The query string together with the fields of the path, which go before it.
    pub fn query(&self, query: Option<&str>) -> String {
        let mut all = form_urlencoded::Serializer::new(String::new());
        all.extend_pairs(&self.fields);
        let all = all.finish();
        match query {
            Some(query) if !query.is_empty() => format!("{all}&{query}"),
            _ => all,
        }
    }
}

/// The methods by which the gateway makes calls.
const CALLED: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

impl Paths {
    /// The paths of these deployments. Where two of them claim the same, the first by name has it.
    pub fn of<'d>(deployments: impl Iterator<Item = (&'d Arc<str>, &'d [Route])>) -> (Paths, Vec<String>) {
        let mut by_pattern: HashMap<&str, Vec<Leaf>> = HashMap::new();
        let mut problems = Vec::new();
        let mut patterns: Vec<&str> = Vec::new();
        for (service, routes) in deployments {
            for route in routes {
                let method = match &route.method {
                    None => None,
                    Some(text) => {
                        let called = CALLED.iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
                        if called.is_none() {
                            let path = &route.path;
                            problems.push(format!(
                                "{service}: route {path}: nothing is called by {text}: use GET, POST, PUT, PATCH or DELETE"
                            ));
                            continue;
                        }
                        called.cloned()
                    }
                };
                let leaves = by_pattern.entry(&route.path).or_insert_with(|| {
                    patterns.push(&route.path);
                    Vec::new()
                });
                let taken = leaves.iter().find(|leaf| leaf.method == method && leaf.service != *service);
                match taken {
                    Some(leaf) => {
                        problems.push(format!("{service}: route {} is taken by {}", route.path, leaf.service));
                    }
                    None => {
                        leaves.push(Leaf {
                            method,
                            service: service.clone(),
                            endpoint: route.endpoint.as_str().into(),
                        });
                    }
                }
            }
        }
        let mut router = Router::new();
        for pattern in &patterns {
            let leaves = by_pattern.remove(pattern).unwrap_or_default();
            let owner = leaves.first().map(|leaf| leaf.service.clone()).unwrap_or_default();
            if let Err(error) = router.insert(*pattern, leaves) {
                problems.push(format!("{owner}: route {pattern}: {error}"));
            }
        }
        (Paths { patterns: router, is_empty: patterns.is_empty() }, problems)
    }

    /// Where a request leads, if a pattern says so.
    pub fn find(&self, method: &Method, path: &str) -> Option<Found> {
        if self.is_empty {
            return None;
        }
        let matched = self.patterns.at(path).ok()?;
        let exact = matched.value.iter().find(|leaf| leaf.method.as_ref() == Some(method));
        let leaf = exact.or_else(|| matched.value.iter().find(|leaf| leaf.method.is_none()))?;
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let fields = matched.params.iter().map(|(name, value)| (name.to_string(), decode(value)));
        Some(Found { service: leaf.service.clone(), endpoint: leaf.endpoint.clone(), fields: fields.collect() })
    }
}

impl super::Runtime {
    /// The paths that manifests give to endpoints.
    pub fn paths(&self) -> arc_swap::Guard<Arc<Paths>> {
        self.paths.load()
    }

    /// Takes the paths of all current revisions anew.
    pub(super) fn refresh_paths(&self) {
        // Two names that change at once both look again until none has overtaken the other.
        self.paths.rcu(|_| {
            let all = self.deployments().into_iter();
            let current: Vec<_> = all.map(|deployment| (deployment.name.clone(), deployment.current())).collect();
            let (paths, problems) =
                Paths::of(current.iter().map(|(name, revision)| (name, revision.manifest.route.as_slice())));
            for problem in problems {
                tracing::warn!("{problem}");
            }
            paths
        });
    }

    /// Says why a deployment cannot have the paths that it asks for, if so.
    pub(super) fn check_paths(&self, name: &str, routes: &[Route]) -> Result<(), String> {
        if routes.is_empty() {
            return Ok(());
        }
        let name: Arc<str> = name.into();
        let others: Vec<(Arc<str>, Arc<super::Revision>)> = self
            .deployments()
            .into_iter()
            .filter(|deployment: &Arc<Deployment>| deployment.name != name)
            .map(|deployment| (deployment.name.clone(), deployment.current()))
            .collect();
        let others = others.iter().map(|(name, revision)| (name, revision.manifest.route.as_slice()));
        let (_, problems) = Paths::of(others.chain([(&name, routes)]));
        match problems.into_iter().find(|problem| problem.starts_with(&format!("{name}: "))) {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Option<&str>, path: &str, endpoint: &str) -> Route {
        Route { method: method.map(str::to_string), path: path.into(), endpoint: endpoint.into() }
    }

    #[test]
    fn a_path_leads_to_the_endpoint_of_its_method_with_its_fields() {
        let name: Arc<str> = "shortener".into();
        let routes = [route(Some("GET"), "/s/{code}", "Shortener.Follow"), route(None, "/v1/{*rest}", "Shortener.Any")];
        let (paths, problems) = Paths::of([(&name, &routes[..])].into_iter());
        assert!(problems.is_empty(), "{problems:?}");
        let found = paths.find(&Method::GET, "/s/a%20b").unwrap();
        assert_eq!((&*found.service, &*found.endpoint), ("shortener", "Shortener.Follow"));
        assert_eq!(found.query(Some("x=1")), "code=a+b&x=1");
        assert_eq!(paths.find(&Method::POST, "/s/a"), None);
        assert_eq!(&*paths.find(&Method::POST, "/v1/a/b").unwrap().endpoint, "Shortener.Any");
        assert_eq!(paths.find(&Method::GET, "/other"), None);
    }

    #[test]
    fn a_path_for_a_method_that_calls_nothing_is_refused() {
        let name: Arc<str> = "a".into();
        for method in ["HEAD", "OPTIONS", "GOT"] {
            let (_, problems) = Paths::of([(&name, &[route(Some(method), "/s", "A.B")][..])].into_iter());
            assert!(problems.len() == 1 && problems[0].contains(method), "{problems:?}");
        }
        let (_, problems) = Paths::of([(&name, &[route(Some("get"), "/s", "A.B")][..])].into_iter());
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn two_deployments_cannot_have_the_same_path() {
        let (first, second): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let routes = [route(Some("GET"), "/s/{code}", "A.B")];
        let other = [route(Some("GET"), "/s/{id}", "A.B")];
        let (_, problems) = Paths::of([(&first, &routes[..]), (&second, &routes[..])].into_iter());
        assert_eq!(problems, ["b: route /s/{code} is taken by a"]);
        let (_, problems) = Paths::of([(&first, &routes[..]), (&second, &other[..])].into_iter());
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
