//! Which deployment a source text became, so that `micro run -k github.com/service/foo` finds it again.

use super::cache;
use super::reference::redacted;
use crate::whole_file::{self, Readers};
use std::path::{Path, PathBuf};

/// So many texts are remembered; the oldest are forgotten.
const MAX_NAMES: usize = 256;

/// The names of the deployments that came from sources elsewhere, oldest first.
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
    pairs: Vec<(String, String)>,
}

impl Names {
    /// Reads what is remembered in a data folder. A file that does not read is as good as none.
    pub fn open(data_dir: &Path) -> Names {
        let file = cache(data_dir).join("names.json");
        let text = std::fs::read(&file).unwrap_or_default();
        Names { file, pairs: serde_json::from_slice(&text).unwrap_or_default() }
    }

    /// The name of the deployment that `text` became.
    pub fn find(&self, text: &str) -> Option<&str> {
        let text = redacted(text);
        self.pairs.iter().rev().find(|(known, _)| *known == text).map(|(_, name)| name.as_str())
    }

    /// Remembers that `text` became the deployment `name`. What cannot be written down is only a convenience lost.
    pub fn remember(mut self, text: &str, name: &str) {
        let text = redacted(text);
        if self.find(&text) == Some(name) {
            return;
        }
        self.pairs.retain(|(known, _)| *known != text);
        self.pairs.push((text, name.to_owned()));
        let extra = self.pairs.len().saturating_sub(MAX_NAMES);
        self.pairs.drain(..extra);
        if let Err(error) = self.write() {
            tracing::debug!("{}: {error}", self.file.display());
        }
    }

    fn write(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        whole_file::write(&self.file, &serde_json::to_vec(&self.pairs)?, Readers::Owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_remembered_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        Names::open(folder.path()).remember("https://me:secret@example.com/a.git", "greeter");
        let names = Names::open(folder.path());
        assert_eq!(names.find("https://me:secret@example.com/a.git"), Some("greeter"));
        assert!(!std::fs::read_to_string(names.file).unwrap().contains("secret"));
        for number in 0..MAX_NAMES {
            Names::open(folder.path()).remember(&number.to_string(), "x");
        }
        let names = Names::open(folder.path());
        assert_eq!((names.find("0"), names.find("https://me:secret@example.com/a.git")), (Some("x"), None));
        Names::open(folder.path()).remember("0", "y");
        assert_eq!(Names::open(folder.path()).find("0"), Some("y"));
    }
}
