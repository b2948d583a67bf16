use super::*;

/// A folder that is gone when the test is over.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Folder(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn build(&self) -> Result<Built, BuildError> {
        Package::read(self.path())?.build(&|_| ()).await
    }
}

/// The smallest component: a header. `printf` writes it in the tests below.
const PRINTF: &str = r"printf '\\0asm\\015\\0\\001\\0' > out.wasm";

#[tokio::test]
async fn a_command_makes_the_component_and_the_manifest_goes_in() {
    let manifest = format!("name = \"x\"\n[build]\ncommand = \"{PRINTF}\"\noutput = \"out.wasm\"\n");
    let folder = Folder::with(&[("micro.toml", &manifest)]);
    let built = folder.build().await.unwrap();
    let embedded = micro_engine::inspect::manifest_of(&built.component).unwrap().unwrap();
    assert_eq!(embedded.full_name().as_deref(), Some("x"));
    assert_eq!(built.digest, micro_engine::inspect::digest(&built.component));

    let place = folder.path().join("deep/er/x.wasm");
    built.write(&place).unwrap();
    assert_eq!(std::fs::read(&place).unwrap(), built.component);
    assert_eq!(std::fs::read_dir(folder.path().join("deep/er")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_without_a_way_to_build_says_what_to_write() {
    let folder = Folder::with(&[("micro.toml", "name = \"x\""), ("package.json", "{}")]);
    let text = folder.build().await.unwrap_err().to_string();
    assert!(text.contains("package.json says JavaScript"), "{text}");
    assert!(text.contains("output = "), "{text}");

    let folder = Folder::with(&[("micro.toml", "name = \"x\"\n[build]\ncommand = \"true\"")]);
    let text = folder.build().await.unwrap_err().to_string();
    assert!(text.contains("add output = "), "{text}");
}

#[tokio::test]
async fn a_command_that_writes_nothing_is_told_by_the_missing_file() {
    let manifest = "name = \"x\"\n[build]\ncommand = \"true\"\noutput = \"no.wasm\"";
    let text = Folder::with(&[("micro.toml", manifest)]).build().await.unwrap_err().to_string();
    assert!(text.contains("`true` left no ") && text.contains("no.wasm"), "{text}");
}

#[test]
fn a_folder_that_is_no_package_is_refused() {
    let folder = Folder::with(&[]);
    let text = Package::read(folder.path()).unwrap_err().to_string();
    assert!(text.starts_with("no micro.toml in "), "{text}");

    let folder = Folder::with(&[("micro.toml", "version = \"1\"")]);
    let text = Package::read(folder.path()).unwrap_err().to_string();
    assert!(text.contains("no name"), "{text}");

    let folder = Folder::with(&[("micro.toml", "nmae = \"x\"")]);
    let text = Package::read(folder.path()).unwrap_err().to_string();
    assert!(text.contains("nmae") && text.contains("did you mean"), "{text}");
}
