//! A service as `micro get service` shows it, line for line as go-micro's toolkit does (its version 2), except that
//! metadata is sorted.

use micro_mesh::{Endpoint, Metadata, Service, Value};

/// The records of one service: a block with the nodes of each version, then the endpoints of the first one.
pub fn layout(services: &[Service]) -> String {
    let Some(first) = services.first() else { return String::new() };
    let mut parts = vec![format!("service  {}", first.name)];
    for service in services {
        if !service.version.is_empty() {
            parts.push(format!("\nversion {}", service.version));
        }
        parts.push("\nID\tAddress\tMetadata".to_owned());
        for node in &service.nodes {
            parts.push(format!("{}\t{}\t{}", node.id, node.address, pairs(&node.metadata)));
        }
    }
    parts.extend(first.endpoints.iter().map(|each| endpoint(each, &pairs(&each.metadata), "")));
    parts.join("\n")
}

/// One endpoint, with an empty line before and after. `docs` is a paragraph of its own when it is not empty.
pub fn endpoint(endpoint: &Endpoint, metadata: &str, docs: &str) -> String {
    let mut text = format!("\nEndpoint: {}\n\n", endpoint.name);
    if !metadata.is_empty() {
        text.push_str(&format!("Metadata: {metadata}\n\n"));
    }
    if !docs.is_empty() {
        text.push_str(&format!("{docs}\n\n"));
    }
    let request = message(endpoint.request.as_ref());
    let response = message(endpoint.response.as_ref());
    text.push_str(&format!("Request: {request}\n\nResponse: {response}\n"));
    text
}

fn pairs(metadata: &Metadata) -> String {
    metadata.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn message(value: Option<&Value>) -> String {
    let values = value.map(|value| value.values.as_slice()).unwrap_or_default();
    if values.is_empty() {
        return "{}".to_owned();
    }
    let mut text = "{\n".to_owned();
    fields(values, 1, &mut text);
    text.push('}');
    text
}

fn fields(values: &[Value], depth: usize, text: &mut String) {
    let tabs = "\t".repeat(depth);
    for value in values {
        let line = format!("{tabs}{} {}", snake_case(&value.name), value.kind);
        text.push_str(line.trim_end_matches(' '));
        if !value.values.is_empty() {
            text.push_str(" {\n");
            fields(&value.values, depth + 1, text);
            text.push_str(&tabs);
            text.push('}');
        }
        text.push('\n');
    }
}

/// `userName`, `UserName`, `user-name` → `user_name`; a run of capitals is one word, `userID` → `user_id`.
fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (index, char) in chars.iter().copied().enumerate() {
        if char == '-' {
            out.push('_');
            continue;
        }
        if char.is_uppercase() && index > 0 {
            let before = chars[index - 1];
            let is_next_lower = chars.get(index + 1).is_some_and(|next| next.is_lowercase());
            let begins_word = before.is_lowercase() || before.is_numeric();
            if begins_word || (before.is_uppercase() && is_next_lower) {
                out.push('_');
            }
        }
        out.extend(char.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use micro_mesh::Node;

    fn field(name: &str, kind: &str, values: Vec<Value>) -> Value {
        Value { name: name.into(), kind: kind.into(), values }
    }

    fn plain(name: &str, kind: &str) -> Value {
        field(name, kind, vec![])
    }

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The service that the users' own notes show, with its node.
    fn user_service() -> Service {
        Service {
            name: "mu.micro.book.srv.user".into(),
            version: "latest".into(),
            nodes: vec![Node {
                id: "mu.micro.book.srv.user-eff9e5c2-a141-4110-9b78-fea0cf0d7643".into(),
                address: "192.168.3.222:35765".into(),
                metadata: metadata(&[
                    ("transport", "http"),
                    ("server", "mucp"),
                    ("broker", "http"),
                    ("registry", "etcd"),
                    ("protocol", "mucp"),
                ]),
            }],
            endpoints: vec![Endpoint {
                name: "User.QueryUserByName".into(),
                request: Some(field(
                    "Request",
                    "Request",
                    vec![plain("userID", "string"), plain("userName", "string"), plain("userPwd", "string")],
                )),
                response: Some(field(
                    "Response",
                    "Response",
                    vec![
                        plain("success", "bool"),
                        field("error", "Error", vec![plain("code", "int32"), plain("detail", "string")]),
                        field(
                            "user",
                            "User",
                            vec![
                                plain("id", "int64"),
                                plain("name", "string"),
                                plain("pwd", "string"),
                                plain("createdTime", "uint64"),
                                plain("updatedTime", "uint64"),
                            ],
                        ),
                    ],
                )),
                metadata: Metadata::new(),
            }],
            ..Service::default()
        }
    }

    #[test]
    fn a_service_looks_as_its_users_know_it() {
        let expected = "service  mu.micro.book.srv.user

version latest

ID\tAddress\tMetadata
mu.micro.book.srv.user-eff9e5c2-a141-4110-9b78-fea0cf0d7643\t192.168.3.222:35765\tbroker=http,protocol=mucp,registry=etcd,server=mucp,transport=http

Endpoint: User.QueryUserByName

Request: {
\tuser_id string
\tuser_name string
\tuser_pwd string
}

Response: {
\tsuccess bool
\terror Error {
\t\tcode int32
\t\tdetail string
\t}
\tuser User {
\t\tid int64
\t\tname string
\t\tpwd string
\t\tcreated_time uint64
\t\tupdated_time uint64
\t}
}
";
        assert_eq!(layout(&[user_service()]), expected);
    }

    #[test]
    fn metadata_of_an_endpoint_is_a_paragraph() {
        let endpoint =
            Endpoint { name: "Say.Hello".into(), metadata: metadata(&[("stream", "false")]), ..Endpoint::default() };
        let services = ["1.0.0", "2.0.0"].map(|version| Service {
            version: version.into(),
            endpoints: vec![endpoint.clone(), endpoint.clone()],
            ..Service::new("go.micro.srv.greeter", "")
        });
        let block = "\nEndpoint: Say.Hello\n\nMetadata: stream=false\n\nRequest: {}\n\nResponse: {}\n";
        let expected = format!(
            "service  go.micro.srv.greeter\n\nversion 1.0.0\n\nID\tAddress\tMetadata\n\
             \nversion 2.0.0\n\nID\tAddress\tMetadata\n{block}\n{block}"
        );
        assert_eq!(layout(&services), expected);
    }

    #[test]
    fn names_of_fields_are_in_snake_case() {
        for (name, snake) in [
            ("userID", "user_id"),
            ("HTTPServer", "http_server"),
            ("user-name", "user_name"),
            ("user_name", "user_name"),
            ("Name", "name"),
            ("x1Y", "x1_y"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }
}
