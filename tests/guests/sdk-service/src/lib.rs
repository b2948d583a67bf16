//! Does everything that a service in the style of the Rust SDK can do.

/// A service with state, a life, a store, calls and streams.
#[micro_sdk::service(replicas = 1, memory = "32MiB")]
mod desk {
    use micro_sdk::stream::{Converse, Receive};
    use micro_sdk::{Error, Exchange, Stream, Upload, store::Store};
    use std::cell::{Cell, RefCell};

    thread_local! {
        static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
        static IS_ILL: Cell<bool> = const { Cell::new(false) };
    }

    /// A line on the desk.
    pub struct Note {
        pub text: String,
        pub number: u32,
    }

    fn note(text: impl Into<String>) {
        NOTES.with_borrow_mut(|notes| notes.push(text.into()));
    }

    /// Everything that happened to this instance, in order.
    pub fn notes() -> Vec<String> {
        NOTES.with_borrow(Clone::clone)
    }

    /// Writes a note down.
    #[micro_sdk::route(PUT, "/notes/{text}")]
    #[micro_sdk::subscribe("notes", queue = "desk")]
    pub fn write(text: String) -> u32 {
        micro_sdk::log::info!("noted: {text}");
        note(text);
        NOTES.with_borrow(|notes| u32::try_from(notes.len()).unwrap_or(u32::MAX))
    }

    /// Called by the clock.
    #[schedule("0 0 1 1 *", timezone = "Europe/Berlin")]
    pub fn sweep() {
        note("sweep");
    }

    /// From now on the instance says that it is ill.
    pub fn fall_ill() {
        IS_ILL.set(true);
    }

    /// Counts in the store.
    pub fn count_in_store(key: String) -> Result<u64, Error> {
        Store::own().update(&key, |old: Option<u64>| old.unwrap_or(0) + 1)
    }

    /// Calls another service with a name, and gives back what it says.
    pub fn ask(service: String, endpoint: String, name: String) -> Result<String, Error> {
        let reply: micro_sdk::serde_json::Value =
            micro_sdk::call(&service, &endpoint, &micro_sdk::json!({ "name": name }))?;
        Ok(reply.to_string())
    }

    /// Notes, one at a time.
    pub fn read(up_to: u32) -> Result<Stream<Note>, Error> {
        let notes = notes();
        if notes.is_empty() {
            return Err(Error::not_found("the desk is empty"));
        }
        let notes = notes.into_iter().zip(0..up_to).map(|(text, number)| Note { text, number });
        Ok(Stream::new(notes))
    }

    /// Numbers up to one that fails.
    pub fn count_down(from: u32) -> Stream<u32> {
        let down = (0..=from).rev().map(|n| if n == 0 { Err(Error::conflict("zero")) } else { Ok(n) });
        Stream::fallible(down)
    }

    struct Sum(u64);

    impl Receive for Sum {
        type Item = u64;
        type Reply = Note;

        fn send(&mut self, item: u64) -> Result<(), Error> {
            self.0 = self.0.checked_add(item).ok_or_else(|| Error::bad_request("too much"))?;
            Ok(())
        }

        fn finish(self) -> Result<Note, Error> {
            Ok(Note { text: self.0.to_string(), number: 1 })
        }
    }

    /// Adds up what the caller sends.
    pub fn sum() -> Upload<u64, Note> {
        Upload::new(Sum(0))
    }

    struct Echo {
        heard: std::collections::VecDeque<String>,
    }

    impl Converse for Echo {
        type In = String;
        type Out = Note;

        fn send(&mut self, item: String) -> Result<(), Error> {
            self.heard.push_back(item);
            Ok(())
        }

        fn next(&mut self) -> Result<Option<Note>, Error> {
            Ok(self.heard.pop_front().map(|text| Note { number: 0, text }))
        }
    }

    /// Says again what it hears.
    pub fn echo() -> Exchange<String, Note> {
        Exchange::new(Echo { heard: std::collections::VecDeque::new() })
    }

    impl Drop for Echo {
        fn drop(&mut self) {
            note("an echo ended");
        }
    }

    #[micro_sdk::start]
    fn start() {
        note("start");
    }

    #[micro_sdk::stop]
    fn stop() -> Result<(), String> {
        Err("nobody hears this".to_owned())
    }

    #[micro_sdk::health]
    fn health() -> Result<(), Error> {
        if IS_ILL.get() { Err(Error::unavailable("ill")) } else { Ok(()) }
    }

    #[micro_sdk::save]
    fn save() -> Result<Vec<u8>, Error> {
        Ok(notes().join("\n").into_bytes())
    }

    #[micro_sdk::restore]
    fn restore(state: Vec<u8>) -> Result<(), std::string::FromUtf8Error> {
        let state = String::from_utf8(state)?;
        NOTES.with_borrow_mut(|notes| notes.extend(state.lines().map(|line| format!("before: {line}"))));
        Ok(())
    }
}
