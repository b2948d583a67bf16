//! How a compiler is run: in an environment of its own, with its output kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use super::BuildError;

/// What a compiler left behind.
#[derive(Debug)]
pub(super) struct Output {
    /// The component.
    pub artefact: PathBuf,
    /// Warnings.
    pub remarks: String,
}

/// What a program wrote.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command in `dir` without the settings of whatever build started this program.
pub(super) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_another_build) {
            command.env_remove(&name);
        }
    }
    command
}

/// Whether a variable steers a build. Flags, wrappers and toolchains meant for another build (this program may run
/// under `cargo test`) would change this one; where cargo and rustup live and how they reach the network stays.
fn is_of_another_build(name: &str) -> bool {
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];
    if name.starts_with("RUSTUP_TOOLCHAIN") {
        return true;
    }
    if name.starts_with("RUSTUP_") {
        return false;
    }
    let steers = name.starts_with("CARGO") || name.starts_with("RUST");
    steers && !KEPT.iter().any(|kept| name.starts_with(kept))
}

/// Runs `command` to its end and keeps what it writes; `progress` gets each line of its standard error. An unsuccessful
/// end is a [`BuildError::Failed`] that holds all it said.
pub(super) async fn run(mut command: Command, what: &str, progress: &dyn Fn(&str)) -> Result<Said, BuildError> {
    let failed_to_run = |error| BuildError::io("run", Path::new(what), error);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed_to_run)?;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let (stdout, stderr) = tokio::join!(read(stdout, &|_| ()), read(stderr, progress));
    let status = child.wait().await.map_err(failed_to_run)?;
    let said = Said { stdout: stdout.map_err(failed_to_run)?, stderr: stderr.map_err(failed_to_run)? };
    if status.success() {
        return Ok(said);
    }
    Err(BuildError::Failed { what: what.to_owned(), said: said.stderr.trim_end().to_owned() })
}

async fn read(stream: Option<impl AsyncRead + Unpin>, each: &dyn Fn(&str)) -> std::io::Result<String> {
    let Some(stream) = stream else { return Ok(String::new()) };
    let mut reader = BufReader::new(stream);
    let mut all = String::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        let text = String::from_utf8_lossy(&line);
        each(text.trim_end());
        all.push_str(&text);
        line.clear();
    }
    Ok(all)
}

/// Text without the escape sequences that colour it.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\u{1b}' {
            out.push(char);
        } else if chars.next() == Some('[') {
            // The letter that ends the sequence goes with it.
            let _ = chars.by_ref().find(char::is_ascii_alphabetic);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_does_not_inherit_another_builds_settings() {
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_PKG_NAME"] {
            assert!(is_of_another_build(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "RUSTUP_HOME", "PATH"] {
            assert!(!is_of_another_build(name), "{name}");
        }
    }

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(plain("\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m greeter"), "   Compiling greeter");
    }

    #[tokio::test]
    async fn a_failed_command_tells_what_it_said() {
        let mut command = command("sh", Path::new("/"));
        command.args(["-c", "echo out; echo no such thing >&2; exit 3"]);
        let error = run(command, "the command", &|_| ()).await.unwrap_err();
        assert_eq!(error.to_string(), "no such thing\nthe command failed");
    }
}
