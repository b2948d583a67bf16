//! Packages in git repositories, by the program `git`: a shallow checkout in the data folder for each repository and
//! revision, which the next fetch brings up to date.

use super::SourceError;
use super::reference::{GitReference, redacted};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// So long may git take for one step. A shallow fetch is seconds; a large one over a slow line is minutes.
const GIT_LIMIT: Duration = Duration::from_secs(600);
/// Checkouts that are kept; the one that was used longest ago makes room for a new one.
const MAX_CHECKOUTS: usize = 32;
/// Between two tries to get a checkout that another process works in.
const GLANCE: Duration = Duration::from_millis(50);
/// Of what git says when it fails, so much is shown: the end.
const MAX_SAID: usize = 4096;

/// A repository with its place in the cache.
#[derive(Debug)]
pub struct Repository {
    reference: GitReference,
    /// The checkout; its lock lies beside it.
    dir: PathBuf,
}

/// A checkout that is up to date and nobody else's for as long as this lives.
#[derive(Debug)]
pub struct Checkout {
    /// The package's folder.
    pub dir: PathBuf,
    /// The commit.
    pub commit: String,
    _lock: File,
}

impl Repository {
    /// The repository of `reference`, whose checkout goes into `cache`.
    pub fn new(reference: GitReference, cache: &Path) -> Repository {
        let identity = format!("{}#{}", reference.url, reference.rev.as_deref().unwrap_or_default());
        let digest = micro_engine::inspect::digest(identity.as_bytes());
        let short: String = digest.trim_start_matches("sha256:").chars().take(16).collect();
        let dir = cache.join("git").join(format!("{}-{short}", file_name(reference.name())));
        Repository { reference, dir }
    }

    /// What it was made from.
    pub fn reference(&self) -> &GitReference {
        &self.reference
    }

    /// The URL, for messages.
    pub fn shown(&self) -> String {
        redacted(&self.reference.url)
    }

    /// Fetches and checks out what the reference means now.
    pub async fn check_out(&self, progress: &dyn Fn(&str)) -> Result<Checkout, SourceError> {
        let lock = self.lock(progress).await?;
        let is_old = self.dir.join(".git").is_dir();
        let commit = match self.update(progress).await {
            // Nobody else works here, so what is in the way was left behind by a git that did not come to its end.
            Err(error) if is_old && is_left_behind(&error) => {
                progress("beginning anew");
                std::fs::remove_dir_all(&self.dir).map_err(|error| self.failed("remove the checkout of", error))?;
                self.update(progress).await?
            }
            updated => updated?,
        };
        Ok(Checkout { dir: self.package()?, commit, _lock: lock })
    }

    /// Makes the checkout if there is none, and brings it up to date; gives the commit.
    async fn update(&self, progress: &dyn Fn(&str)) -> Result<String, SourceError> {
        if !self.dir.join(".git").is_dir() {
            self.make_room();
            std::fs::create_dir_all(&self.dir).map_err(|error| self.failed("make the checkout of", error))?;
            self.git(&["init", "-q"]).await?;
        }
        progress("fetching");
        let commit = self.fetch().await?;
        self.git(&["checkout", "-q", "--force", "--detach", &commit]).await?;
        // What builds left behind stays, or every build would be the first.
        self.git(&["clean", "-q", "-ffd", "-e", "target"]).await?;
        Ok(commit)
    }

    /// The commit that the reference means at the repository now; none when that cannot be told without fetching.
    pub async fn latest(&self) -> Result<Option<String>, SourceError> {
        if self.reference.is_fixed() {
            return Ok(None);
        }
        let rev = self.reference.rev.as_deref().unwrap_or("HEAD");
        let peeled = format!("{rev}^{{}}");
        let listed = self.run(&["ls-remote", "-q", "--", &self.reference.url, rev, &peeled], None).await?;
        Ok(pick(&listed, rev))
    }

