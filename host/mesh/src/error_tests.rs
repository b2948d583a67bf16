use super::*;

#[test]
fn displays_as_its_json_on_one_line_in_go_micros_key_order() {
    let error = Error::not_found("go.micro.client", "service x: not found");
    assert_eq!(
        error.to_string(),
        r#"{"id":"go.micro.client","code":404,"detail":"service x: not found","status":"Not Found"}"#
    );
}

#[test]
fn every_constructor_sets_code_and_reason_phrase() {
    let made = [
        (Error::bad_request("a", "b"), 400, "Bad Request"),
        (Error::unauthorized("a", "b"), 401, "Unauthorized"),
        (Error::forbidden("a", "b"), 403, "Forbidden"),
        (Error::not_found("a", "b"), 404, "Not Found"),
        (Error::method_not_allowed("a", "b"), 405, "Method Not Allowed"),
        (Error::timeout("a", "b"), 408, "Request Timeout"),
        (Error::conflict("a", "b"), 409, "Conflict"),
        (Error::too_many("a", "b"), 429, "Too Many Requests"),
        (Error::internal("a", "b"), 500, "Internal Server Error"),
        (Error::unavailable("a", "b"), 503, "Service Unavailable"),
    ];
    for (error, code, status) in made {
        assert_eq!((error.code, error.status.as_str()), (code, status));
        assert_eq!((error.id.as_str(), error.detail.as_str()), ("a", "b"));
    }
}

#[test]
fn a_line_break_in_the_detail_stays_on_one_line() {
    let error = Error::internal("a", "first\nsecond");
    assert!(!error.to_string().contains('\n'));
    assert_eq!(Error::parse(&error.to_string()), error);
}

#[test]
fn reads_what_newer_peers_write_who_leave_out_empty_keys() {
    let error = Error::parse(r#"{"id":"say","code":500}"#);
    assert_eq!((error.id.as_str(), error.code, error.detail.as_str()), ("say", 500, ""));
    assert_eq!(Error::parse(r#"{"id":null,"code":null}"#), Error::default());
}

#[test]
fn text_that_is_no_json_becomes_the_detail() {
    let error = Error::parse("connection refused");
    assert_eq!((error.code, error.detail.as_str()), (0, "connection refused"));
}

#[test]
fn a_code_that_is_no_http_code_reads_as_500() {
    assert_eq!(Error::parse(r#"{"code":-1}"#).code, 500);
    assert_eq!(Error::parse(r#"{"code":70000}"#).code, 500);
}

#[test]
fn an_error_never_leaves_as_a_success() {
    assert_eq!(Error::new("a", 200, "b").http_status(), 500);
    assert_eq!(Error::parse("plain").http_status(), 500);
    assert_eq!(Error::too_many("a", "b").http_status(), 429);
    assert_eq!(Error::new("a", 9999, "b").http_status(), 500);
}
