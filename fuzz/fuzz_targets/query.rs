//! A query string for a message: a line with the message's type, then the query. What is read must fit the type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::schema::Type;
use micro_engine::{Value, json, query};
use micro_fuzz::schema::{message, same, split};

fuzz_target!(|input: &[u8]| {
    let (ty, text) = split(input);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let message = message(ty);
    let none = message.fields.iter().map(|_| None).collect();
    let fields = match query::read_query(&message, text, none) {
        Ok(fields) => fields,
        Err(error) => {
            assert!(error.contains("query parameter"), "an error names its place: {error}");
            return;
        }
    };
    let (ty, value) = (Type::Record(message), Value::Record(fields));
    let mut written = Vec::new();
    json::write_value(&ty, &value, &mut written).expect("what was read can be written");
    let shown = String::from_utf8(written).expect("JSON is text");
    let back = json::read_value(&ty, shown.as_bytes()).unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(same(&value, &back), "{value:?} is written as {shown} and read as {back:?}");
});
