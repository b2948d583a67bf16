//! Building with the command that the manifest gives.

use std::path::{Path, PathBuf};

use super::environment::{self, Output};
use super::toolchain::{TARGET, Toolchain};
use super::{BuildError, MANIFEST};

/// Runs `command` in `dir` by the shell. The component then lies at `output`; for a crate, also where cargo puts it.
pub(super) async fn run(
    dir: &Path,
    command: &str,
    output: Option<&str>,
    progress: &dyn Fn(&str),
) -> Result<Output, BuildError> {
    let is_crate = dir.join("Cargo.toml").is_file();
    let Some(artefact) = output.map(|output| dir.join(output)).or_else(|| cargo_output(dir)) else {
        return Err(BuildError::NoCommand(format!(
            "{}: {MANIFEST} has [build] command but not where the component then lies: add output = \"….wasm\" to \
             [build], relative to that folder",
            dir.display()
        )));
    };
    let mut shell = environment::command("sh", dir);
    shell.args(["-c", command]);
    if is_crate && let Ok(toolchain) = Toolchain::find(dir).await {
        shell.env("PATH", toolchain.path());
    }
    let what = format!("`{command}`");
    let said = environment::run(shell, &what, progress).await?;
    if !artefact.is_file() {
        return Err(BuildError::NoComponent(format!(
            "{what} left no {}: [build] output in {MANIFEST} must name the file it writes",
            artefact.display()
        )));
    }
    Ok(Output { artefact, remarks: said.stderr.trim().to_owned() })
}

/// Where cargo puts the component of the crate in `dir` when nothing sends it elsewhere.
fn cargo_output(dir: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(dir.join("Cargo.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let name = |section: &str| table.get(section)?.get("name")?.as_str();
    let name = name("lib").or_else(|| name("package"))?.replace('-', "_");
    Some(dir.join("target").join(TARGET).join("release").join(format!("{name}.wasm")))
}
