//! Exports async functions, so that it needs the concurrent engine.

wit_bindgen::generate!();

use exports::test::async_echo::echo::Guest;

struct AsyncEcho;

impl Guest for AsyncEcho {
    async fn say(text: String) -> String {
        wit_bindgen::yield_async().await;
        text
    }

    fn say_now(text: String) -> String {
        text
    }
}

export!(AsyncEcho);
