//! The Rust SDK, carried in this program: a new function gets a copy, since crates.io has none.

/// A file of the SDK: where it lies in a new function, and its text.
type File = (&'static str, &'static str);

/// Files of `guest-sdk` but for its tests.
macro_rules! crate_files {
    ($($path:literal)*) => {
        [$((concat!("sdk/micro-sdk/", $path), include_str!(concat!("../../../../guest-sdk/", $path)))),*]
    };
}

/// Files of `wit`, which the SDK looks for beside itself.
macro_rules! wit_files {
    ($($path:literal)*) => {
        [$((concat!("sdk/wit/", $path), include_str!(concat!("../../../../wit/", $path)))),*]
    };
}

const CRATES: [File; CRATE_FILES] = crate_files! {
    "Cargo.toml"
    "README.md"
    "src/bindings.rs"
    "src/client.rs"
    "src/events.rs"
    "src/lib.rs"
    "src/lifecycle.rs"
    "src/log.rs"
    "src/outbox.rs"
    "src/proto.rs"
    "src/store.rs"
    "src/stream.rs"
    "src/testing/calls.rs"
    "src/testing/events.rs"
    "src/testing/mod.rs"
    "src/testing/outbox.rs"
    "src/testing/stores.rs"
    "src/types.rs"
    "src/wire.rs"
    "macros/Cargo.toml"
    "macros/src/api.rs"
    "macros/src/attributes.rs"
    "macros/src/check.rs"
    "macros/src/expand.rs"
    "macros/src/fragment.rs"
    "macros/src/generate.rs"
    "macros/src/items.rs"
    "macros/src/lib.rs"
    "macros/src/module.rs"
    "macros/src/names.rs"
    "macros/src/sdk.rs"
    "macros/src/serve.rs"
    "macros/src/types.rs"
    "macros/src/wit.rs"
    "proto/Cargo.toml"
    "proto/src/lib.rs"
};
const CRATE_FILES: usize = 36;

const CONTRACT: [File; 8] = wit_files! {
    "client.wit"
    "events.wit"
    "handler.wit"
    "lifecycle.wit"
    "outbox.wit"
    "store.wit"
    "subscriber.wit"
    "types.wit"
};

/// The files that go below a new function.
pub(super) fn files() -> impl Iterator<Item = (&'static str, String)> {
    CRATES.into_iter().chain(CONTRACT).map(|(path, text)| match path.ends_with("Cargo.toml") {
        true => (path, standalone(text)),
        false => (path, text.to_owned()),
    })
}

/// A manifest that stands for itself, where it says in this source tree that it is as the workspace has it. Its tests
/// stay behind, and its lints are ours to heed.
fn standalone(manifest: &str) -> String {
    const INHERITED: [(&str, &str); 5] = [
        ("version", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")),
        ("edition", "\"2024\""),
        ("rust-version", concat!("\"", env!("CARGO_PKG_RUST_VERSION"), "\"")),
        ("license", concat!("\"", env!("CARGO_PKG_LICENSE"), "\"")),
        ("publish", "false"),
    ];
    let mut out = String::new();
    let mut is_left_out = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_left_out = ["[lints]", "[dev-dependencies]"].contains(&line);
        }
        if is_left_out {
            continue;
        }
        let inherited = INHERITED.iter().find(|(key, _)| line == format!("{key}.workspace = true"));
        match inherited {
            Some((key, value)) => out.push_str(&format!("{key} = {value}")),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// All files below a folder, but for what a copy has no use for.
    fn below(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
            if path.is_dir() {
                if !["target", "tests", "examples"].iter().any(|left_out| name.ends_with(left_out)) {
                    below(&path, &format!("{name}/"), found);
                }
            } else if !name.ends_with("tests.rs") {
                found.push(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_sdk_is_in_the_copy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut expected = Vec::new();
        below(&root.join("guest-sdk"), "sdk/micro-sdk/", &mut expected);
        below(&root.join("wit"), "sdk/wit/", &mut expected);
        expected.sort();
        let mut carried: Vec<&str> = files().map(|(path, _)| path).collect();
        carried.sort_unstable();
        assert_eq!(carried, expected);
    }

    #[test]
    fn the_manifests_in_the_copy_need_no_workspace() {
        for (path, text) in files().filter(|(path, _)| path.ends_with("Cargo.toml")) {
            let manifest: toml::Table = text.parse().unwrap();
            assert!(!text.contains("workspace"), "{path}: {text}");
            let workspace = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"));
            let workspace: toml::Table = workspace.unwrap().parse().unwrap();
            for key in ["version", "edition", "rust-version", "license", "publish"] {
                assert_eq!(manifest["package"][key], workspace["workspace"]["package"][key], "{path}: {key}");
            }
            assert!(manifest.contains_key("dependencies") && !manifest.contains_key("lints"), "{path}");
        }
    }
}
