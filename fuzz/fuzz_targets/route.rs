//! Patterns of `[[route]]`, one on each line, and in the first line the path of a request that looks for them.
#![no_main]

use axum::http::Method;
use libfuzzer_sys::fuzz_target;
use micro::runtime::paths::Paths;
use micro_engine::manifest::Route;
use std::sync::Arc;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(path) = lines.next() else { return };
    // Two deployments, so that they may want the same.
    let services: [Arc<str>; 2] = ["a".into(), "b".into()];
    let mut routes: [Vec<Route>; 2] = Default::default();
    for (at, line) in lines.enumerate() {
        let (method, path) = line.split_once(' ').unwrap_or(("", line));
        // A manifest with other paths is refused.
        if !path.starts_with('/') {
            continue;
        }
        let method = (!method.is_empty()).then(|| method.to_string());
        routes[at % 2].push(Route { method, path: path.into(), endpoint: format!("Say.E{at}") });
    }
    let (paths, problems) = Paths::of(services.iter().zip(routes.iter().map(Vec::as_slice)));
    for problem in &problems {
        assert!(problem.starts_with("a: ") || problem.starts_with("b: "), "a problem names its deployment: {problem}");
    }
    for method in [Method::GET, Method::POST] {
        if let Some(found) = paths.find(&method, path) {
            assert!(services.contains(&found.service) && found.endpoint.starts_with("Say.E"), "{found:?}");
            drop(found.query(Some("a=b")));
        }
    }
    // A path without names leads to itself, where it was taken.
    let plain = routes.iter().flatten().filter(|route| !route.path.contains(['{', '}']) && route.method.is_none());
    for route in plain.filter(|_| problems.is_empty()) {
        assert!(paths.find(&Method::GET, &route.path).is_some(), "{} leads nowhere", route.path);
    }
});
