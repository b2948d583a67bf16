//! The components that tests deploy, built once per test run.

use crate::program::workspace;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, PoisonError};

/// What the guests are built for.
const TARGET: &str = "wasm32-wasip2";

/// The bytes that say in `versioned.wasm` which version it is.
pub const MARKER: &[u8; 32] = b"MICRO-TEST-VERSION-0000000000000";

/// The folder with the guests' components.
static GUESTS: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| build("tests/guests"));
/// The folder with the components of the functions that are shipped.
static FUNCTIONS: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| build("functions"));

/// The component of the guest in `tests/guests/{name}`.
pub fn guest(name: &str) -> Bytes {
    read(&GUESTS, name)
}

/// The component of the function in `functions/{name}`, as `micro build` finishes it: with its manifest and its doc
/// comments inside.
pub fn function(name: &str) -> Bytes {
    let folder = workspace().join("functions").join(name);
    finished(&folder, &read(&FUNCTIONS, name))
}

/// The component of the guest in `tests/guests/{name}`, as `micro build` finishes it.
pub fn built_guest(name: &str) -> Bytes {
    finished(&workspace().join("tests/guests").join(name), &guest(name))
}

fn finished(folder: &Path, component: &[u8]) -> Bytes {
    let finished = micro::build::Package::read(folder).and_then(|package| package.finish(component));
    finished.unwrap_or_else(|error| panic!("finish {}: {error}", folder.display())).into()
}

/// The component with the text of a `micro.toml` inside.
pub fn with_manifest(component: &[u8], manifest: &str) -> Bytes {
    micro_engine::manifest::embed(component, manifest)
        .unwrap_or_else(|error| panic!("embed {manifest:?}: {error}"))
        .into()
}

/// The guest `versioned`, answering `version`: each version is another component.
pub fn versioned(version: &str) -> Bytes {
    let mut component = guest("versioned").to_vec();
    let at =
        component.windows(MARKER.len()).position(|bytes| bytes == MARKER).expect("versioned.wasm holds the marker");
    let mut text = [b' '; MARKER.len()];
    text[..version.len()].copy_from_slice(version.as_bytes());
    component[at..at + MARKER.len()].copy_from_slice(&text);
    component.into()
}

/// Reads a component, each one once.
fn read(folder: &Result<PathBuf, String>, name: &str) -> Bytes {
    static READ: Mutex<Option<HashMap<PathBuf, Bytes>>> = Mutex::new(None);
    let folder = folder.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let path = folder.join(format!("{}.wasm", name.replace('-', "_")));
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let component = read.get_or_insert_default().entry(path).or_insert_with_key(|path| {
        let bytes = std::fs::read(path);
        bytes.unwrap_or_else(|error| panic!("read {}: {error}: is there a guest {name}?", path.display())).into()
    });
    component.clone()
}

/// Builds a workspace of guests; cargo does nothing when nothing changed. Gives the folder with the components.
fn build(folder: &str) -> Result<PathBuf, String> {
    let root = workspace();
    let toolchain = run(Command::new(root.join("scripts/wasm-target")), "scripts/wasm-target")?;
    let toolchain = String::from_utf8_lossy(&toolchain.stdout).trim().to_string();
    let path = match std::env::var("PATH") {
        Ok(path) => format!("{toolchain}:{path}"),
        Err(_) => toolchain.clone(),
    };
    let target = target_folder();
    let mut cargo = Command::new(Path::new(&toolchain).join("cargo"));
    cargo.args(["build", "--release", "--locked", "--target", TARGET]);
    cargo.arg("--manifest-path").arg(root.join(folder).join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&target);
    cargo.env("PATH", path);
    run(cargo, &format!("the guests in {folder} cannot be built; the command was `cargo build` there"))?;
    Ok(target.join(TARGET).join("release"))
}

/// Beside the tests' own output, and apart from it: another target, another toolchain maybe.
fn target_folder() -> PathBuf {
    crate::program::profile_folder().parent().unwrap_or(Path::new("target")).join("guests")
}

/// Runs a command to its end in an environment without what cargo told this test, which was meant for the host.
fn run(mut command: Command, what: &str) -> Result<Output, String> {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_ours = text.starts_with("CARGO") || text.starts_with("RUST");
        // Where cargo and rustup live, and how they reach the network, stays.
        let stays = ["CARGO_HOME", "RUSTUP_HOME"].contains(&&*text)
            || ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"].iter().any(|prefix| text.starts_with(prefix));
        if is_ours && !stays {
            command.env_remove(&name);
        }
    }
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!("{what} ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}
