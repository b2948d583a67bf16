use super::*;
use micro_engine::manifest::HostLimits;

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

/// A section, shorter than 128 bytes; of id 0, it begins with its name.
fn section(id: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let name = if id == 0 { [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat() } else { Vec::new() };
    let length = u8::try_from(name.len() + content.len()).unwrap();
    assert!(length < 128);
    [&[id, length], name.as_slice(), content].concat()
}

#[test]
fn what_the_source_says_goes_into_the_manifest_and_the_docs() {
    let wit =
        "package a:b;\n/// Says.\ninterface c { d: func(); }\n\0package a:b;\ninterface e {\n/// F.\nf: func(); }\0";
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(0, "micro.fragment", b"description = \"Says.\"\n[limits]\ntimeout = \"1s\"\nmemory = \"1MiB\"\n\0"),
        section(0, "micro.wit", wit.as_bytes()),
    ]
    .concat();
    // A module is longer than one byte can say.
    let length = [u8::try_from(module.len() % 128).unwrap() | 0x80, u8::try_from(module.len() / 128).unwrap()];
    let component = [b"\0asm\x0d\0\x01\0".as_slice(), &[1], &length, &module].concat();

    let folder = Folder::with(&[("micro.toml", "name = \"x\"\n[limits]\nmemory = \"2MiB\"\n")]);
    let finished = Package::read(folder.path()).unwrap().finish(&component).unwrap();
    let manifest = micro_engine::inspect::manifest_of(&finished).unwrap().unwrap();
    assert_eq!(manifest.description.as_deref(), Some("Says."));
    let limits = manifest.limits.within(&HostLimits::default());
    assert_eq!(limits.timeout, std::time::Duration::from_secs(1));
    assert_eq!(limits.memory, bytesize::ByteSize::mib(2));
    let docs = micro_engine::section::get(&finished, micro_engine::docs::SECTION).unwrap().unwrap();
    assert_eq!(std::str::from_utf8(docs).unwrap(), "{\"a:b/e#f\":\"F.\"}");

    // What the source says has to be a manifest, too.
    let module = [b"\0asm\x01\0\0\0".to_vec(), section(0, "micro.fragment", b"[limits]\nmemroy = \"1MiB\"\0")].concat();
    let component = [b"\0asm\x0d\0\x01\0".to_vec(), section(1, "", &module)].concat();
    let error = Package::read(folder.path()).unwrap().finish(&component).unwrap_err().to_string();
    assert!(error.contains("memroy"), "{error}");
}

#[tokio::test]
async fn a_crate_needs_no_manifest() {
    let crate_manifest = "[package]\nname = \"x-y\"\nversion = \"1.2.0\"\n";
    let folder = Folder::with(&[("Cargo.toml", crate_manifest)]);
    let package = Package::read(folder.path()).unwrap();
    assert_eq!((package.name().as_str(), package.manifest.version.as_deref()), ("x-y", Some("1.2.0")));

    // What the manifest says goes before what the crate says.
    let manifest = format!("version = \"2\"\n[build]\ncommand = \"{PRINTF}\"\noutput = \"out.wasm\"\n");
    let folder = Folder::with(&[("Cargo.toml", crate_manifest), ("micro.toml", &manifest)]);
    let built = folder.build().await.unwrap();
    let embedded = micro_engine::inspect::manifest_of(&built.component).unwrap().unwrap();
    assert_eq!((embedded.full_name().as_deref(), embedded.version.as_deref()), (Some("x-y"), Some("2")));
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
