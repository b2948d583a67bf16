//! Enters things and tells of them in one step, and hears what it told.

/// Keeps a ledger.
#[micro::function]
mod ledger {
    use micro::events::Event;
    use micro::store::{Put, Store};
    use micro::{Error, json};

    const ENTERED: &str = "entered/";
    const HEARD: &str = "heard/";

    /// What is in the store.
    pub struct Contents {
        pub entered: Vec<String>,
        pub heard: Vec<String>,
    }

    /// Enters something that was not entered yet, and publishes it to a topic.
    pub fn enter(id: String, topic: String) -> Result<(), Error> {
        let event = Event::json(&json!({ "id": id }))?.key(&id);
        let entry = Store::own().transaction().put_with(format!("{ENTERED}{id}"), "", Put::new().if_absent());
        entry.publish(topic, event).commit()?;
        Ok(())
    }

    /// Hears of what was entered.
    #[micro::subscribe("ledger.entered")]
    pub fn hear(id: String) -> Result<(), Error> {
        Store::own().update(&format!("{HEARD}{id}"), |times: Option<u32>| times.unwrap_or(0) + 1)?;
        Ok(())
    }

    /// Everything that was entered, and everything that was heard.
    pub fn report() -> Result<Contents, Error> {
        let all = |prefix: &str| -> Result<Vec<String>, Error> {
            let keys = Store::own().keys(prefix)?;
            Ok(keys.iter().filter_map(|key| key.strip_prefix(prefix)).map(str::to_owned).collect())
        };
        Ok(Contents { entered: all(ENTERED)?, heard: all(HEARD)? })
    }
}
