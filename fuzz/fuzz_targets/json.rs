//! JSON for a type: a line with the type, then the JSON. What is read must be written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::json;
use micro_fuzz::schema::{message, same, split};

fuzz_target!(|input: &[u8]| {
    let (ty, text) = split(input);
    match json::read_value(&ty, text) {
        Ok(value) => {
            let mut written = Vec::new();
            json::write_value(&ty, &value, &mut written).expect("what was read can be written");
            let shown = String::from_utf8(written).expect("JSON is text");
            serde_json::from_str::<serde_json::Value>(&shown).unwrap_or_else(|error| panic!("{shown}: {error}"));
            let back = json::read_value(&ty, shown.as_bytes()).unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert!(same(&value, &back), "{value:?} is written as {shown} and read as {back:?}");
        }
        Err(error) => assert!(!error.is_empty(), "an error says something"),
    }
    let message = message(ty);
    if let Ok(fields) = json::read_fields(&message, text) {
        assert_eq!(fields.len(), message.fields.len());
    }
    if let Ok(given) = json::read_given_fields(&message, text) {
        assert_eq!(given.len(), message.fields.len());
    }
});
