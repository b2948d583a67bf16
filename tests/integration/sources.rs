//! Components from elsewhere: git repositories and HTTP servers; and `micro run` with its flags.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use micro_tests::{DEADLINE, HostProcess, Outcome, Program, Signal, guest, json, signal, until, versioned};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// A git repository whose package is a component that somebody has built already.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Repository {
        let repository = Repository { folder: tempfile::Builder::new().suffix(".git").tempdir().unwrap() };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    /// Commits a version of the package in `folder`; gives the commit.
    fn commit(&self, folder: &str, version: &str) -> String {
        let place = self.folder.path().join(folder);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("micro.toml"), "name = \"versioned\"\n[build]\noutput = \"it.wasm\"\n").unwrap();
        std::fs::write(place.join("it.wasm"), versioned(version)).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", version]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.folder.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["-c", "user.name=Test", "-c", "user.email=test@example.com"]).args(arguments);
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }
}

/// Waits until the deployment `versioned` gives this answer.
async fn answers(host: &HostProcess, wanted: &str) {
    until(&format!("{wanted} answers"), async || {
        let reply = host.call("versioned", "Version.Get", json!({})).await;
        (reply.status == 200 && reply.result() == json!(wanted)).then_some(())
    })
    .await;
}

/// Interrupts a command as ctrl-C does; it must end well.
async fn interrupt(mut child: Child) {
    signal(child.id().expect("it runs"), Signal::INT);
    let ended = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_follows_a_git_repository() {
    let host = HostProcess::start().await;
    let repository = Repository::new();
    repository.commit("", "one");
    let run = host.program().spawn(&["run", "-u", "--update-interval", "1s", &repository.url()]);
    answers(&host, "one").await;
    repository.commit("", "two");
    answers(&host, "two").await;
    interrupt(run).await;
    host.call("versioned", "Version.Get", json!({})).await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_deferred_stays_and_is_found_by_its_source() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let repository = Repository::new();
    repository.commit("", "one");
    let url = repository.url();
    let deferred = micro.succeed(&["run", "-x", &url]).await;
    assert!(deferred.starts_with("versioned revision 1 ready in ") && !deferred.contains("ctrl-C"), "{deferred}");
    answers(&host, "one").await;
    assert!(micro.succeed(&["run", "-s"]).await.contains("\nversioned "));
    assert!(micro.succeed(&["run", "-s", &url]).await.starts_with("name       versioned\n"));
    assert!(micro.succeed(&["run", "--status", "versioned"]).await.starts_with("name       versioned\n"));
    // What comes later is fetched anew.
    repository.commit("", "two");
    micro.succeed(&["run", "-x", &url]).await;
    answers(&host, "two").await;
    assert_eq!(micro.succeed(&["run", "-k", &url]).await, "versioned is removed; it was at revision 2\n");
    let gone = micro.run(&["run", "-k", "versioned"]).await;
    assert!(gone.code == 1 && gone.stderr.contains("versioned: not found"), "{gone:?}");
    for wrong in [
        &["run", "-k"][..],
        &["run", "-x"],
        &["run", "-s", "-k", "a"],
        &["run", "--update-interval", "2s", "a"],
        &["run", "-x", "-u", "a"],
        &["run", "-x", "-r", "a"],
    ] {
        assert_eq!(micro.run(wrong).await.code, 2, "{wrong:?}");
    }
    let too_often = micro.run(&["run", "-u", "--update-interval", "10ms", &url]).await;
    assert!(too_often.code == 2 && too_often.stderr.contains("at least 1s"), "{too_often:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_takes_the_folder_and_the_revision_that_are_named() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let repository = Repository::new();
    let first = repository.commit("packages/v", "one");
    repository.git(&["tag", "-a", "v1", "-m", "v1"]);
    repository.commit("packages/v", "two");
    repository.git(&["branch", "old", "v1"]);
    let url = repository.url();
    for (suffix, version) in [
        ("//packages/v", "two"),
        ("//packages/v#v1", "one"),
        ("#main//packages/v", "two"),
        ("//packages/v#old", "one"),
        (&format!("//packages/v#{first}"), "one"),
        ("//packages/v#main", "two"),
        (&format!("//packages/v#{}", first.get(..8).unwrap()), "one"),
    ] {
        micro.succeed(&["deploy", &format!("{url}{suffix}")]).await;
        answers(&host, version).await;
    }
    for (suffix, reason) in [
        ("//packages/v#gone", "it has no branch, tag or commit gone"),
        ("//nowhere", "it has no folder nowhere"),
        ("", "no micro.toml in "),
    ] {
        let refused = micro.run(&["deploy", &format!("{url}{suffix}")]).await;
        assert!(refused.code == 1 && refused.stderr.contains(reason), "{suffix}: {refused:?}");
    }
    let missing = micro.run(&["deploy", "file:///no/such.git"]).await;
    assert!(missing.code == 1 && missing.stderr.contains("fetch file:///no/such.git: "), "{missing:?}");
    let without_git = host.program().with_variable("PATH", "/nowhere").run(&["deploy", &url]).await;
    assert!(without_git.code == 1 && without_git.stderr.contains("no program `git` on PATH"), "{without_git:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_git_leaves_behind_does_not_stop_the_next_use() {
    let host = HostProcess::start().await;
    let repository = Repository::new();
    type Leave = fn(&Path);
    let leave: [(&str, Leave); 4] = [
        ("one", |_| ()),
        ("two", |git| std::fs::write(git.join("index.lock"), "").unwrap()),
        ("three", |git| std::fs::write(git.join("shallow.lock"), "").unwrap()),
        ("four", |git| std::fs::remove_file(git.join("HEAD")).unwrap()),
    ];
    for (version, leave) in leave {
        let checkouts = std::fs::read_dir(host.folder().join("sources/git")).into_iter().flatten();
        for git in checkouts.map(|entry| entry.unwrap().path().join(".git")).filter(|git| git.is_dir()) {
            leave(&git);
        }
        repository.commit("", version);
        host.program().succeed(&["deploy", &repository.url()]).await;
        answers(&host, version).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_http_is_checked_against_its_digest() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let component = versioned("one");
    let digest = micro_engine::inspect::digest(&component);
    // Without an end that is said before, so that only counting tells.
    let too_large = || async {
        let chunks = micro_engine::inspect::MAX_COMPONENT / (1024 * 1024) + 1;
        let chunk = || Ok::<_, std::io::Error>(bytes::Bytes::from(vec![0; 1024 * 1024]));
        axum::body::Body::from_stream(futures::stream::iter(std::iter::repeat_with(chunk).take(chunks)))
    };
    let router = Router::new()
        .route("/versioned.wasm", get(move || async move { component }))
        .route("/moved.wasm", get(|| async { (StatusCode::FOUND, [("location", "/versioned.wasm")]) }))
        .route("/round.wasm", get(|| async { (StatusCode::FOUND, [("location", "/round.wasm")]) }))
        .route("/large.wasm", get(too_large));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    micro.succeed(&["deploy", &format!("{url}/versioned.wasm#{digest}")]).await;
    answers(&host, "one").await;
    micro.succeed(&["kill", "versioned"]).await;
    let redirected = micro.succeed(&["deploy", &format!("{url}/moved.wasm#{digest}"), "--name", "versioned"]).await;
    assert!(redirected.starts_with("versioned revision"), "{redirected}");

    let wrong = format!("sha256:{}", "ab".repeat(32));
    for (path, reason) in [
        (format!("versioned.wasm#{wrong}"), format!("expected {wrong}, got {digest}")),
        ("versioned.wasm".to_string(), "add its digest".to_string()),
        (format!("gone.wasm#{digest}"), "the server answered 404".to_string()),
        (format!("round.wasm#{digest}"), "redirects".to_string()),
        (format!("large.wasm#{digest}"), "larger than 128".to_string()),
    ] {
        let Outcome { code, stderr, .. } = micro.run(&["deploy", &format!("{url}/{path}")]).await;
        assert!(code == 1 && stderr.contains(&reason), "{path}: {stderr}");
    }
    // A run that cannot change does not wait for what will never come.
    let ended = micro.run(&["run", &format!("{url}/versioned.wasm#{wrong}")]).await;
    assert!(ended.code == 1 && ended.stderr.contains("nothing was deployed"), "{ended:?}");
    server.abort();
    let nobody = micro.run(&["deploy", &format!("{url}/versioned.wasm#{digest}")]).await;
    assert!(nobody.code == 1 && nobody.stderr.contains(&url), "{nobody:?}");
}

/// Elsewhere the certificates that a program trusts are the system's alone.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn run_follows_a_file_over_https() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = tokio::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    assert!(made.await.expect("openssl runs").status.success());
    std::fs::write(path("versioned.wasm"), versioned("one")).unwrap();
    let mut server = tokio::process::Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-WWW", "-cert", &certificate, "-key", &key])
        .current_dir(folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl runs");
    let mut printed = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = loop {
        let line = printed.next_line().await.unwrap().expect("the server listens");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.to_string();
        }
    };
    let host = HostProcess::start().await;
    let url = format!("https://{address}/versioned.wasm");
    let stranger = host.program().run(&["deploy", &url]).await;
    assert!(stranger.code == 1 && stranger.stderr.contains("certificate"), "{stranger:?}");

    let micro = host.program().with_variable("SSL_CERT_FILE", &certificate);
    let mut run = micro.spawn(&["run", "-u", "--update-interval", "1s", &url]);
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines();
    let warning = said.next_line().await.unwrap().expect("a warning");
    let digest = micro_engine::inspect::digest(&versioned("one"));
    assert!(warning.starts_with("warning: ") && warning.ends_with(&format!("#{digest}")), "{warning}");
    answers(&host, "one").await;
    let beside = path("beside");
    std::fs::write(&beside, versioned("two")).unwrap();
    std::fs::rename(beside, path("versioned.wasm")).unwrap();
    answers(&host, "two").await;
    interrupt(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_none_is_answered_with_what_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let refused = micro.run(&["deploy", "no/such/folder"]).await;
    assert!(refused.code == 1 && refused.stderr.contains("oci://REGISTRY"), "{refused:?}");
    let unknown = micro.run(&["run", "ftp://example.com/f.wasm"]).await;
    assert!(unknown.code == 1 && unknown.stderr.contains("unknown scheme ftp"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_variables_reach_the_function() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let file = host.folder().join("flaky.wasm");
    std::fs::write(&file, guest("flaky")).unwrap();
    let file = file.to_str().unwrap();
    let answer = async || host.call("flaky", "Flaky.Version", json!({})).await.result();

    micro.succeed(&["deploy", file, "--env", "VERSION=a=b"]).await;
    assert_eq!(answer().await, json!("a=b"));
    micro.succeed(&["deploy", file, "--arg", "-v", "--arg", "two words", "--", "--last", "three"]).await;
    assert_eq!(answer().await, json!("flaky -v two words --last three"));
    micro.succeed(&["run", "-x", file, "--arg", "x"]).await;
    assert_eq!(answer().await, json!("flaky x"));
    assert_eq!(micro.run(&["deploy", file, "--env", "NOTHING"]).await.code, 2);

    let canary = ["--output", "json", "deploy", file, "--env", "VERSION=new", "--canary", "10%"];
    let deployed: micro_tests::Value = serde_json::from_str(&micro.succeed(&canary).await).unwrap();
    assert_eq!(deployed["canary"]["percent"], json!(10.0), "{deployed}");
    let wrong = micro.run(&["deploy", file, "--canary", "much"]).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("expected a share like 10%"), "{wrong:?}");
    micro.succeed(&["deploy", file, "--force"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_alone_is_a_host_or_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let mut manager = micro.spawn(&["run", "--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"]);
    let mut printed = BufReader::new(manager.stdout.take().unwrap()).lines();
    assert!(printed.next_line().await.unwrap().expect("its address").starts_with("api      http://127.0.0.1:"));
    assert!(printed.next_line().await.unwrap().expect("its address").starts_with("sidecar  http://127.0.0.1:"));
    let second = micro.run(&["run"]).await;
    assert!(second.code == 0 && second.stdout.contains("deployments   0"), "{second:?}");
    assert!(second.stderr.contains("a host runs here already"), "{second:?}");
    interrupt(manager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("versioned.wasm");
    std::fs::write(&file, versioned("one")).unwrap();
    let micro = Program::new(&data);
    let ports = ["--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"];
    let mut run = micro.spawn(&[&["run", "-r", file.to_str().unwrap()], &ports[..]].concat());
    let mut printed = BufReader::new(run.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines();
    let ready = printed.next_line().await.unwrap().expect("it says when it is ready");
    assert!(ready.starts_with("versioned revision 1 ready in "), "{ready}");
    let mut process = async || loop {
        let line = said.next_line().await.unwrap().expect("it says which process the host is");
        if let Some((id, _)) = line.strip_prefix("host     process ").and_then(|rest| rest.split_once(',')) {
            break id.parse::<u32>().unwrap();
        }
    };
    let first = process().await;
    signal(first, Signal::KILL);
    assert_ne!(process().await, first);
    // At the same address, with what was deployed.
    assert_eq!(micro.succeed(&["call", "versioned", "Version.Get"]).await, "{\n\t\"result\": \"one\"\n}\n");
    interrupt(run).await;
    assert_eq!(micro.run(&["ps"]).await.code, 3, "the host is gone with the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_leaves_no_host_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("versioned.wasm");
    std::fs::write(&file, versioned("one")).unwrap();
    let micro = Program::new(&folder.path().join("data")).with_hang_up(false);
    let ports = ["--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"];
    let mut run = micro.spawn(&[&["run", "-r", file.to_str().unwrap()], &ports[..]].concat());
    let mut printed = BufReader::new(run.stdout.take().unwrap()).lines();
    printed.next_line().await.unwrap().expect("it says when it is ready");
    signal(run.id().expect("it runs"), Signal::HUP);
    let ended = tokio::time::timeout(DEADLINE, run.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(micro.run(&["ps"]).await.code, 3, "the host is gone with the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_started_to_outlive_its_terminal_does() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path()).with_hang_up(true);
    let mut host = micro.spawn(&["server", "--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"]);
    let mut printed = BufReader::new(host.stdout.take().unwrap()).lines();
    printed.next_line().await.unwrap().expect("it says where it listens");
    signal(host.id().expect("it runs"), Signal::HUP);
    assert_eq!(micro.run(&["ps"]).await.code, 0, "it still answers");
    signal(host.id().expect("it runs"), Signal::TERM);
    let ended = tokio::time::timeout(DEADLINE, host.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_a_run_whose_host_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "token").unwrap();
    let file = folder.path().join("versioned.wasm");
    std::fs::write(&file, versioned("one")).unwrap();
    let asked = Arc::new(tokio::sync::Notify::new());
    let told = asked.clone();
    let missing = r#"{"id":"micro","code":404,"detail":"versioned: not found","status":"Not Found"}"#;
    let hang = move || async move {
        told.notify_one();
        std::future::pending::<()>().await;
    };
    let router = Router::new()
        .route("/health", get(|| async { "{}" }))
        .route("/v1/deployments/versioned", get(move || async move { (StatusCode::NOT_FOUND, missing) }).put(hang));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let micro = Program::new(folder.path());
    let mut run = micro.spawn(&["--proxy-address", &address, "run", file.to_str().unwrap()]);
    asked.notified().await;
    signal(run.id().expect("it runs"), Signal::INT);
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines();
    let waiting = said.next_line().await.unwrap().expect("it says that it waits");
    assert!(waiting.contains("waiting for the host"), "{waiting}");
    signal(run.id().expect("it runs"), Signal::INT);
    let ended = tokio::time::timeout(DEADLINE, run.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(1));
    let reason = said.next_line().await.unwrap().expect("its reason");
    assert!(reason.contains("'micro ps'"), "{reason}");
    server.abort();
}
