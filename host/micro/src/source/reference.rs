//! What a source text says: where the component, or its source code, is to be had.

use super::SourceError;
use reqwest::Url;
use std::path::{Component, Path, PathBuf};

/// A text longer than this is no reference.
const MAX_TEXT: usize = 2048;

/// Places that hold git repositories at `https://PLACE/USER/REPOSITORY`, so that nobody has to say so.
const FORGES: [&str; 4] = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org"];

/// Where a component, or its source code, is to be had.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// A folder or a file of this machine.
    Path(PathBuf),
    /// A package in a git repository.
    Git(GitReference),
    /// An artifact in an OCI registry.
    Oci(oci_client::Reference),
    /// A file that an HTTP server gives.
    Web(WebReference),
}

/// A package in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitReference {
    /// What git clones.
    pub url: String,
    /// A branch, a tag or a commit; without one, what the repository's HEAD is.
    pub rev: Option<String>,
    /// The package's folder in the repository; without one, its root.
    pub folder: Option<PathBuf>,
}

/// A file that an HTTP server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebReference {
    /// Without the fragment.
    pub url: Url,
    /// `sha256:…` that the file must have.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a source text. What exists as a file or folder is for the caller to find out before.
    pub fn parse(text: &str) -> Result<Reference, SourceError> {
        read(text).map_err(|reason| SourceError::Text { text: redacted(text), reason })
    }
}

impl GitReference {
    /// Whether it can only ever mean one commit.
    pub fn is_fixed(&self) -> bool {
        self.rev.as_deref().is_some_and(is_commit)
    }

    /// The repository's name, which is the package's when nothing else says it.
    pub fn name(&self) -> &str {
        let path = self.url.trim_end_matches('/');
        let last = path.rsplit(['/', ':']).next().unwrap_or(path);
        last.strip_suffix(".git").unwrap_or(last)
    }
}

/// Reads a reference of a registry, `oci://` in front of it or not.
pub fn oci(text: &str) -> Result<oci_client::Reference, SourceError> {
    let rest = text.strip_prefix("oci://").unwrap_or(text);
    read_oci(rest).map_err(|reason| SourceError::Text { text: text.to_owned(), reason })
}

/// The text without the password in its URL.
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // Where there are more slashes than two, of either kind, readers of URLs pass over them.
    let rest = rest.trim_start_matches(['/', '\\']);
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') || !scheme.ends_with("ssh") => format!("{scheme}://…@{host}{path}"),
        _ => text.to_owned(),
    }
}

fn read(text: &str) -> Result<Reference, String> {
    if text.is_empty() || text.len() > MAX_TEXT || text.contains(char::is_control) {
        return Err(format!("expected a path, a URL or a reference of up to {MAX_TEXT} characters"));
    }
    if let Some(rest) = text.strip_prefix("git+") {
        return read_git(rest).map(Reference::Git);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return match scheme {
            "oci" => read_oci(rest).map(Reference::Oci),
            "ssh" | "git" => read_git(text).map(Reference::Git),
            "https" | "http" if is_repository(rest) => read_git(text).map(Reference::Git),
            "https" | "http" => read_web(text).map(Reference::Web),
            "file" if is_repository(rest) => read_git(text).map(Reference::Git),
            "file" => Ok(Reference::Path(rest.into())),
            _ => Err(format!("unknown scheme {scheme}://: expected oci, https, http, git+https, ssh or file")),
        };
    }
    if is_scp(text) {
        return read_git(text).map(Reference::Git);
    }
    let Some((place, rest)) = text.split_once('/') else { return Ok(Reference::Path(text.into())) };
    if FORGES.contains(&place) {
        return read_forge(place, rest).map(Reference::Git);
    }
    if is_host(place) && (rest.contains('@') || rest.contains(':')) {
        return read_oci(text).map(Reference::Oci);
    }
    Ok(Reference::Path(text.into()))
}

fn read_oci(text: &str) -> Result<oci_client::Reference, String> {
    let bad = |reason: String| format!("{reason}: expected REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:…");
    match text.split_once('/') {
        Some((host, _)) if is_host(host) => {}
        // `docker pull alpine` means a registry that the text does not name; here nothing is guessed.
        _ => return Err(bad("no registry in front of the repository".to_owned())),
    }
    text.parse().map_err(|error: oci_client::ParseError| bad(error.to_string()))
}

fn read_web(text: &str) -> Result<WebReference, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    let digest = url.fragment().map(read_digest).transpose()?;
    url.set_fragment(None);
    if url.scheme() == "http" && digest.is_none() {
        return Err("over plain http anybody on the way can change the file: add its digest, #sha256:…, or use https"
            .to_owned());
    }
    Ok(WebReference { url, digest })
}

