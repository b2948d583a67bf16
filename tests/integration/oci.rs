//! Components in an OCI registry, a real one: Debian's `docker-registry`.

use micro_tests::{
    DEADLINE, HostProcess, Program, Signal, Value, function, guest, json, signal, until, versioned, workspace,
};
use reqwest::{Client, StatusCode};
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The names that the registry's program goes by, Debian's first.
const PROGRAMS: [&str; 2] = ["docker-registry", "registry"];

/// Where `scripts/setup --test` puts it.
const TOOLS: &str = "target/tools/usr/bin";

/// The user `me` with the password `sekrit`, by bcrypt at little cost.
const USERS: &str = "me:$2a$05$abcdefghijklmnopqrstuupg8.CCkYjotCQ2ere3POHrxefCiHy3a\n";

/// A registry of its own for one test. It is killed when it is dropped.
struct Registry {
    /// `127.0.0.1:…`
    address: String,
    folder: TempDir,
    _child: Child,
}

impl Registry {
    /// Starts a registry that everybody may use.
    async fn start() -> Registry {
        Registry::start_with("").await
    }

    /// Starts a registry that wants a name and a password.
    async fn start_with_users() -> Registry {
        Registry::start_with("auth:\n  htpasswd:\n    realm: test\n    path: FOLDER/users\n").await
    }

    async fn start_with(more: &str) -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let more = more.replace("FOLDER", place);
        let config = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: \
             {place}/blobs\nhttp:\n  addr: 127.0.0.1:0\n{more}"
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        std::fs::write(folder.path().join("users"), USERS).unwrap();
        let mut command = Command::new(program());
        command.arg("serve").arg(folder.path().join("config.yml")).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the registry starts");
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = tokio::time::timeout(DEADLINE, async {
            let mut before = Vec::new();
            while let Some(line) = said.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    return rest.split(['"', ',', ' ']).next().unwrap().to_string();
                }
                before.push(line);
            }
            panic!("the registry ended at its start: {}", before.join("\n"));
        });
        let address = address.await.expect("the registry listens");
        // Read to the end, or a registry that writes much would stand still.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Registry { address, folder, _child: child }
    }

    /// A file for a component, beside the registry's own.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}/v2/{path}", self.address);
        let request = client().get(url).header("accept", "application/vnd.oci.image.manifest.v1+json");
        let response = request.send().await.expect("the registry answers");
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("it answers JSON")
    }
}

fn client() -> Client {
    micro::tls::install_provider();
    Client::builder().no_proxy().build().unwrap()
}

