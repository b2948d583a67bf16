//! What a host permits its deployments: `--allow-files`, `--allow-env`, `--secrets`, `--authorities`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::server::Permits;

/// What functions of this host may be given, where their manifests ask for it.
#[derive(Debug, Clone, Default, Args)]
pub struct PermitOptions {
    /// A folder that functions may read with all that is in it, where their manifest asks for it
    #[arg(
        long,
        alias = "allow_files",
        value_name = "FOLDER",
        env = "MICRO_ALLOW_FILES",
        hide_env = true,
        value_delimiter = ':'
    )]
    pub allow_files: Vec<PathBuf>,

    /// A variable of this environment that functions may be given, where their manifest asks for it; * stands for any
    /// text [default: LANG,LC_*,TZ]
    #[arg(
        long,
        alias = "allow_env",
        value_name = "NAME",
        env = "MICRO_ALLOW_ENV",
        hide_env = true,
        value_delimiter = ','
    )]
    pub allow_env: Vec<String>,

    /// The file with the secrets that manifests ask for by name: NAME=VALUE on each line, or TOML if it is called so;
    /// only its owner may read it
    #[arg(long, value_name = "FILE", env = "MICRO_SECRETS", hide_env = true)]
    pub secrets: Option<PathBuf>,

    /// Certificates of authorities that requests of functions believe beside the system's, as PEM
    #[arg(long, value_name = "FILE", env = "MICRO_AUTHORITIES", hide_env = true)]
    pub authorities: Option<PathBuf>,
}

impl PermitOptions {
    /// As the host takes them. Paths are meant from here.
    pub fn permits(&self) -> Result<Permits> {
        let mut permits =
            Permits { secrets: self.secrets.clone(), authorities: self.authorities.clone(), ..Permits::default() };
        permits.files = self.allow_files.iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        if !self.allow_env.is_empty() {
            permits.env = self.allow_env.clone();
        }
        Ok(permits)
    }

    /// As another process of this program is told them.
    pub fn arguments(&self) -> Vec<OsString> {
        let files = self.allow_files.iter().map(|folder| ("--allow-files", folder.clone().into_os_string()));
        let env = self.allow_env.iter().map(|name| ("--allow-env", OsString::from(name)));
        let secrets = self.secrets.iter().map(|file| ("--secrets", file.clone().into_os_string()));
        let authorities = self.authorities.iter().map(|file| ("--authorities", file.clone().into_os_string()));
        let all = files.chain(env).chain(secrets).chain(authorities);
        all.flat_map(|(flag, value)| [OsString::from(flag), value]).collect()
    }
}

fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("--allow-files {}", folder.display()))
}
