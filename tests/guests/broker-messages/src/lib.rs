//! Takes messages as they are, by the interface of wasmCloud.

wit_bindgen::generate!({
    inline: "
        package test:broker-messages;

        interface box {
            /// What came.
            seen: func() -> list<string>;
        }

        world broker-messages {
            export wasmcloud:messaging/handler@0.2.0;
            export box;
        }

        package wasmcloud:messaging@0.2.0 {
            interface types {
                record broker-message {
                    subject: string,
                    body: list<u8>,
                    reply-to: option<string>,
                }
            }

            interface handler {
                use types.{broker-message};

                handle-message: func(msg: broker-message) -> result<_, string>;
            }
        }
    ",
    generate_all,
});

use std::cell::RefCell;

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};

struct Messages;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Guest for Messages {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        if body == "poison" {
            return Err("it is poison".to_owned());
        }
        SEEN.with_borrow_mut(|seen| seen.push(format!("{} {body}", message.subject)));
        Ok(())
    }
}

impl exports::test::broker_messages::box_::Guest for Messages {
    fn seen() -> Vec<String> {
        SEEN.with_borrow(Clone::clone)
    }
}

export!(Messages);
