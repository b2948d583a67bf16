//! Waiting until source changes.
//!
//! The system's notifications only wake us up; what changed is told by comparing contents. So it does not matter how an
//! editor saves (in place, or by renaming a new file over the old one), a file that is saved unchanged builds nothing,
//! and a build that writes into its own folder comes to rest.

use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{BuildError, NOT_SOURCE, Package};

/// A save often touches several files, or one file several times: a change is complete when nothing came for so long.
const QUIET: Duration = Duration::from_millis(50);
/// A component is written once and tells by itself whether it is whole.
const QUIET_FILE: Duration = Duration::from_millis(15);
/// A folder where something is written all the time is looked at anyway.
const LONGEST: Duration = Duration::from_millis(500);

/// Files and folders that are watched, and what they hold.
pub struct Watch {
    watcher: RecommendedWatcher,
    roots: Vec<PathBuf>,
    /// The package's own component, which every build writes.
    output: Option<PathBuf>,
    contents: HashMap<PathBuf, Content>,
    wake: Arc<Notify>,
    quiet: Duration,
}

/// What is known of a file. While the first three are the same, nobody wrote to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
    hash: u64,
}

impl Watch {
    /// Watches what the manifest says, or the package's folder but for what builds leave there.
    pub fn package(package: &Package) -> Result<Watch, BuildError> {
        let build = &package.manifest.build;
        let mut roots = Vec::new();
        for root in &build.watch {
            let place = package.dir.join(root);
            let place = place.canonicalize().map_err(|error| BuildError::Manifest {
                place: package.dir.clone(),
                reason: format!("build.watch {root:?}: {error}"),
            })?;
            roots.push(place);
        }
        if roots.is_empty() {
            roots.push(package.dir.clone());
        } else {
            roots.push(package.dir.join(super::MANIFEST));
        }
        let output = build.output.as_ref().map(|output| package.dir.join(output));
        Watch::new(roots, output, QUIET)
    }

    /// Watches one file.
    pub fn file(file: &Path) -> Result<Watch, BuildError> {
        Watch::new(vec![file.to_owned()], None, QUIET_FILE)
    }