/// The registry's program.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(workspace().join(TOOLS));
    let places = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("none of {PROGRAMS:?} is on PATH or in {TOOLS}: `scripts/setup --test` installs it"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_goes_into_a_registry_and_comes_out_again() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path()).inside(folder.path());
    let greeter = function("greeter");
    let source = registry.file("greeter.wasm", &greeter);
    let reference = format!("{}/demo/greeter:1.0", registry.address);
    let pushed = micro.succeed(&["--output", "json", "push", &source, &reference]).await;
    let pushed: Value = serde_json::from_str(&pushed).unwrap();
    let digest = pushed["digest"].as_str().unwrap();
    let component = micro_engine::inspect::digest(&greeter);
    assert_eq!((&pushed["reference"], &pushed["name"]), (&json!(reference), &json!("greeter")));
    assert_eq!((&pushed["component"], &pushed["size"]), (&json!(component), &json!(greeter.len())));

    // The layout of the CNCF's TAG Runtime.
    let manifest = registry.get("demo/greeter/manifests/1.0").await;
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1, "{manifest}");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], component);
    assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], "greeter");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "0.1.0");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.description"], "Says hello");
    let config = registry.get(&format!("demo/greeter/blobs/{}", manifest["config"]["digest"].as_str().unwrap())).await;
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(config["layerDigests"], json!([component]));
    assert!(config["component"]["exports"][0].as_str().is_some_and(|name| name.contains("/say@")), "{config}");
    assert!(config["created"].is_string() && config["component"]["imports"].is_array(), "{config}");

    // The same component has the same digest, whatever it is called and whenever it is pushed.
    let again = micro.succeed(&["push", &source, &format!("oci://{}/demo/greeter:again", registry.address)]).await;
    assert!(again.contains(&format!("digest     {digest}\n")), "{again}");

    let by_digest = format!("{}/demo/greeter@{digest}", registry.address);
    assert_eq!(pushed["pinned"], by_digest);
    for reference in [&reference, &by_digest] {
        let pulled = micro.succeed(&["--output", "json", "pull", reference]).await;
        let pulled: Value = serde_json::from_str(&pulled).unwrap();
        assert_eq!((&pulled["digest"], &pulled["file"]), (&json!(digest), &json!("greeter.wasm")));
        assert_eq!(std::fs::read(folder.path().join("greeter.wasm")).unwrap(), greeter);
    }
    // A file that nobody named is not written over.
    std::fs::write(folder.path().join("greeter.wasm"), "mine").unwrap();
    let refused = micro.run(&["pull", &reference]).await;
    assert!(refused.code == 1 && refused.stderr.contains("greeter.wasm is there already"), "{refused:?}");
    micro.succeed(&["pull", &reference, "greeter.wasm"]).await;
    assert_eq!(std::fs::read(folder.path().join("greeter.wasm")).unwrap(), greeter);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_deployed_and_followed() {
    let registry = Registry::start().await;
    let host = HostProcess::start().await;
    let micro = host.program();
    let reference = format!("{}/versioned:main", registry.address);
    let push = async |version: &str| {
        let file = registry.file("v.wasm", &versioned(version));
        let pushed = micro.succeed(&["--output", "json", "push", &file, &reference]).await;
        serde_json::from_str::<Value>(&pushed).unwrap()["pinned"].as_str().unwrap().to_string()
    };
    let answers = async |wanted: &str| {
        until(&format!("{wanted} answers"), async || {
            let reply = host.call("versioned", "Version.Get", json!({})).await;
            (reply.status == 200 && reply.result() == json!(wanted)).then_some(())
        })
        .await;
    };
    let first = push("one").await;
    let mut run = micro.spawn(&["run", "-u", "--update-interval", "1s", &format!("oci://{reference}")]);
    answers("one").await;
    push("two").await;
    answers("two").await;
    signal(run.id().expect("it runs"), Signal::INT);
    assert!(run.wait().await.unwrap().success());
    // Pinned, it is what it was.
    micro.succeed(&["deploy", &first]).await;
    answers("one").await;
    let fixed = micro.spawn(&["run", "-u", &first]);
    let mut said = BufReader::new(fixed.stderr.unwrap()).lines();
    assert!(said.next_line().await.unwrap().expect("a remark").contains("there is nothing to update"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_does_not_have_or_give_is_told() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let address = &registry.address;
    let unknown = micro.run(&["pull", &format!("{address}/greeter:none")]).await;
    assert!(unknown.code == 1 && unknown.stderr.contains("greeter:none: "), "{unknown:?}");
    assert!(unknown.stderr.to_lowercase().contains("unknown") || unknown.stderr.contains("no such"), "{unknown:?}");
    let nobody = micro.run(&["pull", "127.0.0.1:1/greeter:1"]).await;
    assert!(nobody.code == 1 && nobody.stderr.contains("no connection"), "{nobody:?}");
    let bad = micro.run(&["pull", "greeter"]).await;
    assert!(bad.code == 1 && bad.stderr.contains("no registry in front"), "{bad:?}");
    let digest = format!("sha256:{}", "ab".repeat(32));
    let file = registry.file("echo.wasm", &guest("echo"));
    let pinned = micro.run(&["push", &file, &format!("{address}/echo@{digest}")]).await;
    assert!(pinned.code == 1 && pinned.stderr.contains("give the reference a tag"), "{pinned:?}");
    let rubbish = registry.file("rubbish.wasm", b"rubbish");
    let refused = micro.run(&["push", &rubbish, &format!("{address}/rubbish:1")]).await;
    assert!(refused.code == 1 && refused.stderr.contains("not wasm"), "{refused:?}");

    // An artifact of another kind.
    micro.succeed(&["push", &file, &format!("{address}/echo:1")]).await;
    let mut manifest = registry.get("echo/manifests/1").await;
    manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    let url = format!("http://{address}/v2/echo/manifests/other");
    let request = client().put(url).header("content-type", "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(request.body(manifest.to_string()).send().await.unwrap().status(), StatusCode::CREATED);
    let other = micro.run(&["pull", &format!("{address}/echo:other")]).await;
    assert!(other.code == 1 && other.stderr.contains("is it a wasm artifact?"), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_a_password_gets_the_one_of_docker_login() {
    let registry = Registry::start_with_users().await;
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let reference = format!("{}/echo:1", registry.address);
    let file = registry.file("echo.wasm", &guest("echo"));
    for command in [&["push", file.as_str(), &reference][..], &["pull", &reference]] {
        let refused = micro.run(command).await;
        let way_out = format!("docker login {}", registry.address);
        assert!(refused.code == 1 && refused.stderr.contains(&way_out), "{command:?}: {refused:?}");
    }
    let config = folder.path().join("docker");
    std::fs::create_dir(&config).unwrap();
    // `me:sekrit` as docker writes it.
    let text = json!({ "auths": { &registry.address: { "auth": "bWU6c2Vrcml0" } } });
    std::fs::write(config.join("config.json"), text.to_string()).unwrap();
    micro.succeed(&["push", &file, &reference]).await;
    micro.succeed(&["pull", &reference, folder.path().join("out.wasm").to_str().unwrap()]).await;
    assert_eq!(std::fs::read(folder.path().join("out.wasm")).unwrap(), guest("echo"));
}
