//! `micro push`

use anyhow::{Context, Result};
use clap::Args;

use super::layout::{size, table};
use super::progress::Progress;
use super::{Options, Output, deploy, print};
use crate::build::Built;
use crate::source::oci::{Artifact, Image};
use crate::source::{self, reference};

/// Put a component into an OCI registry
#[derive(Debug, Args)]
#[command(after_help = "\
The artifact has the layout of the CNCF's TAG Runtime, which other WebAssembly tools read and write too. The same \
component always gets the same digest. Credentials are those of 'docker login'; a registry on this machine is spoken to \
over plain http.

With --output json: {\"reference\", \"digest\", \"pinned\", \"name\", \"component\", \"size\"}; digest is the manifest's, \
component that of the .wasm file.")]
pub struct Arguments {
    /// A folder with a micro.toml, a .wasm file, or where one is to be had, as for 'micro deploy'
    source: String,

    /// Where to: REGISTRY/REPOSITORY:TAG [default tag: latest]
    reference: String,
}

/// Pushes.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { source, reference } = arguments;
    let reference = reference::oci(&reference)?;
    let source = source::open(&source, &options.data_dir())?;
    let Built { name, component, digest: component_digest, .. } = deploy::component(&source).await?;
    // What no host takes has no place in a registry.
    let inspection = micro_engine::inspect(&component, Some(&name)).with_context(|| source.shown())?;
    let bytes = component.len() as u64;
    let artifact = Artifact::new(&name, component, &inspection).context("describe the component")?;
    let image = Image::new(reference.clone());
    let progress = Progress::start(format!("pushing {}", image.shown()));
    let digest = image.push(&artifact, &|step| progress.now(step)).await;
    drop(progress);
    let digest = digest?;
    let pinned = format!("{}/{}@{digest}", reference.registry(), reference.repository());
    match options.output {
        Output::Json => print::line(serde_json::json!({
            "reference": image.shown(), "digest": digest, "pinned": pinned, "name": name,
            "component": component_digest, "size": bytes,
        }))?,
        Output::Text => {
            let rows = [("digest", digest), ("pinned", pinned), ("component", component_digest), ("size", size(bytes))];
            print::line(format!("{name} is at {}\n{}", image.shown(), table::indent(&table::pairs(&rows))))?;
        }
    }
    Ok(())
}
