//! What a host gives its functions: variables, configuration, secrets, folders; and what a deploy says of it.

use super::deploy;
use micro::server::Permits;
use micro_tests::{Host, Program, guest, json, with_manifest};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

const SECRET: &str = "sk_live_0123456789";

/// Permits with a file of secrets in this folder.
fn with_secrets(folder: &Path) -> Permits {
    let path = folder.join("secrets.toml");
    let text = format!("stripe-key = \"{SECRET}\"\nother = {{ value = \"not yours\", for = [\"desk\"] }}\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Permits { secrets: Some(path), ..Permits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_function_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start_with_permits(with_secrets(folder.path())).await;
    let manifest = "name = \"settings\"\n[env]\nSTRIPE = { secret = \"stripe-key\" }\nMODE = \"test\"\n\
                    [config]\nurl = \"http://a\"\n[allow]\nsecrets = [\"stripe-key\"]\n";
    let component = with_manifest(&guest("settings"), manifest);
    let deployed = host.deploy_as("settings", component.clone()).await;
    assert_eq!(deployed.status, 200, "{}", deployed.text());
    let ask = |endpoint: &str, field: &str, value: &str| {
        let message = json!({ field: value });
        let endpoint = format!("Settings.{endpoint}");
        let host = &host;
        async move { host.call("settings", &endpoint, message).await.result() }
    };
    assert_eq!(ask("Variable", "name", "STRIPE").await, SECRET);
    assert_eq!(ask("Variable", "name", "MODE").await, "test");
    assert_eq!(ask("Config", "key", "stripe-key").await, SECRET);
    assert_eq!(ask("Config", "key", "url").await, "http://a");
    assert!(ask("Config", "key", "other").await.is_null());
    assert_eq!(host.call("settings", "Settings.Keys", json!({})).await.result(), json!(["url", "stripe-key"]));
    host.call("settings", "Settings.Print", json!({"text": format!("the key is {SECRET}.")})).await.ok();
    let logs = host.logs("settings").await;
    assert_eq!(logs[0]["message"], "the key is ***.");
    let file = folder.path().join("settings.wasm");
    fs::write(&file, &component).unwrap();
    let program = Program::new(&host.data_dir);
    let inspected = program.succeed(&["inspect", file.to_str().unwrap()]).await;
    let status = host.deployment("settings").await.to_string();
    for text in [deployed.text(), &json!(logs).to_string(), &inspected, &status] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(inspected.contains("url; secrets stripe-key"), "{inspected}");
    assert!(status.contains("url; secrets stripe-key"), "{status}");
    for name in ["other", "missing"] {
        let manifest = format!("name = \"settings\"\n[allow]\nsecrets = [\"{name}\"]\n");
        let detail = host.deploy_as("settings", with_manifest(&guest("settings"), &manifest)).await.refused(422);
        assert!(
            detail.contains(&format!("allow.secrets \"{name}\": this host has no such secret for settings")),
            "{detail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_wasi_logging_has_its_level() {
    let host = Host::start().await;
    host.deploy("settings").await;
    host.call("settings", "Settings.Warn", json!({"context": "billing", "text": "too\nlate"})).await.ok();
    let logs = host.logs("settings").await;
    let told: Vec<_> = logs.iter().map(|line| (line["level"].as_str(), line["message"].as_str())).collect();
    assert_eq!(told, [(Some("warn"), Some("billing: too")), (Some("warn"), Some("late"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_host_are_given_by_name() {
    let permits = Permits { env: vec!["PATH".into()], ..Permits::default() };
    let host = Host::start_with_permits(permits).await;
    deploy(&host, "settings", "env = [\"PATH\"]").await;
    let path = host.call("settings", "Settings.Variable", json!({"name": "PATH"})).await.result();
    assert_eq!(path, std::env::var("PATH").unwrap());
    assert!(host.call("settings", "Settings.Variable", json!({"name": "HOME"})).await.result().is_null());
    let manifest = "name = \"settings\"\n[allow]\nenv = [\"HOME\"]\n";
    let detail = host.deploy_as("settings", with_manifest(&guest("settings"), manifest)).await.refused(422);
    assert!(detail.contains("--allow-env HOME"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_read_only_and_closed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let data = root.join("data");
    fs::create_dir_all(data.join("deep")).unwrap();
    fs::write(data.join("deep/text"), "words").unwrap();
    fs::write(root.join("secret"), "not yours").unwrap();
    symlink(root.join("secret"), data.join("absolute")).unwrap();
    symlink("../secret", data.join("relative")).unwrap();
    symlink("deep/text", data.join("inside")).unwrap();
    let host = Host::start_with_permits(Permits { files: vec![data.clone()], ..Permits::default() }).await;
    deploy(&host, "files", &format!("files = [\"{}:/data\"]", data.display())).await;
    let read = |path: &str| host.call("files", "Files.Read", json!({ "path": path }));
    assert_eq!(read("/data/deep/text").await.result(), "words");
    assert_eq!(read("/data/inside").await.result(), "words");
    for path in
        ["/data/absolute", "/data/relative", "/data/../secret", "/data/deep/../../secret", "/secret", "/etc/passwd"]
    {
        let detail = read(path).await.refused(500);
        assert!(!detail.contains("not yours"), "{path}: {detail}");
    }
    let names = host.call("files", "Files.Names", json!({"path": "/data"})).await.result();
    assert_eq!(names, json!(["absolute", "deep", "inside", "relative"]));
    host.call("files", "Files.Write", json!({"path": "/data/new", "text": "x"})).await.refused(500);
    host.call("files", "Files.Write", json!({"path": "/data/deep/text", "text": "x"})).await.refused(500);
    host.call("files", "Files.Remove", json!({"path": "/data/deep/text"})).await.refused(500);
    assert_eq!(fs::read_to_string(data.join("deep/text")).unwrap(), "words");
    for folder in [root.join("else"), root.clone(), "/etc".into()] {
        let manifest = format!("name = \"files\"\n[allow]\nfiles = [\"{}\"]\n", folder.display());
        let detail = host.deploy_as("files", with_manifest(&guest("files"), &manifest)).await.refused(422);
        assert!(detail.contains("--allow-files"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_and_not_granted_is_refused_with_the_line_to_write() {
    let host = Host::start().await;
    let with = |text: &str| with_manifest(&guest("outgoing"), &format!("name = \"outgoing\"\n{text}"));
    let detail = host.deploy_as("outgoing", with("")).await.refused(422);
    assert!(
        detail.contains("the component imports what it is not granted:\n  wasi:http/outgoing-handler@0.2."),
        "{detail}"
    );
    assert!(detail.contains("write http = [\"HOST\"] below [allow] in micro.toml"), "{detail}");
    host.deploy_as("outgoing", with("[allow]\nhttp = []\n")).await.ok();
    // Where grants are not written down, a warning has to do.
    let deployed = host.deploy_as("outgoing", guest("outgoing")).await.ok();
    assert!(deployed["warnings"].to_string().contains("wasi:http/outgoing-handler"), "{deployed}");
    let grants = deployed["grants"].as_array().expect("grants");
    let http = grants.iter().find(|grant| grant["import"].to_string().contains("outgoing-handler")).expect("a row");
    assert_eq!((http["state"].as_str(), http["what"].as_str()), (Some("nothing"), Some("no host")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_can_grant_what_a_foreign_component_needs() {
    let host = Host::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outgoing.wasm");
    fs::write(&file, guest("outgoing")).unwrap();
    let file = file.to_str().unwrap();
    let program = Program::new(&host.data_dir);
    let text = program.succeed(&["deploy", file, "--allow", "http=a.com", "--allow", "http=*.b.com"]).await;
    let row = text.lines().find(|line| line.contains("wasi:http/outgoing-handler")).expect("a row");
    assert!(row.ends_with("  a.com, *.b.com"), "{text}");
    let status = program.succeed(&["status", "outgoing"]).await;
    assert!(status.contains("a.com, *.b.com"), "{status}");
    for (allow, expected) in [
        ("http=a.com/v1", "allow.http \"a.com/v1\": expected a host like"),
        ("htpp=a.com", "unknown key `allow.htpp`: did you mean http?"),
        ("files=data", "allow.files \"data\": expected the absolute path"),
        ("tcp=db", "allow.tcp \"db\": expected HOST:PORT"),
        ("env=A B", "allow.env \"A B\": expected the name of an environment variable"),
    ] {
        let failed = program.run(&["deploy", file, "--allow", allow]).await;
        assert!(failed.code != 0 && failed.stderr.contains(expected), "{}", failed.stderr);
    }
}
