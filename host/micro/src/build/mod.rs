//! From a folder with a `micro.toml`, or with a crate, to one deployable `.wasm` file.

mod cargo;
mod environment;
mod fragment;
mod sdk;
mod shell;
pub mod source;
pub mod template;
pub mod toolchain;
pub mod watch;

use std::path::{Path, PathBuf};

use micro_engine::docs::Docs;
use micro_engine::manifest::Manifest;

use crate::whole_file::{self, Readers};
use environment::Output;
use fragment::Said;

/// The manifest's file name.
pub const MANIFEST: &str = "micro.toml";

/// Folders that hold what builds leave behind, or what no build reads.
pub const NOT_SOURCE: [&str; 4] = ["target", "node_modules", "__pycache__", "dist"];

/// A folder that holds a function's source and its manifest; for a crate, `Cargo.toml` can stand in for that.
#[derive(Debug, Clone)]
pub struct Package {
    /// The folder, absolute.
    pub dir: PathBuf,
    /// The manifest, checked.
    pub manifest: Manifest,
    /// The manifest as it is written. With what the source says of itself, this is what gets embedded.
    pub manifest_text: String,
}

/// A component with its manifest inside.
#[derive(Debug, Clone)]
pub struct Built {
    /// What the deployment is called when nobody says: by the manifest, else by the file.
    pub name: String,
    /// The component.
    pub component: Vec<u8>,
    /// Its `sha256:…`.
    pub digest: String,
    /// What the compiler said although it succeeded; empty most of the time.
    pub remarks: String,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder is not a package.
    #[error("no {MANIFEST} in {}, and no Cargo.toml of a crate: make a function with 'micro new NAME', or write a {MANIFEST} with at least name = \"…\"", .0.display())]
    NotAPackage(PathBuf),
    /// A file or a program could not be read, written or run.
    #[error("{action} {}: {error}", place.display())]
    Io {
        /// In a word or two: `read`, `run`.
        action: &'static str,
        /// The file or the program.
        place: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The manifest does not hold.
    #[error("{}: {reason}", place.display())]
    Manifest {
        /// The folder.
        place: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody can tell how this source is built.
    #[error("{0}")]
    NoCommand(String),
    /// No Rust compiler here makes WASI components.
    #[error("{0}")]
    NoToolchain(String),
    /// The compiler or the command failed; the text is what it said.
    #[error("{said}\n{what} failed")]
    Failed {
        /// The program, as a person would call it.
        what: String,
        /// Its output.
        said: String,
    },
    /// The build succeeded and left nothing to deploy.
    #[error("{0}")]
    NoComponent(String),
}

impl BuildError {
    fn io(action: &'static str, place: &Path, error: std::io::Error) -> BuildError {
        BuildError::Io { action, place: place.to_owned(), error }
    }
}

impl Package {
    /// Reads the manifest of `dir`.
    pub fn read(dir: &Path) -> Result<Package, BuildError> {
        let dir = dir.canonicalize().map_err(|error| BuildError::io("open", dir, error))?;
        let place = dir.join(MANIFEST);
        let identity = cargo::identity(&dir);
        let mut manifest_text = match std::fs::read_to_string(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && identity.is_some() => String::new(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BuildError::NotAPackage(dir));
            }
            Err(error) => return Err(BuildError::io("read", &place, error)),
        };
        let refuse = |reason: String| BuildError::Manifest { place: dir.clone(), reason };
        let mut manifest = Manifest::parse(&manifest_text).map_err(|error| refuse(error.to_string()))?;
        if manifest.name.is_none() {
            let Some(identity) = identity else {
                return Err(refuse(format!("{MANIFEST}: no name: write name = \"…\"")));
            };
            // In front, since what follows a table belongs to it.
            manifest_text = identity.as_manifest(&manifest) + &manifest_text;
            manifest = Manifest::parse(&manifest_text).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(Package { dir, manifest, manifest_text })
    }

    /// The name that the deployment goes by.
    pub fn name(&self) -> String {
        self.manifest.full_name().unwrap_or_default()
    }

    /// Where `micro build` puts the component unless told otherwise.
    pub fn default_output(&self) -> PathBuf {
        self.dir.join("target").join("micro").join(format!("{}.wasm", self.name()))
    }

    /// Compiles the source and embeds the manifest. `progress` gets a line now and then.
    pub async fn build(&self, progress: &dyn Fn(&str)) -> Result<Built, BuildError> {
        let output = self.compile(progress).await?;
        let artefact = &output.artefact;
        let bytes = std::fs::read(artefact).map_err(|error| BuildError::io("read", artefact, error))?;
        let component = self.finish(&bytes)?;
        let digest = micro_engine::inspect::digest(&component);
        Ok(Built { name: self.name(), component, digest, remarks: output.remarks })
    }

    /// The component with everything in it that compilers do not put there: the manifest, together with what the source
    /// says of itself, and the doc comments.
    pub fn finish(&self, component: &[u8]) -> Result<Vec<u8>, BuildError> {
        let refuse = |reason: String| BuildError::Manifest { place: self.dir.clone(), reason };
        let said = Said::of(component);
        let manifest = fragment::merge(&self.manifest_text, &said.fragments).map_err(refuse)?;
        let component =
            micro_engine::manifest::embed(component, &manifest).map_err(|error| refuse(error.to_string()))?;
        self.embed_docs(component, &said.wit)
    }

    /// Puts the doc comments of the WIT, which compilers drop, into the component. Where the source is the WIT, what it
    /// says is it; a `wit` folder beside it then holds what the function calls.
    fn embed_docs(&self, component: Vec<u8>, said: &[String]) -> Result<Vec<u8>, BuildError> {
        let folder = self.dir.join("wit");
        let docs = if !said.is_empty() {
            docs_of(said)
        } else if folder.is_dir() {
            Docs::of_folder(&folder)
        } else {
            return Ok(component);
        };
        docs.and_then(|docs| docs.embed(&component))
            .map_err(|error| BuildError::NoComponent(format!("{}: {error}", folder.display())))
    }

    async fn compile(&self, progress: &dyn Fn(&str)) -> Result<Output, BuildError> {
        let build = &self.manifest.build;
        if let Some(command) = &build.command {
            return shell::run(&self.dir, command, build.output.as_deref(), progress).await;
        }
        if self.dir.join("Cargo.toml").is_file() {
            return cargo::build(&self.dir, progress).await;
        }
        if let Some(output) = &build.output {
            return Ok(Output { artefact: self.dir.join(output), remarks: String::new() });
        }
        Err(no_command(&self.dir))
    }
}

impl Built {
    /// Puts the component at `place` in one step: who watches that file never reads half of it.
    pub fn write(&self, place: &Path) -> Result<(), BuildError> {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|error| BuildError::io("create", folder, error))?;
        }
        whole_file::write(place, &self.component, Readers::Others)
            .map_err(|error| BuildError::io("write", place, error))
    }
}

