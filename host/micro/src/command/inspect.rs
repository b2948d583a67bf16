//! `micro inspect`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use micro_engine::inspect::Web;
use micro_engine::schema::Endpoint;
use micro_engine::{Inspection, capability};

use super::layout::{grants, service, size, table};
use super::{Options, Output, deploy, print};
use crate::build::Built;
use crate::build::source::Source;
use crate::runtime::endpoint_record;

/// Show what a component holds: its imports, its endpoints, and the engine that runs it
#[derive(Debug, Args)]
#[command(after_help = "\
A folder is built first.

With --output json: {\"name\", \"version\", \"kind\", \"size\", \"digest\", \"engine\", \"command\", \"imports\", \"grants\", \
\"endpoints\": [{\"name\", \"docs\", \"interface\", \"request\", \"response\", \"error\"}], \
\"web\", \"other_exports\"}; web is the version of wasi:http by which it takes HTTP requests as they are, or null; request and response are trees of {\"name\", \"type\", \"values\"}.")]
pub struct Arguments {
    /// A .wasm file, or a folder with a micro.toml
    #[arg(value_name = "FILE|DIR", default_value = ".", hide_default_value = true)]
    source: PathBuf,
}

/// Shows.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let source = Source::open(&arguments.source)?;
    let Built { name, component, .. } = deploy::component(&source.clone().into()).await?;
    let inspection =
        micro_engine::inspect(&component, Some(&name)).with_context(|| format!("{}", source.path().display()))?;
    match options.output {
        Output::Json => print::line(json(&name, &inspection))?,
        Output::Text => print::line(layout(&name, &inspection))?,
    }
    Ok(())
}

fn layout(name: &str, inspection: &Inspection) -> String {
    let manifest = inspection.manifest.clone().unwrap_or_default();
    let rows = [
        ("name", name.to_owned()),
        ("version", manifest.version.clone().unwrap_or_default()),
        ("about", manifest.description.clone().unwrap_or_default()),
        ("size", size(inspection.size as u64)),
        ("digest", inspection.digest.clone()),
        ("engine", inspection.engine.as_str().to_owned()),
        ("imports", grants::of_component(&capability::grants(inspection, &manifest))),
        ("not granted", capability::not_granted(inspection, &manifest).join("\n")),
        ("web", inspection.web.map(|web| web.as_str().to_owned()).unwrap_or_default()),
        ("command", inspection.command().unwrap_or_default().to_owned()),
        ("other exports", other_exports(inspection).join("\n")),
    ];
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut text = table::pairs(&rows);
    text.push('\n');
    for endpoint in &inspection.endpoints {
        let docs = endpoint.docs.as_deref().unwrap_or_default().trim();
        text.push_str(&service::endpoint(&endpoint_record(endpoint), "", docs));
        if let Some(error) = error_type(endpoint) {
            text.push_str(&format!("\nError: {error}\n"));
        }
    }
    text.trim_end().to_owned()
}

fn json(name: &str, inspection: &Inspection) -> serde_json::Value {
    let manifest = inspection.manifest.clone().unwrap_or_default();
    let endpoints = inspection.endpoints.iter().map(|endpoint| {
        let record = endpoint_record(endpoint);
        serde_json::json!({
            "name": record.name,
            "docs": endpoint.docs.as_deref(),
            "interface": endpoint.interface.as_deref(),
            "request": record.request,
            "response": record.response,
            "error": error_type(endpoint),
        })
    });
    serde_json::json!({
        "name": name,
        "version": manifest.version,
        "kind": manifest.kind.as_str(),
        "size": inspection.size,
        "digest": inspection.digest,
        "engine": inspection.engine.as_str(),
        "command": inspection.command(),
        "imports": inspection.imports,
        "grants": capability::grants(inspection, &manifest),
        "endpoints": endpoints.collect::<Vec<_>>(),
        "web": inspection.web.map(Web::as_str),
        "other_exports": other_exports(inspection),
    })
}

/// What is neither an endpoint nor the HTTP handler.
fn other_exports(inspection: &Inspection) -> Vec<&str> {
    let handler = inspection.web_interface();
    inspection.other_exports.iter().map(String::as_str).filter(|export| handler != Some(*export)).collect()
}

/// The type of an endpoint's own error, if it can give one.
fn error_type(endpoint: &Endpoint) -> Option<String> {
    let error = endpoint.reply.err.as_ref()?;
    Some(error.as_ref().map_or_else(|| "without a value".to_owned(), micro_engine::schema::Type::label))
}
