//! Files that are written in one step: who reads one sees all of it, or the one before.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::Builder;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone.
    Owner,
    /// Those whom the process's own mask allows it.
    Others,
}

/// Puts `bytes` at `place`, whose folder is there. They are on disk before they can be seen.
pub(crate) fn write(place: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Others => 0o666,
    };
    let mut file = Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(place).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_read_by_whom_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("file");
        let mode = || place.metadata().unwrap().permissions().mode() & 0o777;
        write(&place, b"one", Readers::Owner).unwrap();
        assert_eq!(mode(), 0o600);
        write(&place, b"two", Readers::Others).unwrap();
        let usual = folder.path().join("usual");
        std::fs::write(&usual, "").unwrap();
        assert_eq!(mode(), usual.metadata().unwrap().permissions().mode() & 0o777);
        assert_eq!(std::fs::read(&place).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
        assert!(write(&folder.path().join("no/such"), b"", Readers::Owner).is_err());
    }
}
