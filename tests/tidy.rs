//! What the source tree promises of itself, read from the files: arrows between crates, lengths, words, names.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::string_slice, reason = "the places come from searching that very text")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files that may be longer than [`MAX_LINES`], each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// A file longer than this wants to be two.
const MAX_LINES: usize = 500;

/// Words that have no place outside of tests, and what to write instead.
const BANNED: [(&str, &str); 7] = [
    ("todo!", "write the code"),
    ("unimplemented!", "write the code"),
    (".unwrap()", "give the error to the caller"),
    ("dbg!(", "tracing::debug!"),
    ("FIXME", "mend it"),
    ("XXX", "say what is meant"),
    ("HACK", "say why it has to be so"),
];

/// Words that have no place anywhere in the sources: machine paths and hosts of registries.
const NOWHERE: [&str; 5] = ["#[ignore", "/root/", "static.crates.io", "index.crates.io", "/work/"];

/// The crates that a crate of the workspace may name.
const ARROWS: [(&str, &[&str]); 4] = [
    ("host/mesh", &["micro_mesh"]),
    // The crates themselves are named by their benchmarks and their binary.
    ("host/engine", &["micro_mesh", "micro_engine"]),
    ("host/micro", &["micro_mesh", "micro_engine", "micro"]),
    // By that name authors know it.
    ("guest-sdk", &["micro"]),
];

/// The crates of the workspace, as code names them.
const CRATES: [&str; 4] = ["micro_mesh", "micro_engine", "micro", "micro_tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of the source tree.
struct Source {
    /// Below the root, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// Whether all of it is test code.
    fn is_test(&self) -> bool {
        let stem = self.path.trim_end_matches(".rs");
        self.path.starts_with("tests/")
            || stem.ends_with("/tests")
            || stem.ends_with("_tests")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.starts_with("bench/")
            || self.path.starts_with("fuzz/")
    }

    /// The lines that are not inside a `#[cfg(test)]` module at the end, with their numbers.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| !line.starts_with("mod tests {"))
    }
}

/// All text files with one of these endings, but for what builds leave behind.
fn sources(endings: &[&str]) -> Vec<Source> {
    fn visit(folder: &Path, endings: &[&str], found: &mut Vec<Source>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", "node_modules"].contains(&name.as_str()) {
                    visit(&path, endings, found);
                }
                continue;
            }
            if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    let mut found = Vec::new();
    visit(root(), endings, &mut found);
    found
}

/// Panics with all the places at once.
fn assert_none(what: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{what}:\n  {}", places.join("\n  "));
}

#[test]
fn crates_name_only_the_crates_below_them() {
    let mut wrong = Vec::new();
    for (folder, allowed) in ARROWS {
        let forbidden: Vec<&str> = CRATES.into_iter().filter(|name| !allowed.contains(name)).collect();
        for source in sources(&[".rs"]).iter().filter(|source| source.path.starts_with(&format!("{folder}/"))) {
            for (number, line) in source.text.lines().enumerate() {
                // What bindings to WIT call `micro` is the namespace of our contract.
                let code = line.split("//").next().unwrap_or_default().replace("self::micro::", "");
                let code = code.as_str();
                let named = forbidden.iter().find(|name| names(code, name));
                if let Some(name) = named {
                    wrong.push(format!("{}:{}: {folder} must not know {name}", source.path, number + 1));
                }
            }
        }
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for name in forbidden {
            let key = name.replace('_', "-");
            if manifest.lines().any(|line| line.starts_with(&format!("{key}.")) || line.starts_with(&format!("{key} ")))
            {
                wrong.push(format!("{folder}/Cargo.toml: must not depend on {key}"));
            }
        }
    }
    assert_none("arrows that point back", wrong);
}

/// Whether code uses a path that begins with this crate.
fn names(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_' || char == ':')
    })
}

