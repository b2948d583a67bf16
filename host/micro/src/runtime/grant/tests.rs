use super::*;
use micro_engine::log::Stream;
use micro_mesh::call::RequestId;
use std::fs;
use std::os::unix::fs::symlink;

struct Nowhere;

impl Log for Nowhere {
    fn line(&self, _: RequestId, _: Stream, _: &str) {}
}

fn give(permits: Permits, manifest: &str) -> Result<Given, String> {
    let grants = Grants::open(permits).unwrap();
    let manifest = Manifest::parse(manifest).unwrap();
    grants.give("shop", &manifest, Arc::new(Nowhere)).map_err(|error| error.to_string())
}

fn files(permitted: &Path, asked: &Path) -> Result<Vec<Folder>, String> {
    let permits = Permits { files: vec![permitted.to_path_buf()], ..Permits::default() };
    let manifest = format!("[allow]\nfiles = [\"{}:/data\"]", asked.display());
    give(permits, &manifest).map(|given| given.granted.files)
}

#[test]
fn only_folders_inside_of_permitted_ones_are_given() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let (open, closed) = (root.join("open"), root.join("closed"));
    for folder in [&open.join("in"), &closed] {
        fs::create_dir_all(folder).unwrap();
    }
    symlink(&closed, open.join("out")).unwrap();
    symlink(open.join("in"), open.join("link")).unwrap();
    fs::write(open.join("file"), "").unwrap();
    let found = files(&open, &open.join("link")).unwrap();
    assert_eq!((found[0].path.clone(), found[0].seen_as.as_str()), (open.join("in"), "/data"));
    for outside in [closed.clone(), open.join("out"), root.clone(), root.join("opener")] {
        let error = files(&open, &outside).unwrap_err();
        assert!(error.contains("--allow-files") && error.contains(outside.to_str().unwrap()), "{error}");
    }
    assert!(files(&open, &open.join("file")).unwrap_err().contains("expected a folder"));
    assert!(files(&open, &open.join("missing")).unwrap_err().contains("No such file"));
    let error = give(Permits::default(), "[allow]\nfiles = [\"/etc\"]").map(drop).unwrap_err();
    assert!(error.contains("allow.files \"/etc\"") && error.contains("--allow-files /etc"), "{error}");
}

#[test]
fn variables_of_the_host_are_given_only_where_they_are_permitted() {
    let permits = || Permits { env: vec!["PATH".into(), "MICRO_*".into()], ..Permits::default() };
    let given = give(permits(), "[env]\nA = \"1\"\n[allow]\nenv = [\"PATH\"]").map(|given| given.env).unwrap();
    let names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["PATH", "A"]);
    let given = give(permits(), "[env]\nPATH = \"mine\"\n[allow]\nenv = [\"PATH\"]").map(|given| given.env).unwrap();
    assert_eq!(given, [("PATH".to_string(), "mine".to_string())]);
    let error = give(permits(), "[allow]\nenv = [\"AWS_SECRET\"]").map(drop).unwrap_err();
    assert!(error.contains("--allow-env AWS_SECRET"), "{error}");
    let error = give(permits(), "[allow]\nenv = [\"MICRO_SECRET_A\"]").map(drop).unwrap_err();
    assert!(error.contains("is not given away"), "{error}");
}
