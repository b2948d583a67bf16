//! What is published: a header and a body.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::BrokerError;

/// The largest message, in bytes of its header and its body together: 1 MiB, which is what NATS takes.
pub const MAX_MESSAGE: usize = 1_024 * 1_024;

/// What a header may have, in bytes of its names and values.
pub const MAX_HEADER_BYTES: usize = 64 * 1_024;

/// The names that a header may have. Who finds one looks at all of them.
pub const MAX_HEADER_NAMES: usize = 256;

/// The media type of the body.
pub const CONTENT_TYPE: &str = "content-type";

/// Messages of one topic with the same key are handled in their order, one at a time, by each of those who share a group.
pub const KEY: &str = "micro-key";

/// Tells a message from all others, for subscribers that must not do things twice. Who publishes may choose it.
pub const MESSAGE_ID: &str = "micro-id";

/// A message. Cloning it shares header and body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What is said about the body.
    pub header: Header,
    /// The payload, which nobody between publisher and subscriber looks into.
    pub body: Bytes,
}

impl Message {
    /// A message without a header.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { header: Header::default(), body: body.into() }
    }

    /// The same message with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.header.set(name, value);
        self
    }

    /// What it belongs together with.
    pub fn key(&self) -> Option<&str> {
        self.header.get(KEY)
    }

    /// The bytes of header and body.
    pub fn size(&self) -> usize {
        self.header.size() + self.body.len()
    }

    /// Refuses what no broker would take.
    pub fn check(&self, topic: &str) -> Result<(), BrokerError> {
        let (names, header, size) = (self.header.len(), self.header.size(), self.size());
        if names > MAX_HEADER_NAMES {
            return Err(BrokerError::TooLarge(format!(
                "the header of a message for topic {topic:?} has {names} names, and may have {MAX_HEADER_NAMES}: put what \
                 is many into the body"
            )));
        }
        if header > MAX_HEADER_BYTES {
            return Err(BrokerError::TooLarge(format!(
                "the header of a message for topic {topic:?} has {header} bytes, and may have {MAX_HEADER_BYTES}: put \
                 what is large into the body"
            )));
        }
        if size > MAX_MESSAGE {
            return Err(BrokerError::TooLarge(format!(
                "a message for topic {topic:?} has {size} bytes, and may have {MAX_MESSAGE}: publish where the data is, \
                 not the data"
            )));
        }
        Ok(())
    }
}

/// Names and values in their order. Names are found in any letter case, and each comes once. Clones share them until one is
/// changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::rc_buffer, reason = "it grows name by name")]
pub struct Header(Arc<Vec<(Cow<'static, str>, String)>>);

/// The names that nearly all messages have, which need not be kept with each.
const USUAL: [&str; 4] = [CONTENT_TYPE, MESSAGE_ID, KEY, "traceparent"];

impl Header {
    /// A header that anybody may have sent, of any size: none where it has more names or bytes than one may have, since a
    /// part of it could lack what matters. No more of it is looked at than that.
    pub(super) fn bounded<N: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Option<Self> {
        let (mut header, mut names, mut bytes) = (Self::default(), 0, 0);
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.into());
            names += 1;
            bytes += name.len() + value.len();
            if names > MAX_HEADER_NAMES || bytes > MAX_HEADER_BYTES {
                return None;
            }
            header.set(name, value);
        }
        Some(header)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Sets a value, in the place of one that the name has already.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let all = Arc::make_mut(&mut self.0);
        match all.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value.into(),
            None => {
                let usual = USUAL.into_iter().find(|usual| *usual == name);
                all.push((usual.map_or_else(|| name.to_owned().into(), Cow::Borrowed), value.into()));
            }
        }
    }

    /// Takes a value away.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Arc::make_mut(&mut self.0).remove(at).1)
    }

    /// All names and values, as they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of all names and values.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Header {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut header = Self::default();
        pairs.into_iter().for_each(|(name, value)| header.set(name.as_ref(), value));
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_come_once() {
        let mut header: Header = [("Content-Type", "a"), ("content-type", "b"), ("x", "1")].into_iter().collect();
        assert_eq!(header.get("CONTENT-TYPE"), Some("b"));
        assert_eq!(header.iter().collect::<Vec<_>>(), [("Content-Type", "b"), ("x", "1")]);
        let shared = header.clone();
        assert_eq!(header.remove("X").as_deref(), Some("1"));
        assert_eq!(shared.get("x"), Some("1"), "a clone stays as it is");
        assert_eq!((header.get("x"), header.size()), (None, 13));
    }

    #[test]
    fn what_is_too_large_is_refused_by_name() {
        assert_eq!(Message::new(vec![0; MAX_MESSAGE]).check("t"), Ok(()));
        let error = Message::new(vec![0; MAX_MESSAGE]).with("a", "").check("orders").unwrap_err();
        assert!(error.to_string().contains("\"orders\" has 1048577 bytes"), "{error}");
        let error = Message::new("").with("a", "b".repeat(MAX_HEADER_BYTES)).check("orders").unwrap_err();
        assert!(error.to_string().contains("header"), "{error}");
    }

    #[test]
    fn a_foreign_header_is_taken_as_a_whole_or_not_at_all() {
        let names = |count: usize| (0..count).map(|number| (number.to_string(), "v"));
        assert_eq!(Header::bounded(names(MAX_HEADER_NAMES)), Some(names(MAX_HEADER_NAMES).collect()));
        assert_eq!(Header::bounded((0..).map(|number: usize| (number.to_string(), ""))), None);
        let value = "v".repeat(MAX_HEADER_BYTES - 1);
        assert_eq!(Header::bounded([("n", value.clone())]).map(|header| header.size()), Some(MAX_HEADER_BYTES));
        assert_eq!(Header::bounded([("n", value), ("m", String::new())]), None);
    }

    #[test]
    fn a_header_of_too_many_names_is_refused_by_name() {
        let names = |count: usize| (0..count).map(|number| (number.to_string(), "")).collect();
        let message = |count| Message { header: names(count), body: Bytes::new() };
        assert_eq!(message(MAX_HEADER_NAMES).check("t"), Ok(()));
        let error = message(MAX_HEADER_NAMES + 1).check("orders").unwrap_err();
        assert!(matches!(&error, BrokerError::TooLarge(_)), "{error:?}");
        assert!(error.to_string().contains("\"orders\" has 257 names, and may have 256"), "{error}");
    }
}
