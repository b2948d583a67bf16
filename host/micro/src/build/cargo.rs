//! Building a Rust function with cargo.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use micro_engine::manifest::Manifest;

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

/// What `Cargo.toml` says that a manifest would otherwise have to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    name: String,
    version: Option<String>,
}

/// The identity of the crate in `dir`, if there is one.
pub(super) fn identity(dir: &Path) -> Option<Identity> {
    let read = |folder: &Path| -> Option<toml::Table> {
        std::fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().ok()
    };
    let manifest = read(dir)?;
    let package = manifest.get("package")?;
    let name = package.get("name")?.as_str()?.to_owned();
    let version = match package.get("version") {
        Some(toml::Value::String(version)) => Some(version.clone()),
        // `version.workspace = true`: the workspace is in this folder or one above.
        Some(_) => dir
            .ancestors()
            .filter_map(read)
            .find_map(|manifest| Some(manifest.get("workspace")?.get("package")?.get("version")?.as_str()?.to_owned())),
        None => None,
    };
    Some(Identity { name, version })
}

impl Identity {
    /// The lines that this manifest lacks.
    pub(super) fn as_manifest(&self, manifest: &Manifest) -> String {
        let mut lines = format!("name = {:?}\n", self.name);
        if let (None, Some(version)) = (&manifest.version, &self.version) {
            lines.push_str(&format!("version = {version:?}\n"));
        }
        lines
    }
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
    fn a_crate_has_a_name_and_a_version_maybe_of_its_workspace() {
        let guard = tempfile::tempdir().unwrap();
        let inner = guard.path().join("a");
        std::fs::create_dir(&inner).unwrap();
        let write = |folder: &Path, text: &str| std::fs::write(folder.join("Cargo.toml"), text).unwrap();
        assert_eq!(identity(&inner), None);
        write(guard.path(), "[workspace.package]\nversion = \"1.2.3\"");
        assert_eq!(identity(guard.path()), None);
        for (text, version) in [
            ("version = \"0.1.0\"", Some("0.1.0")),
            ("version.workspace = true", Some("1.2.3")),
            ("edition = \"2024\"", None),
        ] {
            write(&inner, &format!("[package]\nname = \"a-b\"\n{text}"));
            let expected = Identity { name: "a-b".into(), version: version.map(str::to_owned) };
            assert_eq!(identity(&inner), Some(expected), "{text}");
        }
    }

    #[test]
    fn warnings_are_kept_and_progress_is_not() {
        let stderr = "\u{1b}[32m   Compiling\u{1b}[0m f v0.1.0 (/f)\nwarning: unused variable\n --> src/lib.rs:1:1\n    Finished `release` in 1s\n";
        assert_eq!(remarks(stderr), "warning: unused variable\n --> src/lib.rs:1:1");
        assert_eq!(status("   Compiling f v0.1.0").as_deref(), Some("Compiling f v0.1.0"));
    }
}