    fn new(roots: Vec<PathBuf>, output: Option<PathBuf>, quiet: Duration) -> Result<Watch, BuildError> {
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error here is a lost notification: looking is the answer to that, too.
            if event.is_ok_and(|event| is_reading(event.kind)) {
                return;
            }
            waker.notify_one();
        })
        .map_err(|error| failed(&roots[0], &error))?;
        let contents = HashMap::new();
        let mut watch = Watch { watcher, roots, output, contents, wake, quiet };
        watch.rescan()?;
        Ok(watch)
    }

    /// Returns when the contents of a watched file have changed, or a file has come or gone.
    pub async fn changed(&mut self) -> Result<(), BuildError> {
        loop {
            self.wake.notified().await;
            let limit = Instant::now() + LONGEST;
            while Instant::now() < limit {
                if timeout(self.quiet, self.wake.notified()).await.is_err() {
                    break;
                }
            }
            if self.rescan()? {
                return Ok(());
            }
        }
    }

    /// Takes what `file` holds now for known: it was written by the build and not by a person.
    pub fn accept(&mut self, file: &Path) {
        // What no look finds would be gone at the next one, which is a change.
        if !self.roots.iter().any(|root| file.starts_with(root)) {
            return;
        }
        if let Some(content) = self.read(file) {
            self.contents.insert(file.to_owned(), content);
        }
    }

    /// Looks at everything; says whether it differs from the last time.
    fn rescan(&mut self) -> Result<bool, BuildError> {
        let mut files = Vec::new();
        for root in self.roots.clone() {
            if root.is_dir() {
                self.scan(&root, &mut files)?;
                continue;
            }
            // A single file is watched through its folder: a file that replaces it is another one to the system.
            if let Some(folder) = root.parent() {
                self.watch_folder(folder)?;
            }
            files.push(root);
        }
        let mut contents = HashMap::with_capacity(files.len());
        for file in files {
            if let Some(content) = self.read(&file) {
                contents.insert(file, content);
            } else if let Some(known) = self.contents.get(&file)
                && self.roots.contains(&file)
            {
                // A file that was named and is gone is about to be written again.
                contents.insert(file, *known);
            }
        }
        let is_same = contents.len() == self.contents.len()
            && contents.iter().all(|(file, new)| self.contents.get(file).is_some_and(|old| old.hash == new.hash));
        self.contents = contents;
        Ok(!is_same)
    }

    fn scan(&mut self, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), BuildError> {
        self.watch_folder(folder)?;
        // A folder that went away between the notification and now has no entries.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if !is_source(&path, kind.is_dir()) || Some(&path) == self.output.as_ref() {
                continue;
            }
            if kind.is_dir() {
                self.scan(&path, files)?;
            } else {
                files.push(path);
            }
        }
        Ok(())
    }

    /// Watches a folder; while it is not there, the nearest one above it that is.
    ///
    /// At every look anew: the system forgets a folder that is removed, and one that comes in its place is another one
    /// to it. Watching what is watched changes nothing.
    fn watch_folder(&mut self, folder: &Path) -> Result<(), BuildError> {
        let mut missing = None;
        for place in folder.ancestors() {
            match self.watcher.watch(place, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    // It came before the one above it was watched: nobody will tell.
                    if missing.is_some_and(Path::exists) {
                        self.wake.notify_one();
                    }
                    break;
                }
                Err(_) if !place.exists() => missing = Some(place),
                Err(error) => return Err(failed(place, &error)),
            }
        }
        Ok(())
    }

    /// The contents of a file; read only when the file is not the one that is known.
    fn read(&self, file: &Path) -> Option<Content> {
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        let (modified, length, inode) = (metadata.modified().ok(), metadata.len(), inode(&metadata));
        if let Some(known) = self.contents.get(file)
            && (known.modified, known.length, known.inode) == (modified, length, inode)
        {
            return Some(*known);
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&std::fs::read(file).ok()?);
        Some(Content { modified, length, inode, hash: hasher.finish() })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// Whether nothing was written: a compiler that reads the source must not wake us.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// Whether a build may depend on this file or folder: not what builds write, not what editors and tools keep for
/// themselves.
fn is_source(path: &Path, is_folder: bool) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') {
        return false;
    }
    if is_folder {
        return !NOT_SOURCE.contains(&name.as_ref());
    }
    !name.ends_with('~') && !name.ends_with(".wasm")
}

