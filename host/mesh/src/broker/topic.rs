//! What topics are called, and the patterns that name several.
//!
//! A topic is words with dots between them, as in `orders.created`. In a pattern `*` stands for any one word, and `>` at
//! the end for one or more: `orders.*`, `audit.>`. Topics whose first word begins with `$` are the host's own; only a
//! pattern that says so names them.

use std::fmt;

use super::BrokerError;

/// The longest name of a topic, a pattern or a group, in bytes. Kafka takes 249.
pub const MAX_TOPIC: usize = 200;

/// Where the dead letters of a group are: behind this.
pub const DEAD_LETTERS: &str = "$dead.";

/// Some topics, by what they are called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BrokerError::BadName`] with what is wrong.
    pub fn new(text: impl Into<String>) -> Result<Self, BrokerError> {
        let text = text.into();
        let last = text.split('.').count() - 1;
        check(&text, "pattern", |at, word| word == "*" || (word == ">" && at == last))?;
        Ok(Self(text))
    }

    /// Whether it names this topic.
    pub fn matches(&self, topic: &str) -> bool {
        let mut words = topic.split('.');
        for wanted in self.0.split('.') {
            let Some(word) = words.next() else { return false };
            match wanted {
                "*" | ">" if word.starts_with('$') => return false,
                ">" => return true,
                "*" => {}
                _ if wanted == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    /// The one topic that it names, if it is only one.
    pub fn topic(&self) -> Option<&str> {
        (!self.0.split('.').any(|word| word == "*" || word == ">")).then_some(&self.0)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Refuses a name that no topic can have.
///
/// # Errors
/// [`BrokerError::BadName`] with what is wrong.
pub fn check_topic(topic: &str) -> Result<(), BrokerError> {
    check(topic, "topic", |_, _| false)
}

/// Refuses a name that no group can have.
///
/// # Errors
/// [`BrokerError::BadName`] with what is wrong.
pub fn check_group(group: &str) -> Result<(), BrokerError> {
    check(group, "group", |_, _| false)
}

fn check(name: &str, what: &str, is_wild: impl Fn(usize, &str) -> bool) -> Result<(), BrokerError> {
    let bad = |reason: String| Err(BrokerError::BadName(format!("{what} {name:?} cannot be named so: {reason}")));
    if name.len() > MAX_TOPIC {
        let length = name.len();
        return Err(BrokerError::BadName(format!(
            "the name of a {what} has {length} bytes, and may have {MAX_TOPIC}: shorten it"
        )));
    }
    for (at, word) in name.split('.').enumerate() {
        if is_wild(at, word) {
            continue;
        }
        let plain = if at == 0 { word.strip_prefix('$').unwrap_or(word) } else { word };
        if plain.is_empty() {
            return bad("a word of it is empty: write words with dots between them, like orders.created".to_owned());
        }
        if plain.contains(['*', '>']) {
            return bad(match what {
                "pattern" => "* is a whole word and > the last one, like orders.* or audit.>".to_owned(),
                _ => format!("* and > are for patterns, and this is a {what}"),
            });
        }
        if !plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return bad("use letters, digits, - and _ in words with dots between them".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(topic)
    }

    #[test]
    fn patterns_name_topics_word_by_word() {
        assert!(matches("orders", "orders") && !matches("orders", "orders.created") && !matches("orders", "order"));
        assert!(matches("orders.*", "orders.created") && !matches("orders.*", "orders.created.eu"));
        assert!(!matches("orders.*", "orders"));
        assert!(matches("*.created", "orders.created") && !matches("*.created", "orders.paid"));
        assert!(matches("audit.>", "audit.a") && matches("audit.>", "audit.a.b") && !matches("audit.>", "audit"));
        assert!(matches(">", "a.b.c") && matches("*", "a") && !matches("*", "a.b"));
        assert!(matches("a.*.>", "a.b.c.d") && !matches("a.*.>", "a.b"));
        assert_eq!(Pattern::new("a.b").unwrap().topic(), Some("a.b"));
        assert_eq!(Pattern::new("a.*").unwrap().topic(), None);
    }

    #[test]
    fn what_is_the_hosts_own_has_to_be_asked_for() {
        assert!(!matches(">", "$dead.x") && !matches("*.x", "$dead.x") && matches("$dead.>", "$dead.x"));
    }

    #[test]
    fn names_that_cannot_be_are_refused_with_the_way_out() {
        for (name, reason) in [
            ("", "empty"),
            ("a..b", "empty"),
            ("a.", "empty"),
            ("$", "empty"),
            ("a.$b", "letters"),
            ("a b", "letters"),
            ("a.*", "for patterns"),
            ("a.>", "for patterns"),
        ] {
            let error = check_topic(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
        for name in ["a.b*", "a.>.b", ">.a", "a**"] {
            assert!(Pattern::new(name).unwrap_err().to_string().contains("whole word"), "{name}");
        }
        assert!(check_topic(&"x".repeat(MAX_TOPIC)).is_ok() && check_topic(&"x".repeat(MAX_TOPIC + 1)).is_err());
        assert!(check_group("billing.eu-1").is_ok() && check_group("*").is_err());
    }
}
