//! Patterns of `[[route]]`, one on each line, and in the first line the path of a request that looks for them.
#![no_main]

use axum::http::Method;
use libfuzzer_sys::fuzz_target;
use micro::runtime::paths::{Claims, Leads, Paths, query_with};
use micro_engine::Manifest;
use micro_engine::manifest::Route;
use std::sync::Arc;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(path) = lines.next() else { return };
    // Two deployments, so that they may want the same.
    let services: [Arc<str>; 2] = ["a".into(), "b".into()];
    let mut manifests: [Manifest; 2] = Default::default();
    for (at, line) in lines.enumerate() {
        let (method, path) = line.split_once(' ').unwrap_or(("", line));
        // A manifest with other paths is refused.
        if !path.starts_with('/') {
            continue;
        }
        let method = (!method.is_empty()).then(|| method.to_string());
        let endpoint = format!("Say.E{at}");
        manifests[at % 2].route.push(Route { method, path: path.into(), endpoint, ..Route::default() });
    }
    let claims = services.iter().zip(&manifests).map(|(service, manifest)| Claims::new(service, manifest));
    let (paths, problems) = Paths::of(claims);
    for problem in &problems {
        assert!(problem.starts_with("a: ") || problem.starts_with("b: "), "a problem names its deployment: {problem}");
    }
    for method in [Method::GET, Method::POST] {
        if let Some(found) = paths.find(None, &method, path) {
            let Leads::Endpoint { endpoint, fields } = &found.leads else { panic!("no route has none: {found:?}") };
            assert!(services.contains(&found.service) && endpoint.starts_with("Say.E"), "{found:?}");
            drop(query_with(fields, Some("a=b")));
        }
    }
    // A path without names leads to itself, where it was taken.
    let plain = manifests
        .iter()
        .flat_map(|manifest| &manifest.route)
        .filter(|route| !route.path.contains(['{', '}']) && route.method.is_none());
    for route in plain.filter(|_| problems.is_empty()) {
        assert!(paths.find(None, &Method::GET, &route.path).is_some(), "{} leads nowhere", route.path);
    }
});
