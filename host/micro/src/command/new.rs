//! `micro new`

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::failure::Failure;
use super::{Options, Output, print};
use crate::build::template::{self, SDK_FOLDER, Style};

/// Make a folder with a Rust function that builds and answers at once
#[derive(Debug, Args)]
#[command(after_help = "With --output json: {\"name\", \"dir\", \"files\": [path, …]}.")]
pub struct Arguments {
    /// The function's name: lower-case words joined by '-'
    name: String,

    /// Write WIT first, and Rust that implements it, instead of plain Rust
    #[arg(long)]
    wit: bool,

    /// The folder in which the new folder is made
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
}

/// Makes the folder.
pub fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { name, wit, dir } = arguments;
    template::check_name(&name).map_err(Failure::usage)?;
    let folder = if dir == Path::new(".") { PathBuf::from(&name) } else { dir.join(&name) };
    create(&folder)?;
    let files = template::function(&name, if wit { Style::Wit } else { Style::Sdk });
    for (path, text) in &files {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    match options.output {
        Output::Json => {
            print::line(serde_json::json!({ "name": name, "dir": folder, "files": paths }))?;
        }
        Output::Text => print::line(summary(&name, &folder, &paths))?,
    }
    Ok(())
}

/// The folder itself must be new; those above it may be there.
fn create(folder: &Path) -> Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::plain(format!("{} already exists", folder.display())).into())
        }
        result => result.with_context(|| format!("create {}", folder.display())),
    }
}

fn summary(name: &str, folder: &Path, paths: &[&str]) -> String {
    let mut text = format!("Created function {name} in {}\n\n", folder.display());
    let is_sdk = |path: &&str| path.split('/').next() == Some(SDK_FOLDER);
    for path in paths.iter().filter(|path| !is_sdk(path)) {
        text.push_str(&format!("  {}\n", folder.join(path).display()));
    }
    if paths.iter().any(is_sdk) {
        text.push_str(&format!("  {}\n", folder.join(SDK_FOLDER).join("…").display()));
    }
    text.push_str(&format!(
        "\nNext:\n  cd {}\n  micro run .                 build, deploy, and again after each change\n\
         \nand in another terminal:\n  micro call {name} Say.Hello '{{\"name\": \"John\"}}'",
        folder.display()
    ));
    text
}
