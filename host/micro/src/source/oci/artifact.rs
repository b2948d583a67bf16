//! A component as an OCI artifact: its configuration, its layer, its manifest.

use bytes::Bytes;
use micro_engine::Inspection;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use reqwest::header::HeaderValue;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// The media type of the layer.
pub const LAYER: &str = "application/wasm";
/// Media types under which components are found; the second is of before the layout was agreed upon.
pub(super) const LAYERS: [&str; 2] = [LAYER, "application/vnd.wasm.content.layer.v1+wasm"];
/// The media type of the configuration.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// What is pushed.
#[derive(Debug)]
pub struct Artifact {
    config: (OciDescriptor, Bytes),
    layer: (OciDescriptor, Bytes),
    manifest: Vec<u8>,
}

/// The configuration, as the layout has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: String,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [&'a str; 1],
    component: Component<'a>,
}

#[derive(Serialize)]
struct Component<'a> {
    exports: BTreeSet<&'a str>,
    imports: &'a [String],
}

impl Artifact {
    /// The artifact of a component. The same component always makes the same artifact.
    pub fn new(name: &str, component: Vec<u8>, inspection: &Inspection) -> Result<Artifact, serde_json::Error> {
        let layer = (descriptor(LAYER, &component), Bytes::from(component));
        let interfaces = inspection.endpoints.iter().filter_map(|endpoint| endpoint.interface.as_deref());
        let config = serde_json::to_vec(&Config {
            created: created(),
            architecture: "wasm",
            os: "wasip2",
            layer_digests: [&layer.0.digest],
            component: Component {
                exports: interfaces.chain(inspection.other_exports.iter().map(String::as_str)).collect(),
                imports: &inspection.imports,
            },
        })?;
        let config = (descriptor(CONFIG, &config), Bytes::from(config));
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            config: config.0.clone(),
            layers: vec![layer.0.clone()],
            annotations: Some(annotations(name, inspection)),
            ..OciImageManifest::default()
        };
        let manifest = serde_json::to_vec(&manifest)?;
        Ok(Artifact { config, layer, manifest })
    }

    /// Everything that the manifest refers to, with what to call it.
    pub(super) fn blobs(&self) -> [(&'static str, &OciDescriptor, &Bytes); 2] {
        [("the component", &self.layer.0, &self.layer.1), ("the configuration", &self.config.0, &self.config.1)]
    }

    /// The manifest with its media type.
    pub(super) fn manifest(&self) -> (&[u8], HeaderValue) {
        (&self.manifest, HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE))
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: micro_engine::inspect::digest(bytes),
        size: bytes.len() as i64,
        ..OciDescriptor::default()
    }
}

/// What registries show of it.
fn annotations(name: &str, inspection: &Inspection) -> BTreeMap<String, String> {
    let manifest = inspection.manifest.as_ref();
    let fields = [
        ("title", Some(name.to_owned())),
        ("version", manifest.and_then(|manifest| manifest.version.clone())),
        ("description", manifest.and_then(|manifest| manifest.description.clone())),
    ];
    let present = fields.into_iter().filter_map(|(key, value)| Some((key, value?)));
    present.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect()
}

/// The layout wants a time. The true one would give the same component another digest with every push, so it is the one
/// that reproducible builds agree on.
fn created() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(given.unwrap_or(0)));
    humantime::format_rfc3339_seconds(time.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
}
