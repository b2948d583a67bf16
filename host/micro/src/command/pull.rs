//! `micro pull`

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::failure::Failure;
use super::layout::{size, table};
use super::progress::Progress;
use super::{Options, Output, print};
use crate::build::Built;
use crate::source::oci::{Image, Pulled};
use crate::source::reference;

/// Get a component out of an OCI registry, into a file
#[derive(Debug, Args)]
#[command(after_help = "\
Manifest and component are checked against their digests. Credentials are those of 'docker login'; a registry on this \
machine is spoken to over plain http.

With --output json: {\"reference\", \"digest\", \"file\", \"component\", \"size\"}; digest is the manifest's, component \
that of the .wasm file.")]
pub struct Arguments {
    /// What: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:… [default tag: latest]
    reference: String,

    /// Where to put it [default: the repository's last name and .wasm, which must not be another file already]
    file: Option<PathBuf>,
}

/// Pulls.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { reference, file } = arguments;
    let image = Image::new(reference::oci(&reference)?);
    let progress = Progress::start(format!("pulling {}", image.shown()));
    let pulled = image.pull(&|step| progress.now(step)).await;
    drop(progress);
    let Pulled { component, digest } = pulled?;
    let component_digest = micro_engine::inspect::digest(&component);
    let file = match file {
        Some(file) => file,
        None => free(PathBuf::from(format!("{}.wasm", image.name())), &component_digest)?,
    };
    let bytes = component.len() as u64;
    let name = image.name().to_owned();
    let built = Built { name, component, digest: component_digest, remarks: String::new() };
    built.write(&file)?;
    match options.output {
        Output::Json => print::line(serde_json::json!({
            "reference": image.shown(), "digest": digest, "file": file,
            "component": built.digest, "size": bytes,
        }))?,
        Output::Text => print::line(table::pairs(&[
            ("file", file.display().to_string()),
            ("size", size(bytes)),
            ("component", built.digest),
            ("digest", digest),
        ]))?,
    }
    Ok(())
}

/// The file, unless it is there with other content: nobody has named it.
fn free(file: PathBuf, digest: &str) -> Result<PathBuf> {
    let is_other = |file: &Path| std::fs::read(file).is_ok_and(|bytes| micro_engine::inspect::digest(&bytes) != digest);
    if is_other(&file) {
        let text = format!("{} is there already and is another one: name a file to write to", file.display());
        return Err(Failure::plain(text).into());
    }
    Ok(file)
}
