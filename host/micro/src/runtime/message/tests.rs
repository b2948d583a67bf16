use super::*;
use bytes::Bytes;
use http::HeaderValue;
use micro_engine::name::Name;
use micro_engine::schema::{Field, Reply as ReplyType, Request, Type};
use std::sync::Arc;

const OCTETS: &str = "application/octet-stream";

fn endpoint(fields: &[(&str, Type)], ok: Option<Type>) -> Endpoint {
    let fields = fields.iter().map(|(name, ty)| Field { name: Name::new(name), docs: None, ty: ty.clone() });
    let message = Record { name: "Put".into(), docs: None, fields: fields.collect() };
    Endpoint {
        is_async: false,
        stream: None,
        raw: None,
        name: "Photos.Put".into(),
        interface: None,
        function: "put".into(),
        docs: None,
        request: Request { message: Arc::new(message), is_one_record: false },
        reply: ReplyType { ok, err: None },
    }
}

/// Takes bytes and a width.
fn raw_endpoint() -> Endpoint {
    endpoint(&[("image", Type::Bytes), ("width", Type::Option(Arc::new(Type::U32)))], Some(Type::Bytes))
}

/// Takes two numbers.
fn plain_endpoint() -> Endpoint {
    endpoint(&[("a", Type::U32), ("b", Type::Option(Arc::new(Type::U32)))], Some(Type::U32))
}

fn call(content_type: &str, body: &[u8], query: &str) -> Call {
    let payload = Payload::Bytes { content_type: content_type.to_string().into(), body: Bytes::copy_from_slice(body) };
    let mut call = Call::new("photos", "Photos.Put", payload);
    if !query.is_empty() {
        call.query = Some(query.into());
    }
    call
}

fn number(number: u64) -> Value {
    Value::Unsigned(number)
}

#[test]
fn the_form_of_a_body_is_told_by_its_type_its_looks_and_its_endpoint() {
    let (raw, plain) = (raw_endpoint(), plain_endpoint());
    for (content_type, body, on_raw, on_plain) in [
        ("application/json", &b"{}"[..], Form::Json, Form::Json),
        ("application/json; charset=utf-8", b"x", Form::Json, Form::Json),
        ("APPLICATION/JSON", b"", Form::Json, Form::Json),
        ("application/ld+json", b"{}", Form::Json, Form::Json),
        ("", b"", Form::Query, Form::Query),
        (OCTETS, b"", Form::Query, Form::Query),
        (FORM, b"a=1", Form::Query, Form::Query),
        (FORM, b" {\"a\": 1}", Form::Json, Form::Json),
        (FORM, b"\x89PNG\r\n", Form::Raw(0), Form::Query),
        (FORM, b"two words", Form::Raw(0), Form::Query),
        (FORM, b"word", Form::Raw(0), Form::Query),
        ("", b"{\"a\": 1}", Form::Raw(0), Form::Json),
        ("", b"words", Form::Raw(0), Form::Json),
        ("text/plain", b"{\"a\": 1}", Form::Raw(0), Form::Json),
        ("text/plain", b"words", Form::Raw(0), Form::Unfit),
        ("image/png", b"\x89PNG", Form::Raw(0), Form::Unfit),
    ] {
        assert_eq!(Form::of(content_type, body, &raw), on_raw, "{content_type} {body:?} for bytes");
        assert_eq!(Form::of(content_type, body, &plain), on_plain, "{content_type} {body:?} for numbers");
    }
}

#[test]
fn bytes_fill_their_field_and_the_query_the_others() {
    let values = read(&call(OCTETS, b"\0\x01", "width=7"), &raw_endpoint(), None).unwrap();
    assert_eq!(values, [Value::Bytes(vec![0, 1].into()), Value::some(number(7))]);
    let optional = endpoint(&[("image", Type::Option(Arc::new(Type::Bytes)))], None);
    let values = read(&call(OCTETS, b"x", ""), &optional, None).unwrap();
    assert_eq!(values, [Value::some(Value::Bytes(b"x".to_vec().into()))]);
    assert_eq!(read(&call("", b"", ""), &optional, None).unwrap(), [Value::none()]);
}

#[test]
fn forms_and_queries_are_one() {
    let values = read(&call(FORM, b"a=1", "b=2"), &plain_endpoint(), None).unwrap();
    assert_eq!(values, [number(1), Value::some(number(2))]);
    let values = read(&call("application/json", b"{\"a\": 1}", "a=9&b=2"), &plain_endpoint(), None).unwrap();
    assert_eq!(values, [number(1), Value::some(number(2))], "what the body says goes before the query");
}

#[test]
fn errors_name_the_endpoint() {
    let error = read(&call("application/json", b"{}", ""), &plain_endpoint(), None).unwrap_err();
    assert_eq!((error.code, error.id.as_str()), (400, "photos"));
    assert_eq!(error.detail, "Photos.Put: missing field a: expected integer (u32)");
    let error = read(&call("image/png", b"\x89PNG", ""), &plain_endpoint(), None).unwrap_err();
    assert_eq!(error.code, 415);
    assert!(error.detail.starts_with("a body of type image/png does not fit endpoint Photos.Put"), "{}", error.detail);
    let opaque = Call::new("photos", "Photos.Put", Payload::Value(Box::new(())));
    assert_eq!(read(&opaque, &plain_endpoint(), None).unwrap_err().code, 500);
}

/// The content type and the body of a reply.
fn written(accept: &str, endpoint: &Endpoint, value: &Value, own_type: Option<&str>) -> (String, Bytes) {
    let mut call = call("", b"", "");
    if !accept.is_empty() {
        call.header.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
    }
    let reply = write(&call, endpoint, None, Some(value.clone()), own_type).unwrap();
    match reply.payload {
        Payload::Bytes { content_type, body } => (content_type.into_owned(), body),
        Payload::Value(_) | Payload::Stream(_) => panic!("a reply of bytes"),
    }
}

#[test]
fn bytes_leave_as_they_are_and_their_type_is_told_by_somebody() {
    let png = Value::Bytes(b"\x89PNG\r\n\x1a\n".to_vec().into());
    let words = Value::Bytes(b"words".to_vec().into());
    let noise = Value::Bytes(b"\xff\xfe\xfd".to_vec().into());
    let raw = raw_endpoint();
    for (accept, value, own_type, content_type) in [
        ("", &png, None, "image/png"),
        ("*/*", &words, None, "text/plain; charset=utf-8"),
        ("", &noise, None, OCTETS),
        ("image/*", &noise, Some("image/x-own"), "image/x-own"),
    ] {
        let (told, body) = written(accept, &raw, value, own_type);
        assert_eq!(told, content_type);
        assert_eq!(Value::Bytes(body), *value);
    }
    let (told, body) = written("application/json", &raw, &words, None);
    assert_eq!((told.as_str(), &body[..]), (JSON, &b"{\"result\":\"d29yZHM=\"}"[..]));
    let (told, body) = written("", &plain_endpoint(), &number(3), Some("image/x-own"));
    assert_eq!((told.as_str(), &body[..]), (JSON, &b"{\"result\":3}"[..]), "what is no bytes is JSON");
}
