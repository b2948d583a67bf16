//! Where components come from: a folder, a file, a git repository, an OCI registry, an HTTP server.
//!
//! [`open`] reads a text, [`Source::component`] fetches and builds, [`Changes`] waits until there is something new.

mod changes;
mod error;
mod git;
mod names;
pub mod oci;
pub mod reference;
mod web;

use crate::build::source::Source as Local;
use crate::build::{BuildError, Built};
use futures::{Stream, StreamExt as _};
use git::Repository;
use micro_engine::inspect::MAX_COMPONENT;
use micro_engine::manifest::Manifest;
use oci::{Image, Pulled};
use reference::Reference;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use web::WebFile;

pub use changes::Changes;
pub use error::SourceError;
pub use names::Names;

/// The folder in the data folder where sources are kept.
const CACHE: &str = "sources";

/// What a command line names as the thing to deploy.
#[derive(Debug)]
pub struct Source {
    place: Place,
    /// Which content was fetched last: a commit or a digest.
    fetched: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Place {
    Local(Local),
    Git(Repository),
    Oci(Image),
    Web(WebFile),
}

/// Looks at what `text` names. Nothing is fetched yet. `data_dir` is where checkouts go.
pub fn open(text: &str, data_dir: &Path) -> Result<Source, SourceError> {
    // What is there needs no explanation; a registry's reference of the same form can be written with oci://.
    let path = Path::new(text);
    let place = if path.exists() {
        Place::Local(Local::open(path)?)
    } else {
        match Reference::parse(text)? {
            Reference::Path(path) => Place::Local(open_path(text, &path)?),
            Reference::Git(reference) => Place::Git(Repository::new(reference, &cache(data_dir))),
            Reference::Oci(reference) => Place::Oci(Image::new(reference)),
            Reference::Web(reference) => Place::Web(WebFile::new(reference)),
        }
    };
    Ok(Source { place, fetched: Mutex::default() })
}

impl Source {
    /// The folder or file on this machine, if that is what it is.
    pub fn local(&self) -> Option<&Local> {
        match &self.place {
            Place::Local(local) => Some(local),
            _ => None,
        }
    }

    /// Where it is, for messages.
    pub fn shown(&self) -> String {
        match &self.place {
            Place::Local(local) => local.path().display().to_string(),
            Place::Git(repository) => repository.shown(),
            Place::Oci(image) => image.shown(),
            Place::Web(file) => file.shown(),
        }
    }

    /// What the deployment is called when the component does not say it.
    pub fn name(&self) -> String {
        match &self.place {
            Place::Local(local) => {
                local.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Place::Git(repository) => repository.reference().name().to_owned(),
            Place::Oci(image) => image.name().to_owned(),
            Place::Web(file) => file.name(),
        }
    }

    /// What is done first to get the component, for messages.
    pub fn first_step(&self) -> String {
        match &self.place {
            Place::Local(Local::Package(package)) => format!("building {}", package.name()),
            Place::Local(Local::File(file)) => format!("reading {}", file.display()),
            Place::Git(_) | Place::Oci(_) | Place::Web(_) => format!("fetching {}", self.shown()),
        }
    }

    /// Whether there is a compiler at work.
    pub fn is_built(&self) -> bool {
        matches!(&self.place, Place::Local(Local::Package(_)) | Place::Git(_))
    }

    /// The component: built, read, or fetched and checked.
    pub async fn component(&self, progress: &dyn Fn(&str)) -> Result<Built, SourceError> {
        match &self.place {
            Place::Local(local) => Ok(local.component(progress).await?),
            Place::Git(repository) => {
                let checkout = repository.check_out(progress).await?;
                self.set_fetched(&checkout.commit);
                let package = Local::open(&checkout.dir)?;
                Ok(package.component(progress).await?)
            }
            Place::Oci(image) => {
                let Pulled { component, digest } = image.pull(progress).await?;
                self.set_fetched(&digest);
                Ok(built(component, image.name().to_owned(), String::new()))
            }
            Place::Web(file) => {
                let (component, digest) = file.fetch(progress).await?;
                self.set_fetched(&digest);
                let remarks = if file.is_fixed() { String::new() } else { unpinned(&file.shown(), &digest) };
                Ok(built(component, file.name(), remarks))
            }
        }
    }

    /// Whether the text can only ever mean one content.
    pub fn is_fixed(&self) -> bool {
        match &self.place {
            Place::Local(_) => false,
            Place::Git(repository) => repository.reference().is_fixed(),
            Place::Oci(image) => image.is_fixed(),
            Place::Web(file) => file.is_fixed(),
        }
    }

    /// Whether there is something else now than what was fetched last.
    async fn is_changed(&self) -> Result<bool, SourceError> {
        let latest = match &self.place {
            Place::Local(_) => None,
            Place::Git(repository) => repository.latest().await?,
            Place::Oci(image) => image.latest().await?,
            Place::Web(file) => file.latest().await?,
        };
        Ok(latest.is_some() && latest != *self.fetched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_fetched(&self, content: &str) {
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Some(content.to_owned());
    }
}

impl From<Local> for Source {
    fn from(local: Local) -> Source {
        Source { place: Place::Local(local), fetched: Mutex::default() }
    }
}

/// The folder where the sources of a data folder are kept.
fn cache(data_dir: &Path) -> PathBuf {
    data_dir.join(CACHE)
}

/// A path that is not there may have been meant as something else.
fn open_path(text: &str, path: &Path) -> Result<Local, SourceError> {
    Local::open(path).map_err(|error| match error {
        BuildError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => SourceError::Text {
            text: text.to_owned(),
            reason: "there is no such file or folder; other sources are oci://REGISTRY/REPOSITORY:TAG, a git URL \
                     (….git, git+https://…, github.com/USER/REPOSITORY) and https://HOST/FILE#sha256:…"
                .to_owned(),
        },
        error => error.into(),
    })
}

/// A component that came as it is.
fn built(component: Vec<u8>, fallback: String, remarks: String) -> Built {
    // A manifest that does not read is the host's to refuse, with its reason.
    let manifest = micro_engine::inspect::manifest_of(&component).ok().flatten();
    let name = manifest.as_ref().and_then(Manifest::full_name).unwrap_or(fallback);
    let digest = micro_engine::inspect::digest(&component);
    Built { name, component, digest, remarks }
}

fn unpinned(url: &str, digest: &str) -> String {
    format!("warning: {url} has no digest, so whoever serves it decides what runs; to pin what came now: #{digest}")
}

/// Reads a stream to its end, up to the largest component, and says how far it is.
async fn collect(
    stream: impl Stream<Item = Result<bytes::Bytes, String>>,
    length: Option<u64>,
    place: &str,
    progress: &dyn Fn(&str),
) -> Result<Vec<u8>, SourceError> {
    let mut stream = std::pin::pin!(stream);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|reason| SourceError::failed("fetch", place, reason))?;
        if bytes.len() + chunk.len() > MAX_COMPONENT {
            return Err(SourceError::TooLarge(place.to_owned()));
        }
        bytes.extend_from_slice(&chunk);
        let so_far = bytesize::ByteSize::b(bytes.len() as u64);
        match length {
            Some(length) => progress(&format!("{so_far} of {}", bytesize::ByteSize::b(length))),
            None => progress(&so_far.to_string()),
        }
    }
    Ok(bytes)
}
