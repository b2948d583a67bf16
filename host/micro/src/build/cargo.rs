//! Building a Rust function with cargo.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::environment::{self, Output, plain};
use super::toolchain::{TARGET, Toolchain};
use super::{BuildError, MANIFEST};

/// Builds the crate in `dir` for [`TARGET`].
pub(super) async fn build(dir: &Path, progress: &dyn Fn(&str)) -> Result<Output, BuildError> {
    let toolchain = Toolchain::find(dir).await?;
    let mut cargo = environment::command(toolchain.cargo(), dir);
    cargo.env("PATH", toolchain.path());
    cargo.args(["build", "--release", "--target", TARGET]);
    // Cargo itself says where the component is; diagnostics stay readable, on standard error.
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.args(["--color", if std::io::stderr().is_terminal() { "always" } else { "never" }]);
    let said = environment::run(cargo, "cargo build", &|line| {
        if let Some(status) = status(line) {
            progress(&status);
        }
    })
    .await
    .map_err(without_status)?;
    let Some(artefact) = artefact(&said.stdout, dir) else {
        return Err(BuildError::NoComponent(format!(
            "{}: cargo made no component: a function is a library with\n[lib]\ncrate-type = [\"cdylib\"]\n\
             in its Cargo.toml; or set [build] command and output in {MANIFEST}",
            dir.display()
        )));
    };
    Ok(Output { artefact, remarks: remarks(&said.stderr) })
}

/// One of the messages that cargo prints as JSON lines; only those about files are of interest.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// The component of the crate in `dir` among cargo's messages. A crate may have both a library and a program: the
/// library is the function.
fn artefact(messages: &str, dir: &Path) -> Option<PathBuf> {
    let manifest = dir.join("Cargo.toml");
    let mut found: Option<(bool, PathBuf)> = None;
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()) {
        if message.reason != "compiler-artifact" || message.manifest_path.as_ref() != Some(&manifest) {
            continue;
        }
        let is_library = message.target.is_some_and(|target| target.kind.iter().any(|kind| kind == "cdylib"));
        let wasm = message.filenames.into_iter().find(|file| file.extension().is_some_and(|end| end == "wasm"));
        if let Some(wasm) = wasm
            && (is_library || found.is_none())
        {
            found = Some((is_library, wasm));
        }
    }
    found.map(|(_, wasm)| wasm)
}

/// The lines by which cargo says what it is doing, `   Compiling greeter v0.1.0`, without the indent.
fn status(line: &str) -> Option<String> {
    const VERBS: [&str; 13] = [
        "Compiling",
        "Finished",
        "Updating",
        "Locking",
        "Adding",
        "Downloading",
        "Downloaded",
        "Building",
        "Fresh",
        "Checking",
        "Blocking",
        "Dirty",
        "Unpacking",
    ];
    let line = plain(line);
    let verb = line.split_whitespace().next()?;
    (line.starts_with(' ') && VERBS.contains(&verb)).then(|| line.trim().to_owned())
}

/// What cargo wrote but for its status lines: warnings and errors.
fn remarks(stderr: &str) -> String {
    let kept: Vec<&str> = stderr.lines().filter(|line| status(line).is_none()).collect();
    kept.join("\n").trim().to_owned()
}

fn without_status(error: BuildError) -> BuildError {
    match error {
        BuildError::Failed { what, said } => BuildError::Failed { what, said: remarks(&said) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_one_of_the_folders_own_crate() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"/dep/Cargo.toml","target":{"kind":["cdylib"]},"filenames":["/t/dep.wasm"]}
{"reason":"build-script-executed","package_id":"x"}
not json
{"reason":"compiler-artifact","manifest_path":"/f/Cargo.toml","target":{"kind":["cdylib"]},"filenames":["/t/libf.rlib","/t/f.wasm"]}
{"reason":"compiler-artifact","manifest_path":"/f/Cargo.toml","target":{"kind":["bin"]},"filenames":["/t/tool.wasm"]}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(artefact(messages, Path::new("/f")), Some("/t/f.wasm".into()));
        assert_eq!(artefact(messages, Path::new("/g")), None);
    }

    #[test]
    fn warnings_are_kept_and_progress_is_not() {
        let stderr = "\u{1b}[32m   Compiling\u{1b}[0m f v0.1.0 (/f)\nwarning: unused variable\n --> src/lib.rs:1:1\n    Finished `release` in 1s\n";
        assert_eq!(remarks(stderr), "warning: unused variable\n --> src/lib.rs:1:1");
        assert_eq!(status("   Compiling f v0.1.0").as_deref(), Some("Compiling f v0.1.0"));
    }
}
