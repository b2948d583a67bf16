use super::{Context, Error, Message};

#[test]
fn an_error_leaves_its_id_to_the_host() {
    let expected = Error {
        id: String::new(),
        code: 404,
        detail: "nobody is called jane".to_owned(),
        status: "Not Found".to_owned(),
    };
    assert_eq!(Error::not_found("nobody is called jane"), expected);
}

#[test]
fn every_constructor_carries_its_code_and_reason_phrase() {
    let errors = [
        (Error::bad_request(""), 400, "Bad Request"),
        (Error::unauthorized(""), 401, "Unauthorized"),
        (Error::forbidden(""), 403, "Forbidden"),
        (Error::not_found(""), 404, "Not Found"),
        (Error::timeout(""), 408, "Request Timeout"),
        (Error::conflict(""), 409, "Conflict"),
        (Error::too_many(""), 429, "Too Many Requests"),
        (Error::internal(""), 500, "Internal Server Error"),
        (Error::unavailable(""), 503, "Service Unavailable"),
    ];
    for (error, code, status) in errors {
        assert_eq!((error.code, error.status.as_str()), (code, status));
    }
}

#[test]
fn a_code_without_a_reason_phrase_keeps_its_number() {
    let error = Error::new(599, "odd");
    assert_eq!((error.code, error.status.as_str()), (599, ""));
}

#[test]
fn an_error_reads_as_one_line() {
    assert_eq!(Error::bad_request("the name is empty").to_string(), "400 Bad Request: the name is empty");
}

#[test]
fn messages_and_contexts_are_plain_values() {
    let message = Message {
        topic: "orders.created".to_owned(),
        header: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: b"{}".to_vec(),
    };
    assert_eq!(message.clone(), message);

    let context = Context {
        service: "greeter".to_owned(),
        endpoint: "Say.Hello".to_owned(),
        caller: String::new(),
        trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        deadline: Some(1_700_000_000_000),
    };
    assert_eq!(context.clone(), context);
}
