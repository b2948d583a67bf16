//! The secret that lets a caller change things.

use crate::whole_file::{self, Readers};
use blake3::Hash;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Random bytes in a token, before they are written in hex.
const BYTES: usize = 32;

/// The admin token: made at the first start, in a file that only its owner reads. Whoever replaces the file replaces
/// the token, at once.
#[derive(Debug)]
pub(crate) struct Token {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What the file held when it was last read.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    hash: Hash,
    stamp: Stamp,
}

/// What changes with a file's content: its inode, its length, and its time in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

impl Token {
    /// Reads the token in `path`, or makes one there.
    pub(crate) fn open(path: &Path) -> io::Result<Token> {
        let known = match read(path) {
            Ok(Some(known)) => known,
            Ok(None) => make(path)?.1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?.1,
            Err(error) => return Err(error),
        };
        keep_private(path)?;
        Ok(Token { path: path.to_path_buf(), known: Mutex::new(known) })
    }

    /// Whether `text` is the token. Hashes are compared, in constant time.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = fs::metadata(&self.path).map(|metadata| stamp(&metadata));
        if stamp.is_ok_and(|stamp| stamp != known.stamp) {
            // A file that is gone, empty or not readable leaves the token as it was: nobody is locked out by an accident.
            match read(&self.path) {
                Ok(Some(new)) if new != *known => {
                    if let Err(error) = keep_private(&self.path) {
                        tracing::warn!("the admin token can be read by others: {error}");
                    }
                    if new.hash != known.hash {
                        tracing::info!("the admin token was replaced in its file");
                    }
                    *known = new;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("the admin token cannot be read, the one before it stays: {error}"),
            }
        }
        known.hash == blake3::hash(text.as_bytes())
    }

    /// Puts a new token in the place of this one, which ends at once.
    pub(crate) fn rotate(&self) -> io::Result<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, new) = make(&self.path)?;
        *known = new;
        tracing::info!("the admin token was replaced");
        Ok(text)
    }
}

/// Makes a token in `path`, in one step: whoever reads the file reads the old one or the new one.
pub(crate) fn replace(path: &Path) -> io::Result<()> {
    make(path).map(drop)
}

fn make(path: &Path) -> io::Result<(String, Known)> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    whole_file::write(path, text.as_bytes(), Readers::Owner)?;
    let known = Known { hash: blake3::hash(text.as_bytes()), stamp: stamp(&fs::metadata(path)?) };
    Ok((text, known))
}

/// The token in a file, unless that is empty.
fn read(path: &Path) -> io::Result<Option<Known>> {
    // In this order a change in between is seen the next time.
    let stamp = stamp(&fs::metadata(path)?);
    let text = fs::read_to_string(path)?;
    let text = text.trim();
    Ok((!text.is_empty()).then(|| Known { hash: blake3::hash(text.as_bytes()), stamp }))
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// A token that others can read is none: the file is closed to them, and its owner is told.
fn keep_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let place = path.display();
        tracing::warn!(
            "{place} could be read by others (mode {:o}) and is closed now: consider `micro token rotate`",
            mode & 0o777
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_token_is_made_once_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::open(&path).unwrap();
        let first = text(&path);
        assert_eq!(first.len(), 2 * BYTES);
        assert!(token.matches(&first) && !token.matches("") && !token.matches(&first.to_uppercase()));
        assert!(Token::open(&path).unwrap().matches(&first));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn after_a_rotation_only_the_new_token_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::open(&path).unwrap();
        let old = text(&path);
        let new = token.rotate().unwrap();
        assert_eq!(text(&path), new);
        assert!(token.matches(&new) && !token.matches(&old));
    }

    #[test]
    fn a_file_that_was_replaced_is_noticed_and_one_that_is_gone_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::open(&path).unwrap();
        let old = text(&path);
        whole_file::write(&path, b"of my own\n", Readers::Owner).unwrap();
        assert!(token.matches("of my own") && !token.matches(&old));
        fs::write(&path, "").unwrap();
        assert!(token.matches("of my own"), "empty");
        fs::remove_file(&path).unwrap();
        assert!(token.matches("of my own"), "gone");
    }

    #[test]
    fn a_token_that_others_can_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "open").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let token = Token::open(&path).unwrap();
        assert!(token.matches("open"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // As well when it is replaced while the host runs.
        let new = folder.path().join("new");
        fs::write(&new, "open again").unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(token.matches("open again"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
