//! An audit log: every event of `audit.>`, kept for good.

/// Keeps events.
#[micro::function]
mod audit {
    use micro::store::{Failure, Put, Store};
    use micro::{Error, events, json};

    /// Where an event is kept: behind this, by its id.
    const PREFIX: &str = "event/";

    /// How many events there are.
    pub struct Total {
        pub count: u64,
    }

    /// An event as it is kept.
    pub struct Event {
        /// Tells it from all others.
        pub id: String,
        /// Where it was published, such as `audit.login`.
        pub topic: String,
        /// When, in milliseconds since 1970, as far as it is known.
        pub published: Option<u64>,
        /// What it says.
        pub body: String,
    }

    /// Takes an event. One that comes twice is kept once.
    #[micro::subscribe("audit.>")]
    pub fn record(body: Vec<u8>) -> Result<(), Error> {
        let event = events::current().ok_or_else(|| Error::bad_request("events come by topics of audit.>"))?;
        let kept =
            json!({ "topic": event.topic, "published": event.published, "body": String::from_utf8_lossy(&body) });
        let key = format!("{PREFIX}{}", event.id);
        match Store::own().put_with(&key, kept.to_string(), Put::new().if_absent()) {
            Ok(_) | Err(Failure::Conflict(_)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Counts the events that were kept.
    pub fn count() -> Result<Total, Error> {
        Ok(Total { count: Store::own().keys(PREFIX)?.len() as u64 })
    }

    /// The event with an id.
    pub fn get(id: String) -> Result<Event, Error> {
        let kept = Store::own().get(&format!("{PREFIX}{id}"))?;
        let kept = kept.and_then(|kept| micro::serde_json::from_slice::<micro::serde_json::Value>(&kept).ok());
        let kept = kept.ok_or_else(|| Error::not_found(format!("there is no event {id}")))?;
        let text = |name: &str| kept[name].as_str().unwrap_or_default().to_owned();
        Ok(Event { id, topic: text("topic"), published: kept["published"].as_u64(), body: text("body") })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_event_is_kept_once() {
            let _store = micro::testing::store();
            for (topic, id) in [("audit.login", "1"), ("audit.logout", "2"), ("audit.login", "1")] {
                let _delivery = micro::testing::delivery(topic, id);
                record(b"{\"user\":\"John\"}".to_vec()).expect("there is a store");
            }
            assert_eq!(count().expect("there is a store").count, 2);
            let event = get("2".to_owned()).expect("it was kept");
            assert_eq!((&*event.topic, &*event.body), ("audit.logout", "{\"user\":\"John\"}"));
            assert_eq!(get("3".to_owned()).map(|event| event.id).unwrap_err().code, 404);
        }

        #[test]
        fn what_is_no_event_is_refused() {
            let _store = micro::testing::store();
            assert_eq!(record(Vec::new()).unwrap_err().code, 400);
        }
    }
}
