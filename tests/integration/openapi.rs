//! `/openapi.json` says what the host really does.

use micro_tests::{Host, Value, function, json};
use std::collections::BTreeSet;

async fn document() -> (Host, Value) {
    let host = Host::start().await;
    for name in ["greeter", "markdown", "thumbnail", "counter", "feed", "shortener"] {
        host.deploy_as(name, function(name)).await.ok();
    }
    for name in ["echo", "fixed", "logger", "streams", "native-streams"] {
        host.deploy(name).await;
    }
    host.deploy_as("demo.echo", micro_tests::guest("echo")).await.ok();
    let document = host.get("/openapi.json").await.ok();
    (host, document)
}

/// The schema of a part of the document, with everything that it refers to.
fn validator(document: &Value, schema: &Value) -> jsonschema::Validator {
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "components": document["components"],
        "allOf": [schema],
    });
    jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// Every object of the document, from the top down.
fn objects<'v>(value: &'v Value, visit: &mut dyn FnMut(&'v serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| objects(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| objects(value, visit)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_openapi_and_its_references_resolve() {
    let (host, document) = document().await;
    let parsed = oas3::from_json(document.to_string()).unwrap();
    assert_eq!(parsed.openapi, "3.1.0");
    let ids: Vec<String> = parsed.operations().filter_map(|(_, _, operation)| operation.operation_id.clone()).collect();
    assert_eq!(ids.len(), parsed.operations().count(), "every operation has an id");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "and no other has the same");
    for id in ["greeter.Say.Hello", "greeter.Say.Hello.get", "demo.echo.Echo.Everything", "thumbnail.Image.Resize"] {
        assert!(ids.iter().any(|known| known == id), "{id} is not in {ids:?}");
    }
    let mut references = 0;
    objects(&document, &mut |object| {
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
            assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
            references += 1;
        }
    });
    assert!(references > 10, "{references}");
    // Every endpoint of every deployment is there.
    let deployments = host.admin(reqwest::Method::GET, "/deployments", "").await.ok();
    for deployment in deployments["deployments"].as_array().unwrap() {
        for endpoint in deployment["endpoints"].as_array().unwrap() {
            let id = format!("{}.{}", deployment["name"].as_str().unwrap(), endpoint.as_str().unwrap());
            assert!(ids.contains(&id), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schema_is_json_schema() {
    let (_host, document) = document().await;
    let mut count = 0;
    objects(&document, &mut |object| {
        let Some(schema) = object.get("schema") else { return };
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{schema}");
        drop(validator(&document, schema));
        count += 1;
    });
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema}");
        drop(validator(&document, schema));
    }
    assert!(count > 50, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_replies_are_what_their_schemas_say() {
    let (host, document) = document().await;
    for (service, endpoint, path, request) in [
        ("greeter", "Say.Hello", "/greeter/say/hello", json!({"name": "John"})),
        ("echo", "Echo.Everything", "/echo/echo/everything", crate::everything::sample()),
        ("demo.echo", "Echo.Everything", "/demo/echo/echo/everything", crate::everything::sample()),
        ("echo", "Echo.Point", "/echo/echo/point", json!({"x": 1, "y": 2})),
        ("echo", "Echo.Sum", "/echo/echo/sum", json!({"a": 1})),
        ("echo", "Echo.U64", "/echo/echo/u64", json!({"value": u64::MAX})),
        ("echo", "Echo.F64", "/echo/echo/f64", json!({"value": "NaN"})),
        ("echo", "Echo.NestedOption", "/echo/echo/nested-option", json!({"value": {"some": null}})),
        ("echo", "Echo.NestedOption", "/echo/echo/nested-option", json!({})),
        ("echo", "Echo.Nothing", "/echo/echo/nothing", json!({})),
        ("echo", "Echo.Bytes", "/echo/echo/bytes", json!({"value": "AAEC"})),
        ("echo", "Echo.Char", "/echo/echo/char", json!({"value": "\u{1f600}"})),
        ("fixed", "Fixed.Four", "/fixed/fixed/four", json!({"value": [1, 2, 3, 4]})),
        ("markdown", "Render.Html", "/markdown/render/html", json!({"text": "IyBIaQ=="})),
    ] {
        let operation = &document["paths"][path]["post"];
        let content = &operation["requestBody"]["content"]["application/json"]["schema"];
        assert!(content.is_object(), "{path} has a request");
        let valid = validator(&document, content);
        assert!(valid.is_valid(&request), "{request} is no {content}");
        let reply = host.call(service, endpoint, request.clone()).await.ok();
        let content = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let valid = validator(&document, content);
        let errors: Vec<String> = valid.iter_errors(&reply).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {reply}: {errors:?}");
        // The path in the document is the path of the gateway.
        let by_path = host.post(path, "application/json", request.to_string()).await;
        assert_eq!(by_path.status, 200, "{path}");
    }
    let error_schema =
        &document["paths"]["/echo/echo/sum"]["post"]["responses"]["default"]["content"]["application/json"]["schema"];
    let error = host.call("echo", "Echo.Sum", json!({"a": "x"})).await.json();
    assert!(validator(&document, error_schema).is_valid(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_schema_refuses_the_host_refuses() {
    let (host, document) = document().await;
    for (path, wrong) in [
        ("/greeter/say/hello", json!({})),
        ("/greeter/say/hello", json!({"name": 1})),
        ("/greeter/say/hello", json!({"name": "John", "age": 3})),
        ("/echo/echo/u8", json!({"value": 256})),
        ("/echo/echo/color", json!({"value": "purple"})),
        ("/echo/echo/shape", json!({"value": {"circle": "x"}})),
        ("/echo/echo/tuple", json!({"value": [1, "x"]})),
        ("/fixed/fixed/four", json!({"value": [1, 2, 3]})),
    ] {
        let content = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert!(!validator(&document, content).is_valid(&wrong), "{wrong} fits {content}");
        host.post(path, "application/json", wrong.to_string()).await.refused(400);
    }
}
