use super::*;

fn context(endpoint: &str) -> Context {
    let (service, caller, trace) = (String::new(), String::new(), String::new());
    Context { service, endpoint: endpoint.to_owned(), caller, trace, deadline: None }
}

fn echo(context: Context, content: &[u8]) -> Answer {
    match context.endpoint.as_str() {
        "Echo.Say" if content.is_empty() => Err(unreadable("empty")),
        "Echo.Say" => Ok(Some(content.to_vec())),
        _ => Ok(None),
    }
}

#[test]
fn a_call_finds_its_service() {
    let services: [fn(Context, &[u8]) -> Answer; 2] = [|_, _| Ok(None), echo];
    let call = |endpoint: &str, kind: &str, content: &[u8]| handle(&context(endpoint), kind, content, &services);
    assert_eq!(call("Echo.Say", PROTOBUF, b"x"), Ok(b"x".to_vec()));
    assert_eq!(call("Echo.Say", "application/protobuf; proto=a.B", b"x"), Ok(b"x".to_vec()));
    assert_eq!(call("Echo.Say", "application/json", b"{}").unwrap_err().code, 415);
    assert_eq!(call("Echo.Say", PROTOBUF, b"").unwrap_err().code, 400);
    assert_eq!(call("Echo.Shout", PROTOBUF, b"x").unwrap_err().code, 404);
}
