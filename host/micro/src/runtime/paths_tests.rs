use super::*;

fn route(method: Option<&str>, path: &str, endpoint: &str) -> Route {
    Route { method: method.map(str::to_string), path: path.into(), endpoint: endpoint.into(), host: None }
}

fn of(deployments: &[(&Arc<str>, &[Route])]) -> (Paths, Vec<String>) {
    Paths::of(deployments.iter().map(|(name, routes)| Claims { name, hosts: &[], routes }))
}

#[test]
fn a_path_leads_to_the_endpoint_of_its_method_with_its_fields() {
    let name: Arc<str> = "shortener".into();
    let routes = [route(Some("GET"), "/s/{code}", "Shortener.Follow"), route(None, "/v1/{*rest}", "Shortener.Any")];
    let (paths, problems) = of(&[(&name, &routes[..])]);
    assert!(problems.is_empty(), "{problems:?}");
    let endpoint = |method, path| match paths.find(None, &method, path)?.leads {
        Leads::Endpoint { endpoint, fields } => Some((endpoint.to_string(), query_with(&fields, Some("x=1")))),
        Leads::Handler => None,
    };
    assert_eq!(endpoint(Method::GET, "/s/a%20b"), Some(("Shortener.Follow".into(), "code=a+b&x=1".into())));
    assert_eq!(endpoint(Method::POST, "/s/a"), None);
    assert_eq!(endpoint(Method::POST, "/v1/a/b"), Some(("Shortener.Any".into(), "rest=a%2Fb&x=1".into())));
    assert_eq!(endpoint(Method::GET, "/other"), None);
}

#[test]
fn a_path_for_a_method_that_calls_nothing_is_refused() {
    let name: Arc<str> = "a".into();
    for method in ["HEAD", "OPTIONS", "GOT"] {
        let (_, problems) = of(&[(&name, &[route(Some(method), "/s", "A.B")][..])]);
        assert!(problems.len() == 1 && problems[0].contains(method), "{problems:?}");
        // A handler takes it.
        let (_, problems) = of(&[(&name, &[route(Some(method), "/s", "")][..])]);
        assert!(problems.is_empty(), "{problems:?}");
    }
    let (_, problems) = of(&[(&name, &[route(Some("get"), "/s", "A.B")][..])]);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn two_deployments_cannot_have_the_same_path() {
    let (first, second): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let routes = [route(Some("GET"), "/s/{code}", "A.B")];
    let other = [route(Some("GET"), "/s/{id}", "A.B")];
    let (_, problems) = of(&[(&first, &routes[..]), (&second, &routes[..])]);
    assert_eq!(problems, ["b: route /s/{code} is taken by a"]);
    let (_, problems) = of(&[(&first, &routes[..]), (&second, &other[..])]);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_host_name_leads_to_the_handler_of_its_deployment() {
    let (site, api): (Arc<str>, Arc<str>) = ("site".into(), "api".into());
    let hosts = ["Site.Example.com".to_string(), "*.example.org".to_string()];
    let on_host = Route { host: Some("site.example.com".into()), ..route(None, "/api/{id}", "Api.Get") };
    let claims = || {
        [
            Claims { name: &site, hosts: &hosts, routes: &[] },
            Claims { name: &api, hosts: &[], routes: std::slice::from_ref(&on_host) },
        ]
    };
    let (paths, problems) = Paths::of(claims().into_iter());
    assert!(problems.is_empty(), "{problems:?}");
    let service = |host, path| paths.find(host, &Method::GET, path).map(|found| found.service.to_string());
    assert_eq!(service(Some("site.example.com"), "/"), Some("site".into()));
    assert_eq!(service(Some("SITE.example.com"), "/x"), Some("site".into()));
    assert_eq!(service(Some("site.example.com"), "/api/1"), Some("api".into()));
    assert_eq!(service(Some("any.example.org"), "/"), Some("site".into()));
    assert_eq!(service(Some("example.org"), "/"), None);
    assert_eq!(service(None, "/api/1"), None);
    assert!(paths.is_owned("site.example.com") && !paths.is_owned("other"));

    let thief = Claims { name: &api, hosts: &hosts[..1], routes: &[] };
    let (_, problems) = Paths::of(claims().into_iter().chain([thief]));
    assert_eq!(problems, ["api: host site.example.com is taken by site"]);
}
