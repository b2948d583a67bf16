//! The compile cache: machine code on disk, that only this host's key makes valid.
//!
//! Deserialising machine code that somebody else wrote is running it. So every file begins with a keyed hash over the
//! component's digest and the code; a file that does not match is compiled anew. Files are named by the component's digest
//! inside a folder named by the engine's fingerprint, and written whole or not at all.

use crate::error::LoadError;
use crate::inspect::EngineKind;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes of the keyed hash before the code.
const TAG: usize = blake3::OUT_LEN;

/// Code that is read from a warm disk, checked and mapped within a millisecond, in bytes.
const LITTLE: u64 = 1024 * 1024;

/// Compiled components on disk.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; blake3::KEY_LEN],
    hits: AtomicU64,
    misses: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    compiling: AtomicU64,
}

/// What the cache was good for since the host started.
#[derive(Debug, Clone, Copy)]
pub struct CacheReport {
    /// Components whose code was there.
    pub hits: u64,
    /// Components that had to be compiled.
    pub misses: u64,
    /// Code that was read, in bytes.
    pub read_bytes: u64,
    /// Code that was written, in bytes.
    pub written_bytes: u64,
    /// How long compiling took, all components together.
    pub compiling: Duration,
}

impl Cache {
    /// Opens the cache in `folder`, with the host's key in `key_file` (made if there is none).
    pub(crate) fn open(folder: &Path, key_file: &Path) -> Result<Cache, LoadError> {
        fs::create_dir_all(folder).map_err(|error| LoadError::Host(format!("make {}: {error}", folder.display())))?;
        let key =
            host_key(key_file).map_err(|error| LoadError::Host(format!("host key {}: {error}", key_file.display())))?;
        Ok(Cache {
            folder: folder.to_path_buf(),
            key,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            compiling: AtomicU64::new(0),
        })
    }

    /// The compiled component, if the cache holds it and it is ours.
    pub(crate) fn get(&self, engine: &Engine, kind: EngineKind, digest: &str) -> Option<Component> {
        let file = fs::read(self.path(engine, kind, digest)).ok()?;
        let (tag, code) = file.split_at_checked(TAG)?;
        let tag: [u8; TAG] = tag.try_into().ok()?;
        // blake3's hashes compare in constant time.
        if self.tag(digest, code) != tag {
            tracing::warn!(digest, "the compile cache holds a file that is not ours or is damaged; compiling anew");
            return None;
        }
        // SAFETY: the keyed hash says that this host serialised these very bytes, for this digest.
        let component = unsafe { Component::deserialize(engine, code) };
        let component = component.inspect_err(|error| tracing::debug!(digest, "cached code does not fit: {error:#}"));
        self.hits.fetch_add(u64::from(component.is_ok()), Ordering::Relaxed);
        self.read.fetch_add(file.len() as u64, Ordering::Relaxed);
        component.ok()
    }

    /// Whether the cache holds a component's code, and little enough to read it at once.
    pub(crate) fn has_little(&self, engine: &Engine, kind: EngineKind, digest: &str) -> bool {
        fs::metadata(self.path(engine, kind, digest)).is_ok_and(|file| file.len() <= LITTLE)
    }

    /// Notes that a component had to be compiled, and how long that took.
    pub(crate) fn missed(&self, took: Duration) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.compiling.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn report(&self) -> CacheReport {
        CacheReport {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            read_bytes: self.read.load(Ordering::Relaxed),
            written_bytes: self.written.load(Ordering::Relaxed),
            compiling: Duration::from_nanos(self.compiling.load(Ordering::Relaxed)),
        }
    }

    /// Keeps a compiled component. A cache that cannot be written slows the next start down and hurts nobody.
    pub(crate) fn put(&self, engine: &Engine, kind: EngineKind, digest: &str, component: &Component) {
        if let Err(error) = self.try_put(engine, kind, digest, component) {
            tracing::warn!(digest, "the compile cache cannot be written: {error}");
        }
    }

    fn try_put(&self, engine: &Engine, kind: EngineKind, digest: &str, component: &Component) -> Result<(), String> {
        let code = component.serialize().map_err(|error| format!("{error:#}"))?;
        let path = self.path(engine, kind, digest);
        let folder = path.parent().unwrap_or(&self.folder);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(self.tag(digest, &code).as_bytes())?;
            file.write_all(&code)?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| format!("{}: {error}", path.display()))?;
        self.written.fetch_add((TAG + code.len()) as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets a component, in whichever engine it ran.
    pub(crate) fn remove(&self, engine: &Engine, kind: EngineKind, digest: &str) {
        // What is not there is as good as removed.
        let _ = fs::remove_file(self.path(engine, kind, digest));
    }

    fn path(&self, engine: &Engine, kind: EngineKind, digest: &str) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let fingerprint = format!("{}-{:016x}", kind.as_str(), hasher.finish());
        self.folder.join(fingerprint).join(format!("{}.cwasm", digest.trim_start_matches("sha256:")))
    }

    fn tag(&self, digest: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(digest.as_bytes());
        hasher.update(code);
        hasher.finalize()
    }
}

/// The host's secret: 32 random bytes in a file that only its owner reads.
fn host_key(path: &Path) -> std::io::Result<[u8; blake3::KEY_LEN]> {
    if let Ok(bytes) = fs::read(path)
        && let Ok(key) = bytes.try_into()
    {
        return Ok(key);
    }
    let mut key = [0; blake3::KEY_LEN];
    getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Temporary files are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(key)
}
