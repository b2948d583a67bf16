//! A protobuf message and its JSON: with a brace first the JSON, else the message. What is
//! written as JSON is read, and written again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::Protos;
use micro_fuzz::protos::{MESSAGE, descriptors};
use std::sync::LazyLock;

static PROTOS: LazyLock<Protos> = LazyLock::new(|| Protos::read(&descriptors()).expect("our own descriptors"));

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"{") {
        let Ok(message) = PROTOS.from_json(MESSAGE, bytes) else { return };
        // Times outside of what JSON can say are messages, and have no JSON.
        drop(PROTOS.to_json(MESSAGE, &message));
    } else if let Ok(json) = PROTOS.to_json(MESSAGE, bytes) {
        serde_json::from_slice::<serde_json::Value>(&json).expect("it is JSON");
        let text = String::from_utf8_lossy(&json);
        let back = match PROTOS.from_json(MESSAGE, &json) {
            Ok(back) => back,
            // The library writes the largest `float` with so few digits that it reads a larger one.
            Err(error) if error.contains("float value out of range") => return,
            Err(error) => panic!("{text}: {error}"),
        };
        let again = PROTOS.to_json(MESSAGE, &back).unwrap_or_else(|error| panic!("{text}: {error}"));
        // A zero below nothing is none in a message.
        let plain = |text: &str| text.replace("-0.0", "0.0");
        assert_eq!(plain(&text), plain(&String::from_utf8_lossy(&again)));
    }
});
