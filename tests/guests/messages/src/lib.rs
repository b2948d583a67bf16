//! Takes messages as they are, by the interface of the contract.

wit_bindgen::generate!({
    inline: "
        package test:messages;

        interface box {
            /// What came.
            seen: func() -> list<string>;
        }

        world messages {
            export micro:function/subscriber@0.1.0;
            export box;
        }
    ",
    path: "../../../wit",
    generate_all,
});

use std::cell::RefCell;

use exports::micro::function::subscriber::{Context, Error, Guest, Message};

struct Messages;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Guest for Messages {
    fn on_message(context: Context, message: Message) -> Result<(), Error> {
        let header = message.header.iter().find(|(name, _)| name == "x-colour").map_or("", |(_, value)| value);
        let body = String::from_utf8_lossy(&message.body);
        let Context { service, caller, .. } = context;
        SEEN.with_borrow_mut(|seen| seen.push(format!("{service} {caller} {} {header} {body}", message.topic)));
        Ok(())
    }
}

impl exports::test::messages::box_::Guest for Messages {
    fn seen() -> Vec<String> {
        SEEN.with_borrow(Clone::clone)
    }
}

export!(Messages);
