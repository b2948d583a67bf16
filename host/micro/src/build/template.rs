//! The files of a new function.

use super::sdk;

/// One file of the template: where it goes, and its text with `{{name}}` and `{{module}}` (the name as Rust writes
/// it) in it.
struct File {
    path: &'static str,
    text: &'static str,
}

/// What a new function is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Rust, from which the WIT is made.
    Sdk,
    /// WIT first, and Rust that implements it.
    Wit,
}

/// Every file, in the order in which a person would read them. In this source tree their names end in `.in`, so that
/// cargo does not take the template for a crate of its own.
const SDK: [File; 5] = [
    File { path: "src/lib.rs", text: include_str!("../../templates/function/src/lib.rs.in") },
    File { path: "micro.toml", text: include_str!("../../templates/function/micro.toml.in") },
    File { path: "Cargo.toml", text: include_str!("../../templates/function/Cargo.toml.in") },
    File { path: "README.md", text: include_str!("../../templates/function/README.md.in") },
    File { path: ".gitignore", text: include_str!("../../templates/function/gitignore.in") },
];

/// The same for a function whose WIT is written first.
const WIT: [File; 6] = [
    File { path: "micro.toml", text: include_str!("../../templates/wit/micro.toml.in") },
    File { path: "wit/world.wit", text: include_str!("../../templates/wit/wit/world.wit.in") },
    File { path: "src/lib.rs", text: include_str!("../../templates/wit/src/lib.rs.in") },
    File { path: "Cargo.toml", text: include_str!("../../templates/wit/Cargo.toml.in") },
    File { path: "README.md", text: include_str!("../../templates/wit/README.md.in") },
    File { path: ".gitignore", text: include_str!("../../templates/wit/gitignore.in") },
];

/// The folder of a new function in which the SDK lies: not for people to read through.
pub const SDK_FOLDER: &str = "sdk";

/// The longest name of a new function; it becomes a crate's name and part of file names.
const MAX_NAME: usize = 64;

/// The files of a function called `name`, as paths and texts.
pub fn function(name: &str, style: Style) -> Vec<(&'static str, String)> {
    let module = name.replace('-', "_");
    let fill = |text: &str| text.replace("{{module}}", &module).replace("{{name}}", name);
    let filled = |files: &[File]| files.iter().map(|file| (file.path, fill(file.text))).collect();
    let mut files: Vec<(&'static str, String)> = match style {
        Style::Sdk => filled(&SDK),
        Style::Wit => filled(&WIT),
    };
    if style == Style::Sdk {
        files.extend(sdk::files());
    }
    files
}

/// Says why `name` cannot name a new function, if so: it has to be a crate's name and a WIT name at once.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a function needs a name".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name is longer than {MAX_NAME} characters"));
    }
    if !name.split('-').all(is_word) {
        let hint = match suggestion(name) {
            Some(suggestion) => format!(", like {suggestion:?}"),
            None => String::new(),
        };
        return Err(format!(
            "the name {name:?} must be lower-case words joined by '-', each beginning with a letter{hint}"
        ));
    }
    if is_taken(name) {
        return Err(format!("the name {name:?} means something else to Rust: choose another, like \"my-{name}\""));
    }
    Ok(())
}

fn is_word(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit())
}

/// The nearest name that would do.
fn suggestion(name: &str) -> Option<String> {
    let mut words = String::new();
    for char in name.chars() {
        match char {
            'A'..='Z' => {
                if words.ends_with(|last: char| last.is_ascii_lowercase()) {
                    words.push('-');
                }
                words.push(char.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => words.push(char),
            _ if !words.is_empty() && !words.ends_with('-') => words.push('-'),
            _ => {}
        }
    }
    let words = words.trim_matches('-').to_owned();
    (words.split('-').all(is_word) && !is_taken(&words)).then_some(words)
}

/// Names that cargo refuses for a crate, or that hide a crate every program uses.
fn is_taken(name: &str) -> bool {
    /// Rust's own words.
    const KEYWORDS: [&str; 51] = [
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
        "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
        "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super",
        "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
    ];
    /// Crates that come with Rust, and the one that a function's bindings are made by.
    const CRATES: [&str; 6] = ["alloc", "core", "proc-macro", "std", "test", "wit-bindgen"];
    /// Folders that cargo keeps beside what it builds.
    const FOLDERS: [&str; 4] = ["build", "deps", "examples", "incremental"];
    KEYWORDS.contains(&name) || CRATES.contains(&name) || FOLDERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_to_do_for_a_crate_and_for_wit() {
        for name in ["greeter", "hello-world", "a1-b2", "record"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, reason) in [
            ("", "needs a name"),
            ("HelloWorld", "like \"hello-world\""),
            ("hello_world", "like \"hello-world\""),
            ("demo.greeter", "like \"demo-greeter\""),
            ("../x", "like \"x\""),
            ("-", "lower-case words"),
            ("1st", "lower-case words"),
            ("a-1", "lower-case words"),
            ("fn", "\"my-fn\""),
            ("grüße", "lower-case words"),
        ] {
            let error = check_name(name).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert!(check_name(&"a".repeat(MAX_NAME + 1)).is_err());
    }

    #[test]
    fn every_place_of_the_template_is_filled_in() {
        for (name, style) in [("hello-world", Style::Sdk), ("hello-world", Style::Wit), ("record", Style::Wit)] {
            let files = function(name, style);
            for (path, text) in &files {
                let is_filled = path.starts_with(SDK_FOLDER) || !text.contains("{{");
                assert!(is_filled, "{path}: {text}");
                assert!(text.ends_with('\n'), "{path}");
            }
            let text = |wanted: &str| files.iter().find(|(path, _)| *path == wanted).unwrap().1.clone();
            let manifest = micro_engine::Manifest::parse(&text("micro.toml")).unwrap();
            assert_eq!(manifest.full_name().as_deref(), Some(name));
            let crate_manifest: toml::Table = text("Cargo.toml").parse().unwrap();
            assert_eq!(crate_manifest["package"]["name"].as_str(), Some(name));
        }
        assert!(function("record", Style::Wit)[1].1.contains("package example:%record"));
    }
}
