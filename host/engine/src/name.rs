//! The spellings of one WIT name.
//!
//! WIT writes `user-id`; JSON shows `user_id` and also takes `userId` and `user-id`; an endpoint is named `UserId`.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A WIT identifier with the spellings that callers use for it, made once when a component is inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Name {
    /// As WIT writes it: `user-id`.
    pub wit: Arc<str>,
    /// As JSON shows it: `user_id`.
    pub json: Arc<str>,
    camel: Arc<str>,
}

impl Name {
    /// Makes the spellings of `wit`, a kebab-case identifier.
    pub fn new(wit: &str) -> Name {
        // WIT allows upper-case words (`get-URL`); JSON keys are lower case.
        let json = wit.replace('-', "_").to_lowercase();
        Name { json: json.into(), camel: camel_case(wit).into(), wit: wit.into() }
    }

    /// Whether `text` is one of the accepted spellings.
    pub fn matches(&self, text: &str) -> bool {
        *self.json == *text || *self.camel == *text || *self.wit == *text
    }
}

impl From<String> for Name {
    fn from(wit: String) -> Name {
        Name::new(&wit)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.wit.to_string()
    }
}

/// `on-order` → `OnOrder`, as endpoint names are written.
pub fn title_case(wit: &str) -> String {
    wit.split(['-', '_']).filter(|word| !word.is_empty()).map(capitalised).collect()
}

fn camel_case(wit: &str) -> String {
    let title = title_case(&wit.to_lowercase());
    let mut chars = title.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The known word nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_in_each_spelling() {
        let name = Name::new("user-id");
        for spelling in ["user-id", "user_id", "userId"] {
            assert!(name.matches(spelling), "{spelling}");
        }
        assert!(!name.matches("UserId"));
        assert_eq!(&*Name::new("get-URL").json, "get_url");
    }

    #[test]
    fn the_nearest_word_must_be_near() {
        assert_eq!(nearest("memry", ["memory", "timeout"]), Some("memory"));
        assert_eq!(nearest("zzz", ["memory", "timeout"]), None);
    }
}