    /// Fetches the revision alone, or, where a server gives no single commits or the revision is an abbreviation,
    /// everything.
    async fn fetch(&self) -> Result<String, SourceError> {
        let rev = self.reference.rev.as_deref().unwrap_or("HEAD");
        let url = &self.reference.url;
        let shallow = self.git(&["fetch", "-q", "--depth", "1", "--no-tags", "--", url, rev]).await;
        match shallow {
            Ok(_) => self.git(&["rev-parse", "--verify", "-q", "FETCH_HEAD^{commit}"]).await,
            Err(SourceError::Failed { .. }) if is_abbreviation(rev) => {
                self.git(&["fetch", "-q", "--no-tags", "--", url, "+refs/heads/*:refs/remotes/origin/*"]).await?;
                self.git(&["rev-parse", "--verify", "-q", &format!("{rev}^{{commit}}")])
                    .await
                    .map_err(|_| self.failed("fetch", format!("it has no branch, tag or commit {rev}")))
            }
            Err(error) => Err(error),
        }
    }

    /// The package's folder in the checkout. A link may not lead out of it.
    fn package(&self) -> Result<PathBuf, SourceError> {
        let Some(folder) = &self.reference.folder else { return Ok(self.dir.clone()) };
        let missing = || self.failed("fetch", format!("it has no folder {}", folder.display()));
        let root = self.dir.canonicalize().map_err(|error| self.failed("open the checkout of", error))?;
        let dir = self.dir.join(folder).canonicalize().map_err(|_| missing())?;
        if dir.starts_with(root) { Ok(dir) } else { Err(missing()) }
    }

    /// One process at a time works in a checkout: a build must not see the files of two revisions.
    async fn lock(&self, progress: &dyn Fn(&str)) -> Result<File, SourceError> {
        let place = self.dir.with_extension("lock");
        let failed = |error: std::io::Error| self.failed("lock the checkout of", error);
        std::fs::create_dir_all(place.parent().unwrap_or(&self.dir)).map_err(failed)?;
        let file = File::create(&place).map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    progress("waiting for another micro that builds it");
                    tokio::time::sleep(GLANCE).await;
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        // The order in which checkouts were used.
        file.set_modified(SystemTime::now()).map_err(failed)?;
        Ok(file)
    }

    /// Removes the checkouts that were used longest ago, but none that somebody works in.
    fn make_room(&self) {
        let entries = self.dir.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let mut locks: Vec<(SystemTime, PathBuf)> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "lock"))
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .collect();
        locks.sort();
        let extra = locks.len().saturating_sub(MAX_CHECKOUTS);
        for (_, lock) in locks.into_iter().take(extra) {
            let is_free = File::open(&lock).is_ok_and(|file| file.try_lock().is_ok());
            if is_free && std::fs::remove_dir_all(lock.with_extension("")).is_ok() {
                // A lock without a checkout is only an empty file.
                let _ = std::fs::remove_file(lock);
            }
        }
    }

    /// Runs git in the checkout; gives the first line of what it printed.
    async fn git(&self, arguments: &[&str]) -> Result<String, SourceError> {
        let printed = self.run(arguments, Some(&self.dir)).await?;
        Ok(printed.lines().next().unwrap_or_default().trim().to_owned())
    }

    async fn run(&self, arguments: &[&str], folder: Option<&Path>) -> Result<String, SourceError> {
        let mut command = Command::new("git");
        // Hooks and monitors are programs that a template or a configuration may bring along.
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]).args(arguments);
        // A git that started us must not make ours work on its repository.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            command.env_remove(variable);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file").env("LC_ALL", "C");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        if let Some(folder) = folder {
            command.current_dir(folder);
            // A broken checkout must not make git work on a repository that the cache lies in.
            let ceiling = folder.parent().and_then(|cache| std::path::absolute(cache).ok());
            command.envs(ceiling.map(|ceiling| ("GIT_CEILING_DIRECTORIES", ceiling)));
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(GIT_LIMIT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SourceError::NoGit(self.shown()));
            }
            Ok(Err(error)) => return Err(self.failed("fetch", format!("git does not start: {error}"))),
            Err(_) => {
                let limit = humantime::format_duration(GIT_LIMIT);
                return Err(self.failed("fetch", format!("git took longer than {limit}")));
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.failed("fetch", said(&output, &self.reference)))
    }

    fn failed(&self, action: &'static str, reason: impl ToString) -> SourceError {
        SourceError::failed(action, self.shown(), reason)
    }
}

