//! Tells its environment and its configuration, and writes log lines.

wit_bindgen::generate!({ generate_all });

use exports::test::settings::settings::Guest;
use wasi::config::store;
use wasi::logging::logging::{Level, log};

struct Settings;

impl Guest for Settings {
    fn variable(name: String) -> Option<String> {
        std::env::var(name).ok()
    }

    fn config(key: String) -> Option<String> {
        store::get(&key).unwrap_or_default()
    }

    fn keys() -> Vec<String> {
        store::get_all().unwrap_or_default().into_iter().map(|(key, _)| key).collect()
    }

    fn print(text: String) {
        println!("{text}");
    }

    fn warn(context: String, text: String) {
        log(Level::Warn, &context, &text);
    }
}

export!(Settings);
