//! The data folder: for its owner alone.

use anyhow::Context as _;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes the folder, if need be. One that is there is left as it is: it may be shared with purpose.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make the data folder {}", folder.display()))?;
    let mode = fs::metadata(folder).map_or(0o700, |metadata| metadata.permissions().mode()) & 0o777;
    if mode & 0o077 != 0 {
        let place = folder.display();
        tracing::warn!("the data folder {place} is open to others (mode {mode:o}): `chmod 700 {place}` closes it");
    }
    Ok(())
}

/// Makes sure that a file is there which only its owner reads and writes. SQLite gives the files beside it the same mode.
pub(crate) fn keep_private(file: &Path) -> anyhow::Result<()> {
    let close = || -> io::Result<()> {
        let file = OpenOptions::new().create(true).truncate(false).append(true).mode(0o600).open(file)?;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(())
    };
    close().with_context(|| format!("close {} to others", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_and_what_was_shared_stays_so() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        make(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
        make(&folder).unwrap();
        assert_eq!(mode(&folder), 0o750);
        let file = folder.join("file");
        fs::write(&file, "kept").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        keep_private(&file).unwrap();
        keep_private(&folder.join("new")).unwrap();
        assert_eq!((mode(&file), mode(&folder.join("new"))), (0o600, 0o600));
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    }
}