fn failed(place: &Path, error: &notify::Error) -> BuildError {
    let reason = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system lets us watch no more folders: name the ones that matter in [build] watch".to_owned()
        }
        _ => error.to_string(),
    };
    BuildError::Io { action: "watch", place: place.to_owned(), error: std::io::Error::other(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough for a slow machine; no test that passes waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Folder {
        path: PathBuf,
        _guard: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Folder {
            let guard = tempfile::tempdir().unwrap();
            let folder = Folder { path: guard.path().canonicalize().unwrap(), _guard: guard };
            std::fs::create_dir(folder.path.join("src")).unwrap();
            std::fs::create_dir(folder.path.join("target")).unwrap();
            folder.write("micro.toml", "name = \"x\"");
            folder.write("src/lib.rs", "one");
            folder
        }

        fn write(&self, file: &str, text: &str) {
            std::fs::write(self.path.join(file), text).unwrap();
        }

        fn watch(&self) -> Watch {
            Watch::package(&Package::read(&self.path).unwrap()).unwrap()
        }
    }

    async fn must_change(watch: &mut Watch) {
        timeout(PATIENCE, watch.changed()).await.expect("a change").unwrap();
    }

    #[tokio::test]
    async fn a_save_in_place_and_a_rename_over_the_file_are_both_seen() {
        let folder = Folder::new();
        let mut watch = folder.watch();
        folder.write("src/lib.rs", "two");
        must_change(&mut watch).await;
        for text in ["three", "four"] {
            folder.write("src/lib.rs.new", text);
            std::fs::rename(folder.path.join("src/lib.rs.new"), folder.path.join("src/lib.rs")).unwrap();
            must_change(&mut watch).await;
        }
    }

    #[tokio::test]
    async fn a_new_folder_is_watched_too() {
        let folder = Folder::new();
        let mut watch = folder.watch();
        std::fs::create_dir(folder.path.join("src/deep")).unwrap();
        folder.write("src/deep/mod.rs", "a");
        must_change(&mut watch).await;
        folder.write("src/deep/mod.rs", "b");
        must_change(&mut watch).await;
    }

    #[tokio::test]
    async fn what_a_build_leaves_behind_is_no_change() {
        let folder = Folder::new();
        let mut watch = folder.watch();
        folder.write("target/out", "x");
        folder.write("x.wasm", "x");
        folder.write(".lib.rs.swp", "x");
        folder.write("src/lib.rs", "one");
        assert!(!watch.rescan().unwrap());
        folder.write("Cargo.lock", "x");
        watch.accept(&folder.path.join("Cargo.lock"));
        assert!(!watch.rescan().unwrap());
        folder.write("Cargo.lock", "y");
        assert!(watch.rescan().unwrap());
    }

    #[tokio::test]
    async fn a_lock_file_outside_of_what_is_watched_is_no_change() {
        let folder = Folder::new();
        folder.write("micro.toml", "name = \"x\"\n[build]\nwatch = [\"src\"]");
        let mut watch = folder.watch();
        folder.write("Cargo.lock", "x");
        watch.accept(&folder.path.join("Cargo.lock"));
        assert!(!watch.rescan().unwrap());
    }

    #[tokio::test]
    async fn a_folder_that_is_removed_and_made_again_is_watched_again() {
        let folder = Folder::new();
        std::fs::create_dir(folder.path.join("src/deep")).unwrap();
        folder.write("src/deep/mod.rs", "a");
        folder.write("micro.toml", "name = \"x\"\n[build]\nwatch = [\"src\"]");
        let mut watch = folder.watch();
        for gone in ["src/deep", "src"] {
            std::fs::remove_dir_all(folder.path.join(gone)).unwrap();
            must_change(&mut watch).await;
            std::fs::create_dir_all(folder.path.join("src/deep")).unwrap();
            for text in ["b", "c"] {
                folder.write("src/deep/mod.rs", text);
                must_change(&mut watch).await;
            }
        }
    }

    #[tokio::test]
    async fn a_watched_file_may_be_away_with_its_folder() {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path.join("dist/out")).unwrap();
        folder.write("dist/out/x.wasm", "zero");
        let mut watch = Watch::file(&folder.path.join("dist/out/x.wasm")).unwrap();
        for round in ["one", "two"] {
            std::fs::remove_dir_all(folder.path.join("dist")).unwrap();
            assert!(!watch.rescan().unwrap());
            std::fs::create_dir_all(folder.path.join("dist/out")).unwrap();
            for text in ["a", "b"] {
                folder.write("dist/out/x.wasm", &format!("{round} {text}"));
                must_change(&mut watch).await;
            }
        }
    }

    #[tokio::test]
    async fn a_watched_file_may_be_away_for_a_while() {
        let folder = Folder::new();
        folder.write("x.wasm", "one");
        let file = folder.path.join("x.wasm");
        let mut watch = Watch::file(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.rescan().unwrap());
        folder.write("x.wasm", "two");
        must_change(&mut watch).await;
    }

    #[test]
    fn a_watched_place_that_does_not_exist_is_named() {
        let folder = Folder::new();
        folder.write("micro.toml", "name = \"x\"\n[build]\nwatch = [\"src\", \"wit\"]");
        let error = Watch::package(&Package::read(&folder.path).unwrap()).err().unwrap().to_string();
        assert!(error.contains("build.watch \"wit\""), "{error}");
    }
}