fn read_digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && is_hex(hex));
    hex.map(|hex| format!("sha256:{}", hex.to_ascii_lowercase()))
        .ok_or_else(|| format!("#{text} is no digest: expected #sha256: and 64 hexadecimal digits"))
}

/// `github.com/USER/REPOSITORY`, with a folder behind it and `@REV` or `#REV` at its end.
fn read_forge(place: &str, rest: &str) -> Result<GitReference, String> {
    let (rest, rev) = match rest.rsplit_once(['#', '@']) {
        Some((rest, rev)) => (rest, Some(rev)),
        None => (rest, None),
    };
    let mut parts = rest.splitn(3, '/');
    let (Some(user), Some(name)) = (parts.next(), parts.next().filter(|name| !name.is_empty())) else {
        return Err(format!("expected {place}/USER/REPOSITORY"));
    };
    let folder = parts.next().map(|folder| folder.trim_matches('/')).filter(|folder| !folder.is_empty());
    checked(format!("https://{place}/{user}/{name}"), rev, folder)
}

/// A git URL with `//FOLDER` and `#REV` behind it, in either order.
fn read_git(text: &str) -> Result<GitReference, String> {
    let (base, rev) = match text.split_once('#') {
        Some((base, rev)) => (base, Some(rev)),
        None => (text, None),
    };
    let path_start = base.find("://").map_or(0, |at| at + 3);
    let (head, path) = base.split_at(path_start);
    let (path, folder) = match path.split_once("//") {
        Some((path, folder)) => (path, Some(folder)),
        None => (path, None),
    };
    // No name of a branch or a tag has two slashes in a row.
    let (rev, late_folder) = match rev.and_then(|rev| rev.split_once("//")) {
        Some((rev, folder)) => (Some(rev), Some(folder)),
        None => (rev, None),
    };
    checked(format!("{head}{path}"), rev, folder.or(late_folder))
}

/// Nothing that git would take for an option, and no way out of the checkout.
fn checked(url: String, rev: Option<&str>, folder: Option<&str>) -> Result<GitReference, String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let is_known =
        scheme.map_or_else(|| is_scp(&url), |scheme| ["https", "http", "ssh", "git", "file"].contains(&scheme));
    if !is_known || url.starts_with('-') {
        return Err("expected a git URL: https://, ssh://, file:// or git@HOST:PATH".to_owned());
    }
    let is_local = url.split_once("://").is_some_and(|(_, rest)| is_loopback(host_of(rest)));
    let is_pinned = rev.is_some_and(is_commit);
    if matches!(scheme, Some("http" | "git")) && !is_local && !is_pinned {
        return Err(
            "over a connection without TLS anybody on the way can change the code: use https, or name the whole \
                    commit, #COMMIT"
                .to_owned(),
        );
    }
    if rev.is_some_and(|rev| rev.is_empty() || rev.starts_with('-') || rev.contains([' ', ':', '^', '~', '?', '*'])) {
        return Err("expected a branch, a tag or a commit behind #".to_owned());
    }
    let folder = folder.map(Path::new);
    let is_inside = |folder: &Path| folder.components().all(|part| matches!(part, Component::Normal(_)));
    if folder.is_some_and(|folder| folder.as_os_str().is_empty() || !is_inside(folder)) {
        return Err("expected a folder of the repository behind //".to_owned());
    }
    Ok(GitReference { url, rev: rev.map(str::to_owned), folder: folder.map(Path::to_owned) })
}

/// Whether what follows a scheme names a git repository: its path ends in `.git`, or is two names on a forge.
fn is_repository(rest: &str) -> bool {
    let path = rest.split('#').next().unwrap_or(rest);
    let path = path.split_once("//").map_or(path, |(path, _)| path).trim_end_matches('/');
    if path.ends_with(".git") {
        return true;
    }
    let parts: Vec<&str> = path.split('/').collect();
    parts.len() == 3 && FORGES.contains(&host_of(path)) && !path.ends_with(".wasm")
}

/// `user@host:path`, as ssh has it.
fn is_scp(text: &str) -> bool {
    let Some((before, path)) = text.split_once(':') else { return false };
    let Some((user, host)) = before.split_once('@') else { return false };
    !user.is_empty() && !user.contains('/') && !host.is_empty() && !host.contains('/') && !path.is_empty()
}

/// Whether a first part of a path is rather the name of a machine: it has a dot, a port, or is this one.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name.chars().all(|char| char.is_ascii_alphanumeric() || ['.', '-', '[', ']', ':'].contains(&char));
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    is_name && is_port && (port.is_some() || name.contains('.') || name == "localhost")
}

/// The host in what follows a scheme.
fn host_of(rest: &str) -> &str {
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Whether `host:port` is this machine.
pub fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A whole commit id, SHA-1 or SHA-256.
pub fn is_commit(rev: &str) -> bool {
    (rev.len() == 40 || rev.len() == 64) && is_hex(rev)
}

pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
