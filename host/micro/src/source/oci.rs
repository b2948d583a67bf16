//! Components in OCI registries, in the layout of the CNCF's TAG Runtime: an image manifest with a configuration of its
//! own media type and the component as its one layer.
//! <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>

mod artifact;
mod credentials;

use super::error::http_reason;
use super::reference::is_loopback;
use super::{SourceError, collect};
use futures::StreamExt as _;
use micro_engine::inspect::MAX_COMPONENT;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{ImageIndexEntry, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use std::time::Duration;

pub use artifact::{Artifact, LAYER};

/// How long a registry may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a registry may send nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to give a manifest, which is a page of JSON. It bounds what a registry can make us read.
const MANIFEST_LIMIT: Duration = Duration::from_secs(30);

/// An artifact in a registry.
#[derive(Debug)]
pub struct Image {
    reference: Reference,
}

/// What came out of a registry.
#[derive(Debug)]
pub struct Pulled {
    /// The component.
    pub component: Vec<u8>,
    /// `sha256:…` of the manifest: what the tag stands for.
    pub digest: String,
}

/// A client that has said who it is.
struct Session {
    client: Client,
    auth: RegistryAuth,
}

impl Image {
    /// The artifact of `reference`.
    pub fn new(reference: Reference) -> Image {
        Image { reference }
    }

    /// The reference, for messages.
    pub fn shown(&self) -> String {
        self.reference.whole()
    }

    /// What the component is called when it does not say it itself.
    pub fn name(&self) -> &str {
        let repository = self.reference.repository();
        repository.rsplit('/').next().unwrap_or(repository)
    }

    /// Whether the reference can only ever mean one content.
    pub fn is_fixed(&self) -> bool {
        self.reference.digest().is_some()
    }

    /// Downloads the component. Manifest and layer are checked against their digests on the way.
    pub async fn pull(&self, progress: &dyn Fn(&str)) -> Result<Pulled, SourceError> {
        let Session { client, auth } = self.session(RegistryOperation::Pull).await?;
        let manifest = client.pull_image_manifest_and_list_digest(&self.reference, &auth);
        let manifest = tokio::time::timeout(MANIFEST_LIMIT, manifest).await;
        let manifest = manifest.map_err(|_| self.failed("pull", "no manifest in time"))?;
        let (manifest, digest, list) = manifest.map_err(|error| self.refused("pull", &error))?;
        let layer = self.layer(&manifest)?;
        let stream = client.pull_blob_stream(&self.reference, layer).await;
        let stream = stream.map_err(|error| self.refused("pull", &error))?;
        let length = u64::try_from(layer.size).ok();
        let chunks = stream.stream.map(|chunk| chunk.map_err(|error| error.to_string()));
        let component = collect(chunks, length, &self.shown(), progress).await?;
        Ok(Pulled { component, digest: list.unwrap_or(digest) })
    }

    /// The digest that the tag stands for now.
    pub async fn latest(&self) -> Result<Option<String>, SourceError> {
        if self.is_fixed() {
            return Ok(None);
        }
        let Session { client, auth } = self.session(RegistryOperation::Pull).await?;
        let digest = tokio::time::timeout(MANIFEST_LIMIT, client.fetch_manifest_digest(&self.reference, &auth)).await;
        let digest = digest.map_err(|_| self.failed("pull", "no manifest in time"))?;
        digest.map(Some).map_err(|error| self.refused("pull", &error))
    }

    /// Uploads an artifact; gives the digest of its manifest.
    pub async fn push(&self, artifact: &Artifact, progress: &dyn Fn(&str)) -> Result<String, SourceError> {
        if self.is_fixed() {
            return Err(self.failed("push", "a digest cannot be chosen: give the reference a tag"));
        }
        let Session { client, .. } = self.session(RegistryOperation::Push).await?;
        for (what, descriptor, blob) in artifact.blobs() {
            // Components share no layers, but the same one is often pushed under another tag.
            if !client.blob_exists(&self.reference, &descriptor.digest).await.unwrap_or(false) {
                progress(what);
                let pushed = client.push_blob(&self.reference, blob.clone(), &descriptor.digest).await;
                pushed.map_err(|error| self.refused("push", &error))?;
            }
        }
        let (manifest, media_type) = artifact.manifest();
        let digest = micro_engine::inspect::digest(manifest);
        let pushed = client.push_manifest_raw(&self.reference, manifest.to_vec(), media_type).await;
        pushed.map_err(|error| self.refused("push", &error))?;
        Ok(digest)
    }

    /// The layer with the component: the only one of its kind, and of a size that a host takes.
    fn layer<'a>(&self, manifest: &'a OciImageManifest) -> Result<&'a OciDescriptor, SourceError> {
        let mut layers = manifest.layers.iter().filter(|layer| artifact::LAYERS.contains(&layer.media_type.as_str()));
        let (Some(layer), None) = (layers.next(), layers.next()) else {
            let kinds: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
            let reason =
                format!("expected one layer of type {LAYER}, found {}: is it a wasm artifact?", kinds.join(", "));
            return Err(self.failed("pull", reason));
        };
        if usize::try_from(layer.size).is_ok_and(|size| size <= MAX_COMPONENT) {
            Ok(layer)
        } else {
            Err(SourceError::TooLarge(self.shown()))
        }
    }

    /// A client that is allowed to do this, as far as the registry tells by now.
    async fn session(&self, operation: RegistryOperation) -> Result<Session, SourceError> {
        let action = if matches!(operation, RegistryOperation::Push) { "push" } else { "pull" };
        crate::tls::install_provider();
        let registry = self.reference.resolve_registry();
        let protocol = if is_loopback(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            platform_resolver: Some(Box::new(wasm_entry)),
            connect_timeout: Some(CONNECT_LIMIT),
            read_timeout: Some(SILENCE_LIMIT),
            user_agent: concat!("micro/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| self.refused(action, &error))?;
        let auth = credentials::find(registry).await.map_err(|reason| self.failed(action, reason))?;
        // The library asks for a token by itself too, but drops the reason when it gets none.
        client.auth(&self.reference, &auth, operation).await.map_err(|error| self.refused(action, &error))?;
        Ok(Session { client, auth })
    }

    fn refused(&self, action: &'static str, error: &OciDistributionError) -> SourceError {
        self.failed(action, reason(error, self.reference.registry()))
    }

    fn failed(&self, action: &'static str, reason: impl ToString) -> SourceError {
        SourceError::failed(action, self.shown(), reason)
    }
}

/// The entry for WebAssembly in an index of images for several platforms.
fn wasm_entry(entries: &[ImageIndexEntry]) -> Option<String> {
    let is_wasm = |entry: &&ImageIndexEntry| {
        let platform = entry.platform.as_ref();
        platform.is_some_and(|platform| platform.architecture.to_string() == "wasm")
    };
    entries.iter().find(is_wasm).map(|entry| entry.digest.clone())
}

/// What a registry complains of, with the way out where there is one.
fn reason(error: &OciDistributionError, registry: &str) -> String {
    let log_in = || format!("the registry wants to know who asks: run 'docker login {registry}' first");
    match error {
        OciDistributionError::UnauthorizedError { .. } => log_in(),
        OciDistributionError::AuthenticationFailure(said) if said.trim().is_empty() => log_in(),
        OciDistributionError::AuthenticationFailure(said) => format!("{}: {}", log_in(), said.trim()),
        OciDistributionError::ServerError { code: 401 | 403, .. } => log_in(),
        OciDistributionError::ServerError { code, message, .. } => format!("the registry answered {code}: {message}"),
        OciDistributionError::ImageManifestNotFoundError(_) => "the registry has no such tag or digest".to_owned(),
        OciDistributionError::RegistryError { envelope, .. } => {
            let errors = envelope.errors.iter().map(|error| format!("{:?}: {}", error.code, error.message));
            format!("the registry answered {}", errors.collect::<Vec<_>>().join("; "))
        }
        OciDistributionError::RequestError(error) => http_reason(error),
        other => other.to_string(),
    }
}