/// What git complains of, without the words that every complaint has, and with the way out where there is one.
fn said(output: &Output, reference: &GitReference) -> String {
    let text = String::from_utf8_lossy(&output.stderr).replace(&reference.url, &redacted(&reference.url));
    let text = text.trim();
    let start = text.char_indices().rev().nth(MAX_SAID).map_or(0, |(at, _)| at);
    let text = text.get(start..).unwrap_or(text).trim_start_matches("fatal: ").to_owned();
    if text.contains("could not read Username") || text.contains("Permission denied") {
        return format!("{text}\ngive git credentials for it: a credential helper, or an ssh key with git@HOST:PATH");
    }
    if let (true, Some(rev)) = (text.contains("couldn't find remote ref"), &reference.rev) {
        return format!("it has no branch, tag or commit {rev}");
    }
    if text.is_empty() { format!("git ended with {}", output.status) } else { text }
}

/// Whether git complains of what another git left behind: a lock, or a repository that is not whole.
fn is_left_behind(error: &SourceError) -> bool {
    const COMPLAINTS: [&str; 5] = ["File exists", "not a git repository", "is corrupt", "is empty", "bad object"];
    matches!(error, SourceError::Failed { reason, .. } if COMPLAINTS.iter().any(|text| reason.contains(text)))
}

/// The commit that `rev` means in the lines of `git ls-remote`: full names come before short ones and tags before
/// branches, as `git fetch` has it; a tag with a message stands for its commit.
fn pick(listed: &str, rev: &str) -> Option<String> {
    let lines = || listed.lines().filter_map(|line| line.split_once('\t'));
    let names = ["", "refs/", "refs/tags/", "refs/heads/"].map(|prefix| format!("{prefix}{rev}"));
    let mut names = names.iter().flat_map(|name| [format!("{name}^{{}}"), name.clone()]);
    names.find_map(|name| lines().find(|(_, found)| *found == name)).map(|(commit, _)| commit.to_owned())
}

/// Whether a revision may be the beginning of a commit id, or a whole one.
fn is_abbreviation(rev: &str) -> bool {
    (7..=64).contains(&rev.len()) && super::reference::is_hex(rev)
}

/// A name from a URL, fit for a folder. Without dots: what follows one would be taken for an extension.
fn file_name(name: &str) -> String {
    let fit = |char: char| if char.is_ascii_alphanumeric() || ['-', '_'].contains(&char) { char } else { '-' };
    name.chars().take(64).map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listed_commit_of_a_revision_is_found() {
        let listed = "1\tHEAD\n2\trefs/heads/main\n3\trefs/tags/v1\n4\trefs/tags/v1^{}\n5\trefs/remotes/x/HEAD\n";
        for (rev, commit) in [
            ("HEAD", Some("1")),
            ("main", Some("2")),
            ("heads/main", Some("2")),
            ("refs/heads/main", Some("2")),
            ("v1", Some("4")),
            ("tags/v1", Some("4")),
            ("refs/tags/v1", Some("4")),
            ("gone", None),
        ] {
            assert_eq!(pick(listed, rev).as_deref(), commit, "{rev}");
        }
    }

    #[test]
    fn a_checkout_has_a_folder_for_each_revision() {
        let dir = |url: &str, rev: Option<&str>| {
            let reference = GitReference { url: url.into(), rev: rev.map(Into::into), folder: None };
            Repository::new(reference, Path::new("c")).dir
        };
        let first = dir("https://example.com/a.b.git", None);
        let name = first.strip_prefix("c/git").unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("a-b-") && first.extension().is_none(), "{name}");
        assert_ne!(first, dir("https://example.com/a.b.git", Some("v1")));
        assert_ne!(first, dir("https://example.org/a.b.git", None));
    }
}
