use serde_json::json;

use super::*;

fn greeter() -> Service {
    Service {
        name: "demo.greeter".into(),
        version: "1.2.0".into(),
        metadata: Metadata::from([("kind".into(), "function".into())]),
        endpoints: vec![Endpoint {
            name: "Say.Hello".into(),
            request: Some(Value {
                name: "Request".into(),
                kind: "Request".into(),
                values: vec![Value { name: "name".into(), kind: "string".into(), values: vec![] }],
            }),
            response: None,
            metadata: Metadata::new(),
        }],
        nodes: vec![node("greeter-1", "127.0.0.1:9000")],
    }
}

fn node(id: &str, address: &str) -> Node {
    Node { id: id.into(), address: address.into(), metadata: Metadata::new() }
}

#[test]
fn writes_every_key_in_lower_case() {
    assert_eq!(
        serde_json::to_value(greeter()).unwrap(),
        json!({
            "name": "demo.greeter",
            "version": "1.2.0",
            "metadata": {"kind": "function"},
            "endpoints": [{
                "name": "Say.Hello",
                "request": {"name": "Request", "type": "Request", "values": [
                    {"name": "name", "type": "string", "values": []}
                ]},
                "response": null,
                "metadata": {}
            }],
            "nodes": [{"id": "greeter-1", "address": "127.0.0.1:9000", "metadata": {}}]
        })
    );
}

#[test]
fn reads_what_it_wrote() {
    let text = serde_json::to_string(&greeter()).unwrap();
    assert_eq!(serde_json::from_str::<Service>(&text).unwrap(), greeter());
}

#[test]
fn reads_keys_in_any_letter_case_and_leaves_metadata_keys_alone() {
    let service: Service = serde_json::from_value(json!({
        "Name": "go.micro.srv.example",
        "VERSION": "latest",
        "Metadata": {"Team": "Blue"},
        "Endpoints": [{"Name": "Example.Call", "Request": {"Name": "Request", "Type": "Request", "Values": null}}],
        "Nodes": [{"Id": "n-1", "Address": "10.0.0.7:80"}]
    }))
    .unwrap();
    assert_eq!(service.name, "go.micro.srv.example");
    assert_eq!(service.version, "latest");
    assert_eq!(service.metadata["Team"], "Blue");
    assert_eq!(service.endpoints[0].request.as_ref().unwrap().kind, "Request");
    assert_eq!(service.nodes, [node("n-1", "10.0.0.7:80")]);
}

#[test]
fn reads_null_and_missing_as_empty() {
    let service: Service = serde_json::from_value(json!({
        "name": "a",
        "version": null,
        "metadata": {"empty": null},
        "endpoints": [null, {"name": "A.B", "metadata": null, "request": {"values": [null]}}],
        "nodes": null
    }))
    .unwrap();
    assert_eq!(service.version, "");
    assert_eq!(service.metadata["empty"], "");
    assert_eq!(service.endpoints.len(), 1);
    assert!(service.endpoints[0].request.as_ref().unwrap().values.is_empty());
    assert!(service.nodes.is_empty());
    assert_eq!(serde_json::from_str::<Service>("{}").unwrap(), Service::default());
}

#[test]
fn ignores_keys_it_does_not_know() {
    let service: Service = serde_json::from_str(r#"{"name":"a","later":{"deep":[1,2]},"version":"1"}"#).unwrap();
    assert_eq!((service.name.as_str(), service.version.as_str()), ("a", "1"));
}

#[test]
fn joins_the_port_that_the_oldest_peers_keep_apart() {
    let read = |text| serde_json::from_str::<Node>(text).unwrap().address;
    assert_eq!(read(r#"{"port":8080,"address":"10.0.0.7"}"#), "10.0.0.7:8080");
    assert_eq!(read(r#"{"address":"fd00::1","port":8080}"#), "[fd00::1]:8080");
    assert_eq!(read(r#"{"address":"10.0.0.7:80","port":0}"#), "10.0.0.7:80");
}

#[test]
fn says_what_it_expected() {
    let error = serde_json::from_str::<Service>("[]").unwrap_err().to_string();
    assert!(error.contains("a service record"), "{error}");
    assert!(serde_json::from_str::<Service>(r#"{"nodes":"x"}"#).is_err());
}

#[test]
fn endless_nesting_is_an_error_and_no_stack_overflow() {
    let text = r#"{"values":["#.repeat(100_000);
    assert!(serde_json::from_str::<Value>(&text).is_err());
}

#[test]
fn merging_says_whether_anything_changed() {
    let mut record = greeter();
    assert!(!record.merge(&greeter()));

    let mut second = greeter();
    second.nodes = vec![node("greeter-2", "127.0.0.1:9001")];
    assert!(record.merge(&second));
    assert_eq!(record.nodes.len(), 2);
    assert!(!record.merge(&second));

    second.nodes[0].address = "127.0.0.1:9002".into();
    assert!(record.merge(&second));
    assert_eq!(record.node("greeter-2").unwrap().address, "127.0.0.1:9002");
    assert_eq!(record.nodes.len(), 2);
}

#[test]
fn taking_nodes_away_goes_by_id_and_none_means_all() {
    let mut record = greeter();
    record.nodes.push(node("greeter-2", "127.0.0.1:9001"));
    assert!(record.take_nodes(&[node("other", "")]).is_empty());
    assert_eq!(record.take_nodes(&[node("greeter-2", "")]), [node("greeter-2", "127.0.0.1:9001")]);
    assert_eq!(record.take_nodes(&[]), [node("greeter-1", "127.0.0.1:9000")]);
    assert!(record.nodes.is_empty());
}

#[test]
fn a_node_says_how_it_is_reached() {
    let mut local = node("a", "");
    assert_eq!(local.transport(), None);
    local.metadata.insert("transport".into(), "local".into());
    assert_eq!(local.transport(), Some("local"));
}

#[test]
fn a_node_that_a_peer_wrote_twice_is_there_once() {
    let text = r#"{"nodes": [{"id": "a", "address": "old"}, {"id": "b"}, {"id": "a", "address": "new"}]}"#;
    let service: Service = serde_json::from_str(text).unwrap();
    let nodes: Vec<_> = service.nodes.iter().map(|node| (&*node.id, &*node.address)).collect();
    assert_eq!(nodes, [("a", "new"), ("b", "")]);
}
