//! The components of all revisions, in a folder where the digest is the name.

use crate::whole_file::{self, Readers};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A content-addressed folder. A file is there whole or not at all, and never changes.
#[derive(Debug, Clone)]
pub(super) struct Components {
    folder: PathBuf,
}

impl Components {
    pub(super) fn open(folder: &Path) -> io::Result<Components> {
        fs::create_dir_all(folder)?;
        Ok(Components { folder: folder.to_path_buf() })
    }

    /// Keeps `bytes` under `digest`, on the disk itself when this returns.
    pub(super) fn put(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        whole_file::write(&path, bytes, Readers::Owner)?;
        // The name is in the folder, and the folder must reach the disk as well.
        File::open(&self.folder)?.sync_all()
    }

    pub(super) fn read(&self, digest: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(digest))
    }

    pub(super) fn remove(&self, digest: &str) {
        if let Err(error) = fs::remove_file(self.path(digest))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(digest, "an unused component cannot be removed: {error}");
        }
    }

    /// Removes what a crash between two writes left behind: files that no revision needs, and half-written ones.
    pub(super) fn sweep(&self, known: &HashSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let digest = path.file_stem().map(|stem| format!("sha256:{}", stem.to_string_lossy()));
            let is_needed = digest.is_some_and(|digest| known.contains(&digest) && path == self.path(&digest));
            if !is_needed && let Err(error) = fs::remove_file(&path) {
                tracing::warn!("{} is not needed and cannot be removed: {error}", path.display());
            }
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{}.wasm", digest.trim_start_matches("sha256:")))
    }
}
