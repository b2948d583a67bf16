//! Folders of `[allow]`: `/srv/data`, or `/srv/data:/data` where the guest sees it elsewhere.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Component, Path, PathBuf};

const FORM: &str = "expected the absolute path of a folder, /srv/data, or two of them, /srv/data:/data, where the \
                    function is to see it under another one; neither with .. in it";

/// A folder of the host that a guest may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// On the host.
    pub path: PathBuf,
    /// As the guest sees it.
    pub seen_as: String,
}

impl Folder {
    /// Reads what `files` below `[allow]` holds.
    pub fn parse(text: &str) -> Result<Folder, String> {
        let (path, seen_as) = text.split_once(':').unwrap_or((text, text));
        match is_plain(path) && is_plain(seen_as) {
            true => Ok(Folder { path: path.into(), seen_as: seen_as.into() }),
            false => Err(format!("allow.files {text:?}: {FORM}")),
        }
    }
}

fn is_plain(path: &str) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    path.starts_with('/') && !path.contains([':', '\0']) && Path::new(path).components().all(is_plain)
}

impl fmt::Display for Folder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.path.display())?;
        match self.path.as_os_str() == self.seen_as.as_str() {
            true => Ok(()),
            false => write!(out, ":{}", self.seen_as),
        }
    }
}

impl Serialize for Folder {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Folder {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Folder, D::Error> {
        Folder::parse(&String::deserialize(input)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_can_be_seen_elsewhere() {
        let folder = Folder::parse("/srv/data:/data").unwrap();
        assert_eq!((folder.path.to_str(), folder.seen_as.as_str()), (Some("/srv/data"), "/data"));
        assert_eq!(folder.to_string(), "/srv/data:/data");
        assert_eq!(Folder::parse("/srv").unwrap().to_string(), "/srv");
    }

    #[test]
    fn only_absolute_paths_without_detours_are_folders() {
        for text in ["", "srv", "/srv/../etc", "/srv:data", "/srv:/a:/b", "/srv:", "./x", "/a\0b"] {
            let error = Folder::parse(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("expected the absolute path"), "{error}");
        }
    }
}
