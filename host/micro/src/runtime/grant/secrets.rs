//! The host's secrets: a file that only its owner reads, and variables `MICRO_SECRET_…`.
//!
//! The file is read anew for each revision that is loaded, so that a changed secret needs no restart. What stands in it is
//! never part of an error.

use anyhow::Context as _;
use micro_engine::manifest::{is_in_secret, matches};
use micro_engine::secret::Secret;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Variables of the environment that hold secrets begin so.
const VARIABLE: &str = "MICRO_SECRET_";

/// A file larger than this is none of secrets.
const MAX_FILE: u64 = 1024 * 1024;

/// Where secrets are.
#[derive(Debug)]
pub(super) struct Secrets {
    file: Option<PathBuf>,
}

/// A secret as a file of TOML has it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Entry {
    /// `stripe-key = "…"`
    Open(String),
    /// `stripe-key = { value = "…", for = ["shop"] }`
    Bound(Bound),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    value: String,
    /// The deployments that may have it; `*` stands for any text.
    r#for: Vec<String>,
}

impl Entry {
    fn is_for(&self, deployment: &str) -> bool {
        match self {
            Entry::Open(_) => true,
            Entry::Bound(bound) => bound.r#for.iter().any(|pattern| matches(pattern, deployment)),
        }
    }

    fn into_secret(self) -> Secret {
        match self {
            Entry::Open(value) => value.into(),
            Entry::Bound(bound) => bound.value.into(),
        }
    }
}

impl Secrets {
    pub(super) fn new(file: Option<PathBuf>) -> Secrets {
        Secrets { file }
    }

    /// Says what is wrong with the file, if so.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.read().map(drop)
    }

    /// The secrets of these names, for a deployment that may have them. An error is for the one who deploys.
    pub(super) fn find<'n>(&self, names: &'n [String], deployment: &str) -> Result<Vec<(&'n str, Secret)>, String> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.read().map_err(|error| format!("allow.secrets: {error:#}"))?;
        let find = |name: &'n String| {
            let variable = variable(name);
            let own = || std::env::var(format!("{VARIABLE}{variable}")).ok().map(Entry::Open);
            let entry = entries.get(name).or_else(|| entries.get(&variable)).cloned().or_else(own);
            // That there is one for somebody else is nobody's business.
            match entry.filter(|entry| entry.is_for(deployment)) {
                Some(entry) => Ok((name.as_str(), entry.into_secret())),
                None => Err(format!(
                    "allow.secrets {name:?}: this host has no such secret for {deployment}: its operator writes it into \
                     the file of --secrets, or sets {VARIABLE}{variable}"
                )),
            }
        };
        names.iter().map(find).collect()
    }

    fn read(&self) -> anyhow::Result<HashMap<String, Entry>> {
        let Some(path) = &self.file else { return Ok(HashMap::new()) };
        read(path).with_context(|| format!("secrets in {}", path.display()))
    }
}

/// `stripe-key` as variables are called: `STRIPE_KEY`.
fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

fn read(path: &Path) -> anyhow::Result<HashMap<String, Entry>> {
    let metadata = fs::metadata(path)?;
    check_mode(&metadata)?;
    anyhow::ensure!(metadata.len() <= MAX_FILE, "larger than {}", bytesize::ByteSize::b(MAX_FILE));
    let text = fs::read_to_string(path)?;
    let entries = match path.extension().is_some_and(|extension| extension == "toml") {
        true => read_toml(&text)?,
        false => read_lines(&text)?,
    };
    for name in entries.keys() {
        let is_name = !name.is_empty() && name.bytes().all(is_in_secret);
        anyhow::ensure!(is_name, "{name:?} is no name of a secret: expected letters, digits and any of - _ .");
    }
    Ok(entries)
}

fn read_toml(text: &str) -> anyhow::Result<HashMap<String, Entry>> {
    let form = "expected NAME = \"VALUE\", or NAME = { value = \"VALUE\", for = [\"DEPLOYMENT\"] }";
    toml::from_str(text).map_err(|error: toml::de::Error| {
        // The error itself would show the line.
        let line = error.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        match line {
            Some(line) => anyhow::anyhow!("line {line}: {form}"),
            None => anyhow::anyhow!("{form}"),
        }
    })
}

fn read_lines(text: &str) -> anyhow::Result<HashMap<String, Entry>> {
    let mut entries = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (name, value) =
            line.split_once('=').with_context(|| format!("line {}: expected NAME=VALUE", number + 1))?;
        entries.insert(name.trim().to_string(), Entry::Open(value.trim().to_string()));
    }
    Ok(entries)
}

#[cfg(unix)]
fn check_mode(metadata: &fs::Metadata) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o777;
    anyhow::ensure!(mode & 0o077 == 0, "others may read it (mode {mode:o}): chmod 600");
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &fs::Metadata) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str, mode: u32) -> (tempfile::TempDir, Secrets) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, Secrets::new(Some(path)))
    }

    fn find(secrets: &Secrets, name: &str) -> Result<String, String> {
        let names = [name.to_string()];
        let found = secrets.find(&names, "shop")?;
        Ok(found.iter().map(|(_, secret)| secret.expose()).collect())
    }

    #[test]
    fn secrets_are_found_by_name_in_either_form() {
        let text = "stripe-key = \"sk_1\"\nother = { value = \"o\", for = [\"desk\", \"x.*\"] }\nmine = { value = \"m\", for = [\"s*\"] }\n";
        let (_folder, secrets) = file("secrets.toml", text, 0o600);
        assert_eq!(find(&secrets, "stripe-key").as_deref(), Ok("sk_1"));
        assert_eq!(find(&secrets, "mine").as_deref(), Ok("m"));
        let error = find(&secrets, "other").unwrap_err();
        assert!(error.contains("no such secret for shop") && error.contains("MICRO_SECRET_OTHER"), "{error}");
        let (_folder, secrets) = file("secrets.env", "# ours\nSTRIPE_KEY = sk=2\n\nplain=p\n", 0o400);
        assert_eq!(find(&secrets, "stripe-key").as_deref(), Ok("sk=2"));
        assert_eq!(find(&secrets, "plain").as_deref(), Ok("p"));
    }

    #[test]
    fn a_file_that_others_read_is_refused() {
        let (_folder, secrets) = file("secrets", "a=b", 0o640);
        let error = format!("{:#}", secrets.check().unwrap_err());
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn no_error_shows_what_is_in_the_file() {
        for (name, text) in [
            ("s.toml", "a = \"fine\"\nb = hunter22"),
            ("s.toml", "b = { value = \"hunter22\", four = [] }"),
            ("s", "a=b\nhunter22"),
        ] {
            let (_folder, secrets) = file(name, text, 0o600);
            let error = format!("{:#}", secrets.check().unwrap_err());
            assert!(!error.contains("hunter22") && error.contains("line "), "{error}");
        }
    }
}
