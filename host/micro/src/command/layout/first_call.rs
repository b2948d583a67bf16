//! A first call to a new deployment, to be copied into a terminal.

use micro_mesh::Value;

use crate::admin::{Deployment, Host, Status};

/// How to call the deployment's first endpoint through the gateway. None when the host does not tell enough: this is
/// a courtesy, and nothing fails for want of it.
pub async fn find(host: &Host, deployment: &Deployment) -> Option<String> {
    let endpoint = deployment.endpoints.first()?;
    let status = host.status().await.ok()?.value;
    if deployment.command.is_some() {
        return Some(input_line(&status, &deployment.name));
    }
    let services = host.service(&deployment.name).await.map(|answer| answer.value).unwrap_or_default();
    let request =
        services.iter().find_map(|service| service.endpoint(endpoint)).and_then(|endpoint| endpoint.request.as_ref());
    Some(line(&status, &deployment.name, endpoint, request))
}

fn line(status: &Status, name: &str, endpoint: &str, request: Option<&Value>) -> String {
    let url = format!("{}/{}", address(status, name), path(endpoint));
    let fields = request.map(|request| request.values.as_slice()).unwrap_or_default();
    match query(fields) {
        Some(query) => format!("curl '{url}{query}'"),
        None => format!("curl --json '{{…}}' {url}"),
    }
}

/// How to run a program: what is sent is its standard input.
fn input_line(status: &Status, name: &str) -> String {
    format!("echo text | curl --data-binary @- {}", address(status, name))
}

/// Where the gateway has the deployment.
fn address(status: &Status, name: &str) -> String {
    let prefix = format!("{}.", status.namespace);
    format!("{}/{}", status.api_url(), name.strip_prefix(&prefix).unwrap_or(name))
}

/// `Say.OnOrder` → `say/on-order`, by the gateway's path rules.
fn path(endpoint: &str) -> String {
    let mut path = String::new();
    for char in endpoint.chars() {
        if char == '.' {
            path.push('/');
            continue;
        }
        if char.is_uppercase() && !path.is_empty() && !path.ends_with('/') {
            path.push('-');
        }
        path.extend(char.to_lowercase());
    }
    path
}

/// A query that fills in every field; none when one of them does not fit into a query.
fn query(fields: &[Value]) -> Option<String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut is_empty = true;
    for field in fields {
        query.append_pair(&field.name, sample(field)?);
        is_empty = false;
    }
    Some(if is_empty { String::new() } else { format!("?{}", query.finish()) })
}

fn sample(field: &Value) -> Option<&'static str> {
    let is_number = |kind: &str| {
        let kind = kind.trim_end_matches(|char: char| char.is_ascii_digit());
        matches!(kind, "int" | "uint" | "float")
    };
    match field.kind.as_str() {
        _ if !field.values.is_empty() => None,
        "string" if field.name == "name" => Some("John"),
        "string" => Some("text"),
        "char" => Some("x"),
        "bool" => Some("true"),
        kind if is_number(kind) => Some("1"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Value {
        let fields =
            fields.iter().map(|(name, kind)| Value { name: (*name).into(), kind: (*kind).into(), values: vec![] });
        Value { values: fields.collect(), ..Value::default() }
    }

    #[test]
    fn plain_fields_go_into_the_query() {
        let status = Status { api_address: "127.0.0.1:8080".into(), ..Status::default() };
        let fields = request(&[("name", "string"), ("count", "uint32")]);
        assert_eq!(
            line(&status, "greeter", "Say.OnHello", Some(&fields)),
            "curl 'http://127.0.0.1:8080/greeter/say/on-hello?name=John&count=1'"
        );
        assert_eq!(
            line(&status, "demo.greeter", "Greeter.Hi", None),
            "curl 'http://127.0.0.1:8080/demo.greeter/greeter/hi'"
        );
        let status = Status { namespace: "demo".into(), ..status };
        let fields = request(&[("image", "[]uint8")]);
        assert_eq!(
            line(&status, "demo.greeter", "Say.Hello", Some(&fields)),
            "curl --json '{…}' http://127.0.0.1:8080/greeter/say/hello"
        );
    }
}
