//! Takes messages by the draft of WASI as it was when each message had a topic.

wit_bindgen::generate!({
    inline: "
        package test:wasi-messages-older;

        world wasi-messages-older {
            import wasi:messaging/producer@0.2.0-draft;
            export wasi:messaging/incoming-handler@0.2.0-draft;
        }

        package wasi:messaging@0.2.0-draft {
            interface types {
                type topic = string;

                resource client {
                    connect: static func(name: string) -> result<client, error>;
                }

                variant error {
                    timeout,
                    connection(string),
                    permission-denied(string),
                    other(string),
                }

                resource message {
                    constructor(data: list<u8>);
                    topic: func() -> topic;
                }
            }

            interface producer {
                use types.{client, message, error, topic};

                send: func(c: borrow<client>, topic: topic, message: message) -> result<_, error>;
            }

            interface incoming-handler {
                use types.{message, error};

                handle: func(message: message) -> result<_, error>;
            }
        }
    ",
    generate_all,
});

use exports::wasi::messaging::incoming_handler::Guest;
use wasi::messaging::producer;
use wasi::messaging::types::{Client, Error, Message};

struct Messages;

impl Guest for Messages {
    /// Publishes a message's topic to `answers`.
    fn handle(message: Message) -> Result<(), Error> {
        producer::send(&Client::connect("default")?, "answers", Message::new(message.topic().as_bytes()))
    }
}

export!(Messages);
