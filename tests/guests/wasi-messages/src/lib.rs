//! Takes messages as they are and publishes some, by the draft of WASI.

wit_bindgen::generate!({
    inline: "
        package test:wasi-messages;

        world wasi-messages {
            import wasi:messaging/producer@0.2.0-draft;
            export wasi:messaging/incoming-handler@0.2.0-draft;
        }

        package wasi:messaging@0.2.0-draft {
            interface types {
                type metadata = list<tuple<string, string>>;
                type topic = string;

                resource client {
                    connect: static func(name: string) -> result<client, error>;
                    disconnect: func() -> result<_, error>;
                }

                variant error {
                    timeout,
                    connection(string),
                    permission-denied(string),
                    other(string),
                }

                resource message {
                    constructor(data: list<u8>);
                    topic: func() -> option<topic>;
                    content-type: func() -> option<string>;
                    set-content-type: func(content-type: string);
                    data: func() -> list<u8>;
                    set-data: func(data: list<u8>);
                    metadata: func() -> option<metadata>;
                    add-metadata: func(key: string, value: string);
                    set-metadata: func(meta: metadata);
                    remove-metadata: func(key: string);
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
    /// Passes on what it is told of a message to the topic that the message says.
    fn handle(message: Message) -> Result<(), Error> {
        let metadata = message.metadata().unwrap_or_default();
        let told = |name: &str| metadata.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let text = format!(
            "{} {} {} {}",
            message.topic().unwrap_or_default(),
            message.content_type().unwrap_or_default(),
            told("x-colour").unwrap_or_default(),
            String::from_utf8_lossy(&message.data())
        );
        let client = Client::connect("default")?;
        let answer = Message::new(b"to be replaced");
        answer.set_data(text.as_bytes());
        answer.set_content_type("text/plain");
        answer.set_metadata(&[("x-one".to_owned(), "1".to_owned()), ("x-two".to_owned(), "2".to_owned())]);
        answer.remove_metadata("x-one");
        answer.add_metadata("x-two", "3");
        producer::send(&client, told("x-answer-to").unwrap_or("answers"), answer)?;
        client.disconnect()
    }
}

export!(Messages);