#[test]
fn only_the_engine_names_wasmtime() {
    let mut wrong = Vec::new();
    for source in sources(&[".rs", "Cargo.toml"]) {
        let is_elsewhere = source.path.starts_with("host/") && !source.path.starts_with("host/engine/");
        if !is_elsewhere && !source.path.starts_with("guest-sdk/") {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("wasmtime::") || code.contains("wasmtime_wasi") || code.starts_with("wasmtime") {
                wrong.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    assert_none("wasmtime is named outside of host/engine", wrong);
}

#[test]
fn files_are_short() {
    let mut long: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources(&[".rs"]) {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            long.insert(source.path, lines);
        }
    }
    for (path, _) in LONG_FILES {
        assert!(long.remove(path).is_some(), "{path} is short again: take it off the list");
    }
    let long = long.into_iter().map(|(path, lines)| format!("{path}: {lines} lines")).collect();
    assert_none(&format!("files over {MAX_LINES} lines"), long);
}

#[test]
fn words_that_mean_unfinished_stay_out() {
    let mut wrong = Vec::new();
    for source in sources(&[".rs"]).iter().filter(|source| !source.is_test()) {
        for (number, line) in source.product_lines() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, instead) in BANNED {
                // Comments may name code, and may not put work off.
                let place = if word.ends_with(|char: char| char.is_uppercase()) { line } else { code };
                if place.contains(word) {
                    wrong.push(format!("{}:{number}: {word}: {instead}", source.path));
                }
            }
        }
    }
    assert_none("banned words", wrong);
}

#[test]
fn nothing_is_skipped_and_nothing_names_this_machine() {
    let mut wrong = Vec::new();
    let scripts = ["Makefile", "bench", "fuzz", "instrument", "phase", "run", "setup", "wasm-target"];
    let endings = [&[".rs", ".toml", ".wit", ".md", ".sh", ".in"], &scripts[..]].concat();
    for source in sources(&endings).iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.text.lines().enumerate() {
            for word in NOWHERE.into_iter().filter(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    assert_none("words that have no place in the tree", wrong);
}

#[test]
fn every_guest_is_used_by_a_test() {
    let tests: String = sources(&[".rs"])
        .into_iter()
        .filter(|source| source.path.starts_with("tests/integration/") || source.path.starts_with("tests/src/"))
        .map(|source| source.text)
        .collect();
    let mut unused = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/guests")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let uses = [format!("guest(\"{name}\")"), format!("deploy(\"{name}\")"), format!("deploy_limited(\"{name}\"")];
        if folder.join("Cargo.toml").is_file() && !uses.iter().any(|used| tests.contains(used)) {
            unused.push(name);
        }
    }
    assert_none("guests that no test deploys", unused);
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README.md");
    let commands = std::fs::read_to_string(root().join("host/micro/src/command/mod.rs")).unwrap();
    let (_, list) = commands.split_once("enum Command {").expect("the list of commands");
    let (list, _) = list.split_once("\n}").expect("its end");
    let mut is_hidden = false;
    let mut missing = Vec::new();
    for line in list.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_hidden = line.contains("hide = true") || line.contains("external_subcommand");
            continue;
        }
        let Some((variant, _)) = line.split_once('(') else { continue };
        let name = kebab(variant);
        if !is_hidden && !readme.contains(&format!("micro {name}")) {
            missing.push(name);
        }
        is_hidden = false;
    }
    assert_none("commands that README.md does not name", missing);
}

fn kebab(title: &str) -> String {
    let mut out = String::new();
    for char in title.chars() {
        if char.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(char.to_lowercase());
    }
    out
}

#[test]
fn everything_in_the_contract_is_documented() {
    let mut bare = Vec::new();
    let is_contract = |path: &str| path.starts_with("wit/") || path.starts_with("functions/");
    for source in sources(&[".wit"]).iter().filter(|source| is_contract(&source.path)) {
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let is_item = ["interface ", "record ", "variant ", "enum ", "flags ", "resource ", "world ", "type "]
                .iter()
                .any(|word| line.starts_with(word));
            let is_function = line.contains(": func(") || line.contains(": async func(");
            let is_field = line.ends_with(',') && line.contains(": ") && !line.contains('(');
            let above = index.checked_sub(1).map_or("", |above| lines[above]);
            if (is_item || is_function || is_field) && !above.starts_with("///") && !line.starts_with("//") {
                bare.push(format!("{}:{}: {line}", source.path, index + 1));
            }
        }
    }
    assert_none("items of the WIT without a doc comment", bare);
}
