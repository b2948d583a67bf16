//! What a test is told of published messages, and the message that it says has come.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::bindings::micro::function::events::NotPublished;
use crate::events::{Delivery, Outgoing};
use crate::types::Error;

type All = Rc<RefCell<Vec<(String, Outgoing)>>>;

thread_local! {
    static PUBLISHED: RefCell<Option<All>> = const { RefCell::new(None) };
    static CURRENT: RefCell<Option<Delivery>> = const { RefCell::new(None) };
}

/// While this lives, messages that this thread publishes are kept in it.
#[derive(Debug)]
#[must_use = "nothing is kept when this is dropped: let published = …"]
pub struct Published(All);

impl Published {
    /// Everything that was published so far, with the topic of each.
    pub fn all(&self) -> Vec<(String, Outgoing)> {
        self.0.borrow().clone()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        PUBLISHED.set(None);
    }
}

/// Keeps what this thread publishes.
pub fn events() -> Published {
    let all = All::default();
    PUBLISHED.set(Some(all.clone()));
    Published(all)
}

/// While this lives, endpoints that this thread calls see the message.
#[derive(Debug)]
#[must_use = "the message is gone when this is dropped: let _delivery = …"]
pub struct Delivered(PhantomData<*const ()>);

impl Drop for Delivered {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Lets endpoints that this thread calls see a message of this topic, with this id.
pub fn delivery(topic: impl Into<String>, id: impl Into<String>) -> Delivered {
    let (topic, id) = (topic.into(), id.into());
    CURRENT.set(Some(Delivery { topic, id, key: None, attempt: 1, published: None, header: Vec::new() }));
    Delivered(PhantomData)
}

pub(crate) fn publish(topic: &str, outgoing: &Outgoing) -> Result<(), Error> {
    PUBLISHED.with_borrow(|published| match published {
        Some(published) => {
            published.borrow_mut().push((topic.to_owned(), outgoing.clone()));
            Ok(())
        }
        None => Err(Error::unavailable(format!(
            "a message was published to {topic} outside of a host: keep it with `let published = \
             micro::testing::events();`"
        ))),
    })
}

pub(crate) fn publish_all(topic: &str, messages: &[Outgoing]) -> Result<(), NotPublished> {
    if messages.len() > 1_000 {
        let detail =
            format!("{} messages for topic {topic} in one call, which may have 1000: make several", messages.len());
        return Err(NotPublished::Whole(Error::new(413, detail)));
    }
    messages.iter().try_for_each(|message| publish(topic, message)).map_err(NotPublished::Whole)
}

pub(crate) fn current() -> Option<Delivery> {
    CURRENT.with_borrow(Clone::clone)
}
