//! The spellings of one WIT name.
//!
//! WIT writes `user-id`; JSON shows `user_id` and also takes `userId` and `user-id`; an endpoint is named `UserId`.
//! Names of a `.proto` file are shown as that file has them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Stands before an exact name where names are kept as text. No name of WIT or of a `.proto` file begins with it.
const EXACT: char = '=';

/// A WIT identifier with the spellings that callers use for it, made once when a component is inspected. As text it is
/// the WIT identifier; an exact name has [`EXACT`] before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Name {
    /// As WIT writes it: `user-id`.
    pub wit: Arc<str>,
    /// As JSON shows it: `user_id`.
    pub json: Arc<str>,
    camel: Arc<str>,
    is_exact: bool,
}

impl Name {
    /// Makes the spellings of `wit`, a kebab-case identifier.
    pub fn new(wit: &str) -> Name {
        // WIT allows upper-case words (`get-URL`); JSON keys are lower case.
        let json = wit.replace('-', "_").to_lowercase();
        Name { json: json.into(), camel: camel_case(wit).into(), wit: wit.into(), is_exact: false }
    }

    /// A name that is shown as it stands, such as `userMood` or `QUITE_SAD` of a `.proto` file. In queries, letters of
    /// either case are taken for it.
    pub fn exact(name: &str) -> Name {
        let json: Arc<str> = name.into();
        Name { wit: json.clone(), json, camel: camel_case(name).into(), is_exact: true }
    }

    /// Whether `text` is one of the accepted spellings.
    pub fn matches(&self, text: &str) -> bool {
        *self.json == *text
            || *self.camel == *text
            || *self.wit == *text
            || self.is_exact && (is_alike(&self.json, text) || is_alike(&self.camel, text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        text.strip_prefix(EXACT).map_or_else(|| Name::new(&text), Name::exact)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        match name.is_exact {
            true => format!("{EXACT}{}", name.wit),
            false => name.wit.to_string(),
        }
    }
}

/// Whether two words differ at most in the case of their letters, and in `-` for `_`.
fn is_alike(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// `on-order` → `OnOrder`, as endpoint names are written.
pub fn title_case(wit: &str) -> String {
    let mut title = String::with_capacity(wit.len());
    push_title_case(&mut title, wit);
    title
}

/// Writes [`title_case`] behind a text.
pub fn push_title_case(text: &mut String, wit: &str) {
    for word in wit.split(['-', '_']) {
        let mut chars = word.chars();
        match chars.next() {
            Some(first) if first.is_ascii() => text.push(first.to_ascii_uppercase()),
            Some(first) => text.extend(first.to_uppercase()),
            None => {}
        }
        text.push_str(chars.as_str());
    }
}

fn camel_case(wit: &str) -> String {
    let title = title_case(&wit.to_lowercase());
    let mut chars = title.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
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

/// What to say of an unknown word: `did you mean memory?`, or `expected` and all there are.
pub fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean {near}?");
    }
    let known = known.collect::<Vec<_>>().join(", ");
    format!("expected {}", if known.is_empty() { "none" } else { &known })
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
    fn an_exact_name_is_shown_as_it_stands_also_after_it_was_kept_as_text() {
        for text in ["userMood", "QUITE_SAD", "first_name", "id"] {
            let name = Name::exact(text);
            assert_eq!(&*name.json, text);
            assert!(name.matches(text) && name.matches(&text.to_lowercase()));
            let kept = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&kept).unwrap(), name);
        }
        assert!(Name::exact("first_name").matches("firstName") && Name::exact("first_name").matches("first-name"));
        let name = Name::new("get-URL");
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"get-URL\"");
        assert_eq!(serde_json::from_str::<Name>("\"get-URL\"").unwrap(), name);
    }

    #[test]
    fn the_nearest_word_must_be_near() {
        assert_eq!(nearest("memry", ["memory", "timeout"]), Some("memory"));
        assert_eq!(nearest("zzz", ["memory", "timeout"]), None);
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_nearest_one_or_with_all() {
        let known = ["memory", "timeout"];
        assert_eq!(hint("memry", known.into_iter()), "did you mean memory?");
        assert_eq!(hint("zzz", known.into_iter()), "expected memory, timeout");
        assert_eq!(hint("zzz", [].into_iter()), "expected none");
    }
}
