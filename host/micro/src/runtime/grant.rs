//! What a deployment gets of what its manifest asks for: folders, variables and secrets of the host, and a way out.
//!
//! A deployer holds a token, and is not the one who runs the host: folders and variables are given only as far as
//! [`Permits`] go.

mod secrets;

use anyhow::Context as _;
use micro_engine::egress::{Egress, Outside, Resolver, System, Trust};
use micro_engine::manifest::{Folder, Variable, matches};
use micro_engine::secret::{Masked, Secret};
use micro_engine::{Granted, LoadError, Manifest, log::Log};
use secrets::Secrets;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Variables that any deployment may ask for: they say how people write, and what time it is.
pub const OPEN_VARIABLES: [&str; 3] = ["LANG", "LC_*", "TZ"];

/// Variables that no deployment gets: what the host itself is told, secrets among it.
const OWN_VARIABLES: &str = "MICRO_*";

/// What the one who runs a host permits its deployments.
#[derive(Debug, Clone)]
pub struct Permits {
    /// Folders that they may read, with all that is in them.
    pub files: Vec<PathBuf>,
    /// Variables of the host's environment that they may be given; `*` stands for any text.
    pub env: Vec<String>,
    /// The file with the host's secrets.
    pub secrets: Option<PathBuf>,
    /// Certificates of authorities that are believed beside the system's, as PEM.
    pub authorities: Option<PathBuf>,
    /// What finds the addresses of names; the system, if it is none.
    pub resolver: Option<Arc<dyn Resolver>>,
}

impl Default for Permits {
    fn default() -> Permits {
        Permits {
            files: Vec::new(),
            env: OPEN_VARIABLES.map(str::to_string).to_vec(),
            secrets: None,
            authorities: None,
            resolver: None,
        }
    }
}

/// Gives deployments what they ask for and may have.
#[derive(Debug)]
pub(super) struct Grants {
    files: Vec<PathBuf>,
    env: Vec<String>,
    secrets: Secrets,
    outside: Arc<Outside>,
}

/// What one revision gets.
pub(super) struct Given {
    pub(super) granted: Granted,
    pub(super) env: Vec<(String, String)>,
    /// The log in which its secrets are masked.
    pub(super) log: Arc<dyn Log>,
}

impl Grants {
    /// Checks what can be checked before anything is deployed.
    pub(super) fn open(permits: Permits) -> anyhow::Result<Grants> {
        let trust = match &permits.authorities {
            None => Trust::default(),
            Some(path) => Trust::with_file(path).with_context(|| format!("read authorities {}", path.display()))?,
        };
        let resolver = permits.resolver.unwrap_or_else(|| Arc::new(System::default()));
        let secrets = Secrets::new(permits.secrets);
        secrets.check()?;
        for folder in &permits.files {
            anyhow::ensure!(folder.is_absolute(), "--allow-files {}: expected an absolute path", folder.display());
        }
        Ok(Grants { files: permits.files, env: permits.env, secrets, outside: Arc::new(Outside { resolver, trust }) })
    }

    /// What a deployment with this manifest gets.
    pub(super) fn give(&self, deployment: &str, manifest: &Manifest, log: Arc<dyn Log>) -> Result<Given, LoadError> {
        let allow = &manifest.allow;
        let secrets = self.secrets.find(&allow.secrets, deployment).map_err(LoadError::Refused)?;
        let mut env = Vec::with_capacity(allow.env.len() + manifest.env.len());
        for name in &allow.env {
            env.extend(self.variable(name)?.map(|value| (name.clone(), value)));
        }
        for (name, variable) in &manifest.env {
            let value = match variable {
                Variable::Text(text) => Some(text.clone()),
                Variable::Secret(wanted) => {
                    let found = secrets.iter().find(|(name, _)| *name == wanted.secret);
                    found.map(|(_, secret)| secret.expose().to_string())
                }
            };
            // The manifest's own word goes before the host's.
            env.retain(|(own, _)| own != name);
            env.extend(value.map(|value| (name.clone(), value)));
        }
        let config = manifest.config.iter().map(|(key, value)| (key.clone(), value.clone()));
        let told = secrets.iter().map(|(name, secret)| (name.to_string(), secret.expose().to_string()));
        let files: Result<_, _> = allow.files.iter().map(|folder| self.folder(folder)).collect();
        let granted = Granted {
            egress: Arc::new(Egress::new(allow, self.outside.clone())),
            config: config.chain(told).collect(),
            files: files?,
            ..Granted::default()
        };
        let masked: Vec<Secret> = secrets.into_iter().map(|(_, secret)| secret).collect();
        Ok(Given { granted, env, log: Masked::wrap(log, &masked) })
    }

    /// A variable of the host's environment, where it has one of this name.
    fn variable(&self, name: &str) -> Result<Option<String>, LoadError> {
        if matches(OWN_VARIABLES, name) {
            return Err(LoadError::Refused(format!(
                "allow.env {name:?}: what the host itself is told is not given away"
            )));
        }
        if !self.env.iter().any(|pattern| matches(pattern, name)) {
            return Err(LoadError::Refused(format!(
                "allow.env {name:?}: this host does not give it: its operator permits it with --allow-env {name}"
            )));
        }
        Ok(std::env::var(name).ok())
    }

    /// A folder as it really is, where that is permitted.
    fn folder(&self, folder: &Folder) -> Result<Folder, LoadError> {
        let refused = |reason: String| LoadError::Refused(format!("allow.files \"{folder}\": {reason}"));
        let not_permitted = || {
            refused(format!(
                "this host does not give it: its operator permits it with --allow-files {}",
                folder.path.display()
            ))
        };
        // Whether a folder exists that is not permitted, is nobody's business.
        if !self.files.iter().any(|permitted| folder.path.starts_with(permitted)) {
            return Err(not_permitted());
        }
        let path = folder.path.canonicalize().map_err(|error| refused(error.to_string()))?;
        if !path.is_dir() {
            return Err(refused("expected a folder".into()));
        }
        // It may be a link to somewhere else.
        let is_inside = |permitted: &PathBuf| real(permitted).is_some_and(|permitted| path.starts_with(permitted));
        match self.files.iter().any(is_inside) {
            true => Ok(Folder { path, seen_as: folder.seen_as.clone() }),
            false => Err(not_permitted()),
        }
    }
}

/// Whether something has to be read from disk for a deployment with this manifest.
pub(super) fn reads_files(manifest: &Manifest) -> bool {
    !manifest.allow.files.is_empty() || !manifest.allow.secrets.is_empty()
}

fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests;