/// The doc comments in WIT texts, which are files of one package.
fn docs_of(texts: &[String]) -> Result<Docs, String> {
    let failed = |error: std::io::Error| format!("write into {}: {error}", std::env::temp_dir().display());
    let folder = tempfile::tempdir().map_err(failed)?;
    for (index, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{index}.wit")), text).map_err(failed)?;
    }
    Docs::of_folder(folder.path())
}

/// Says what to write into the manifest of a package whose language has no default.
fn no_command(dir: &Path) -> BuildError {
    const LANGUAGES: [(&str, &str, &str); 3] = [
        ("go.mod", "Go", "go build -o function.wasm …"),
        ("package.json", "JavaScript", "npx jco componentize function.js --wit wit -n WORLD -o function.wasm"),
        ("pyproject.toml", "Python", "componentize-py -d wit -w WORLD componentize app -o function.wasm"),
    ];
    let found = LANGUAGES.iter().find(|(file, ..)| dir.join(file).is_file());
    let (what, example) = match found {
        Some((file, language, example)) => (format!("{file} says {language}, which has no default build"), *example),
        None => ("there is no Cargo.toml, so nothing says how to build it".to_owned(), "make"),
    };
    BuildError::NoCommand(format!(
        "{}: {what}: say in {MANIFEST} how to, and where the component then lies (relative to that folder):\n\
         [build]\ncommand = \"{example}\"\noutput = \"function.wasm\"",
        dir.display()
    ))
}

#[cfg(test)]
mod tests;
