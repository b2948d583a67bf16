//! Finding a Rust toolchain that makes WASI components.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{BuildError, environment};

/// The target whose output is a component.
pub const TARGET: &str = "wasm32-wasip2";

/// Where a system's own packages put their compiler, which a rustup in front of it on PATH hides.
const SYSTEM: &str = "/usr/bin";

/// A folder with a `cargo` and a `rustc` that have [`TARGET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    bin: PathBuf,
}

impl Toolchain {
    /// The first toolchain that can build `dir`: the one on PATH, else the system's. It is asked in that folder,
    /// because a `rust-toolchain.toml` there may choose another.
    pub async fn find(dir: &Path) -> Result<Toolchain, BuildError> {
        let candidates = candidates(std::env::var_os("PATH"));
        for bin in &candidates {
            if has_target(bin, dir).await {
                return Ok(Toolchain { bin: bin.clone() });
            }
        }
        Err(missing(&candidates))
    }

    /// Its cargo.
    pub fn cargo(&self) -> PathBuf {
        self.bin.join("cargo")
    }

    /// The PATH under which this toolchain answers first.
    pub fn path(&self) -> OsString {
        path_with(&self.bin, std::env::var_os("PATH"))
    }
}

/// The folders to look at, in order.
fn candidates(path: Option<OsString>) -> Vec<PathBuf> {
    let on_path = path
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| folder.is_absolute())
        .find(|folder| is_toolchain(folder));
    let mut found: Vec<PathBuf> = on_path.into_iter().collect();
    let system = PathBuf::from(SYSTEM);
    if !found.contains(&system) && is_toolchain(&system) {
        found.push(system);
    }
    found
}

fn is_toolchain(folder: &Path) -> bool {
    ["rustc", "cargo"].iter().all(|program| folder.join(program).is_file())
}

/// A compiler names the folder of a target's libraries whether or not it is there.
async fn has_target(bin: &Path, dir: &Path) -> bool {
    let mut rustc = environment::command(bin.join("rustc"), dir);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    rustc.env("PATH", path_with(bin, std::env::var_os("PATH")));
    match environment::run(rustc, "rustc", &|_| ()).await {
        Ok(said) => !said.stdout.trim().is_empty() && Path::new(said.stdout.trim()).is_dir(),
        Err(_) => false,
    }
}

fn path_with(bin: &Path, path: Option<OsString>) -> OsString {
    let mut folders = vec![bin.to_owned()];
    folders.extend(path.iter().flat_map(std::env::split_paths).filter(|folder| folder != bin));
    // Only a folder with a colon in its name cannot be joined, and none such came out of a PATH.
    std::env::join_paths(folders).unwrap_or_else(|_| bin.as_os_str().to_owned())
}

fn missing(candidates: &[PathBuf]) -> BuildError {
    if candidates.is_empty() {
        return BuildError::NoToolchain(format!(
            "no Rust compiler found: install Rust from https://rustup.rs, then run `rustup target add {TARGET}`"
        ));
    }
    let looked_at: Vec<_> = candidates.iter().map(|bin| bin.join("rustc").display().to_string()).collect();
    BuildError::NoToolchain(format!(
        "no Rust compiler here has the target {TARGET} (looked at {}): run `rustup target add {TARGET}`, \
         or scripts/wasm-target of the micro project where rustup cannot download it",
        looked_at.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_on_path_comes_first() {
        let guard = tempfile::tempdir().unwrap();
        let folder = guard.path();
        let only_rustc = folder.join("a");
        let whole = folder.join("b");
        for (bin, programs) in [(&only_rustc, &["rustc"][..]), (&whole, &["rustc", "cargo"][..])] {
            std::fs::create_dir_all(bin).unwrap();
            for program in programs {
                std::fs::write(bin.join(program), "").unwrap();
            }
        }
        let path = std::env::join_paths([folder, &only_rustc, &whole]).unwrap();
        let found = candidates(Some(path));
        assert_eq!(found.first(), Some(&whole));
        assert!(found[1..].iter().all(|bin| bin == Path::new(SYSTEM)));
    }

    #[test]
    fn the_chosen_toolchain_is_put_in_front() {
        let path = path_with(Path::new("/usr/bin"), Some("/home/me/.cargo/bin:/usr/bin:/bin".into()));
        assert_eq!(path, "/usr/bin:/home/me/.cargo/bin:/bin");
        assert_eq!(path_with(Path::new("/usr/bin"), None), "/usr/bin");
    }

    #[test]
    fn a_missing_target_says_how_to_get_it() {
        let text = missing(&["/home/me/.cargo/bin".into(), "/usr/bin".into()]).to_string();
        assert!(text.contains("/home/me/.cargo/bin/rustc, /usr/bin/rustc"), "{text}");
        assert!(text.contains("rustup target add wasm32-wasip2"), "{text}");
        assert!(text.contains("scripts/wasm-target"), "{text}");
        assert!(missing(&[]).to_string().contains("rustup.rs"));
    }
}
