//! One name in Rust, in WIT, and in what `wit_bindgen` makes of WIT.

use heck::{ToKebabCase, ToSnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span};
use syn::ext::IdentExt;

/// A name as WIT writes it, without the `%` that a keyword needs: `user-id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(String);

/// Words that WIT takes for its own unless they are marked.
const KEYWORDS: [&str; 46] = [
    "as",
    "async",
    "bool",
    "borrow",
    "char",
    "constructor",
    "enum",
    "error-context",
    "export",
    "f32",
    "f64",
    "false",
    "flags",
    "from",
    "func",
    "future",
    "import",
    "include",
    "interface",
    "list",
    "map",
    "option",
    "own",
    "package",
    "record",
    "resource",
    "result",
    "s16",
    "s32",
    "s64",
    "s8",
    "static",
    "stream",
    "string",
    "true",
    "tuple",
    "type",
    "u16",
    "u32",
    "u64",
    "u8",
    "use",
    "variant",
    "with",
    "world",
    "_",
];

/// Names that `wit_bindgen` puts an underscore behind, since Rust takes them for its own.
const RUST_KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield", "_",
];

impl Name {
    /// The WIT name of a Rust identifier; `user_id` and `UserId` are both `user-id`.
    pub(crate) fn of(ident: &Ident) -> syn::Result<Name> {
        let text = ident.unraw().to_string();
        let kebab = text.to_kebab_case();
        let is_ascii = text.is_ascii();
        if !is_ascii || !kebab.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(syn::Error::new(
                ident.span(),
                format!("`{text}` has no name in WIT: use ASCII letters and digits, and a letter first"),
            ));
        }
        Ok(Name(kebab))
    }

    /// A name that is one already, such as a crate's.
    pub(crate) fn of_crate(name: &str) -> Name {
        Name(name.to_kebab_case())
    }

    /// Two names in one: `count` and `stream` are `count-stream`.
    pub(crate) fn with(&self, suffix: &str) -> Name {
        Name(format!("{}-{suffix}", self.0))
    }

    /// As WIT text has it, keywords marked.
    pub(crate) fn wit(&self) -> String {
        if KEYWORDS.contains(&self.0.as_str()) { format!("%{}", self.0) } else { self.0.clone() }
    }

    /// Without any mark.
    pub(crate) fn plain(&self) -> &str {
        &self.0
    }

    /// What `wit_bindgen` calls a function, a field or a module of this name.
    pub(crate) fn rust_value(&self) -> Ident {
        if RUST_KEYWORDS.contains(&self.0.as_str()) {
            return Ident::new(&format!("{}_", self.0), Span::call_site());
        }
        Ident::new(&self.0.to_snake_case(), Span::call_site())
    }

    /// What `wit_bindgen` calls a type or a case of this name.
    pub(crate) fn rust_type(&self) -> Ident {
        // `Guest` is the trait that the interface becomes.
        let name = if self.0 == "guest" { "Guest_".to_owned() } else { self.0.to_upper_camel_case() };
        Ident::new(&name, Span::call_site())
    }

    /// As the host shows it in an endpoint's name: `on-order` is `OnOrder`.
    pub(crate) fn title(&self) -> String {
        let capitalised = |word: &str| {
            let mut chars = word.chars();
            chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
        };
        self.0.split('-').map(capitalised).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::of(&syn::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn a_name_has_three_spellings() {
        for (rust, wit, value, ty, title) in [
            ("user_id", "user-id", "user_id", "UserId", "UserId"),
            ("UserId", "user-id", "user_id", "UserId", "UserId"),
            ("HTTPServer", "http-server", "http_server", "HttpServer", "HttpServer"),
            ("r#type", "%type", "type_", "Type", "Type"),
            ("list", "%list", "list", "List", "List"),
            ("field_1", "field-1", "field_1", "Field1", "Field1"),
            ("_unused", "unused", "unused", "Unused", "Unused"),
            ("Guest", "guest", "guest", "Guest_", "Guest"),
        ] {
            let name = name(rust);
            let spelt = (name.wit(), name.rust_value().to_string(), name.rust_type().to_string(), name.title());
            assert_eq!(spelt, (wit.into(), value.into(), ty.into(), title.into()), "{rust}");
        }
    }

    #[test]
    fn a_name_that_wit_cannot_write_is_refused() {
        for text in ["größe", "_", "_1"] {
            let ident = Ident::new(text, Span::call_site());
            let said = Name::of(&ident).unwrap_err().to_string();
            assert!(said.contains("has no name in WIT"), "{text}: {said}");
        }
    }
}
