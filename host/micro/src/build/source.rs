//! What a command line names: a package to be built, or a component that is there already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use micro_engine::manifest::Manifest;

use super::{BuildError, Built, Package};

/// A file that nobody has written to for so long is what its writer wanted it to be.
const SETTLED: Duration = Duration::from_millis(300);
/// Between two looks at a file that is being written.
const GLANCE: Duration = Duration::from_millis(20);

/// A folder or a file.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder with a `micro.toml`.
    Package(Box<Package>),
    /// A `.wasm` file.
    File(PathBuf),
}

impl Source {
    /// Looks at what `path` is.
    pub fn open(path: &Path) -> Result<Source, BuildError> {
        let kind = path.metadata().map_err(|error| BuildError::io("open", path, error))?;
        if kind.is_dir() {
            return Ok(Source::Package(Box::new(Package::read(path)?)));
        }
        let file = path.canonicalize().map_err(|error| BuildError::io("open", path, error))?;
        Ok(Source::File(file))
    }

    /// The component: built, or read. The manifest is read again, since it may have changed.
    pub async fn component(&self, progress: &dyn Fn(&str)) -> Result<Built, BuildError> {
        match self {
            Source::Package(package) => Package::read(&package.dir)?.build(progress).await,
            Source::File(file) => {
                let component = std::fs::read(file).map_err(|error| BuildError::io("read", file, error))?;
                let name = embedded_name(&component).unwrap_or_else(|| stem(file));
                let digest = micro_engine::inspect::digest(&component);
                Ok(Built { name, component, digest, remarks: String::new() })
            }
        }
    }

    /// Waits while a file is still being written: until it holds a component, or stays as it is for a while.
    pub async fn settle(&self) {
        let Source::File(file) = self else { return };
        let mut seen = None;
        let mut since = Instant::now();
        loop {
            let bytes = std::fs::read(file).unwrap_or_default();
            if micro_engine::inspect(&bytes, None).is_ok() {
                return;
            }
            let digest = micro_engine::inspect::digest(&bytes);
            if seen.as_ref() != Some(&digest) {
                seen = Some(digest);
                since = Instant::now();
            }
            if since.elapsed() >= SETTLED {
                return;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The folder or the file, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Source::Package(package) => &package.dir,
            Source::File(file) => file,
        }
    }
}

/// A manifest that does not read is the host's to refuse, with its reason; here it only gives no name.
fn embedded_name(component: &[u8]) -> Option<String> {
    let manifest = micro_engine::inspect::manifest_of(component).ok()??;
    Manifest::full_name(&manifest)
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a component without anything in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[tokio::test]
    async fn a_file_is_named_by_its_manifest_or_by_its_stem() {
        let guard = tempfile::tempdir().unwrap();
        let folder = guard.path();
        let file = folder.join("my-greeter.wasm");
        std::fs::write(&file, EMPTY).unwrap();
        let source = Source::open(&file).unwrap();
        assert_eq!(source.component(&|_| ()).await.unwrap().name, "my-greeter");

        let manifest = "name = \"greeter\"\nnamespace = \"demo\"\n";
        std::fs::write(&file, micro_engine::manifest::embed(EMPTY, manifest).unwrap()).unwrap();
        assert_eq!(source.component(&|_| ()).await.unwrap().name, "demo.greeter");

        // Half of a file is waited for, and then left to the host to refuse.
        std::fs::write(&file, &EMPTY[..4]).unwrap();
        let began = Instant::now();
        source.settle().await;
        assert!(began.elapsed() >= SETTLED);
    }
}
