//! The command line, run as a program against a host in another one.

use micro_tests::{HostProcess, Outcome, Program, Signal, Value, function, json, signal, until, versioned};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A host that serves the greeter, and the command line for it.
async fn greeter_host() -> (HostProcess, Program) {
    let host = HostProcess::start().await;
    host.deploy_as("greeter", function("greeter")).await.ok();
    let program = host.program();
    (host, program)
}

pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_listed_and_shown_as_the_toolkit_does() {
    let (host, micro) = greeter_host().await;
    assert_eq!(micro.succeed(&["list", "services"]).await, "greeter\n");
    assert_eq!(micro.succeed(&["registry", "list", "services"]).await, "greeter\n");
    let shown = micro.succeed(&["get", "service", "greeter"]).await;
    let id = host.admin(reqwest::Method::GET, "/status", "").await.ok()["host"].as_str().unwrap().to_string();
    let address = host.api.trim_start_matches("http://");
    let expected = format!(
        "service  greeter\n\nversion 0.1.0\n\nID\tAddress\tMetadata\n\
         greeter-{id}\t{address}\thost={id},revision=1,server=micro,transport=local\n\n\
         Endpoint: Say.Hello\n\nMetadata: description=Greets somebody by name.\n\n\
         Request: {{\n\tname string\n}}\n\nResponse: {{\n\tmsg string\n}}\n\n"
    );
    assert_eq!(shown, expected);
    assert_eq!(micro.succeed(&["registry", "get", "service", "greeter"]).await, expected);
    let unknown = micro.run(&["get", "service", "nobody"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, "service not found\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_print_the_reply_or_the_error() {
    let (host, micro) = greeter_host().await;
    let reply = "{\n\t\"msg\": \"Hello John\"\n}\n";
    let request = r#"{"name": "John"}"#;
    assert_eq!(micro.succeed(&["call", "greeter", "Say.Hello", request]).await, reply);
    assert_eq!(micro.succeed(&["query", "greeter", "Say.Hello", request]).await, reply);
    assert_eq!(micro.succeed(&["call", "greeter", "Say.Hello", "{\"name\":", "\"John\"}"]).await, reply, "words");
    let from_file = format!("@{}", text(&file(host.folder(), "request.json", request.as_bytes())));
    assert_eq!(micro.succeed(&["call", "greeter", "Say.Hello", &from_file]).await, reply);
    let from_input = micro.run_with_input(&["call", "greeter", "Say.Hello", "-"], request).await;
    assert_eq!((from_input.code, from_input.stdout.as_str()), (0, reply));
    let json = micro.succeed(&["--output", "json", "call", "greeter", "Say.Hello", request]).await;
    assert_eq!(json, "{\"msg\":\"Hello John\"}\n");

    let wrong = micro.run(&["call", "greeter", "Say.Hello", r#"{"nam": "John"}"#]).await;
    assert_eq!(wrong.code, 1);
    let error = wrong.stdout.strip_prefix("error calling greeter.Say.Hello: ").expect("go-micro's words");
    let error: Value = serde_json::from_str(error).expect("the error JSON");
    assert_eq!((&error["code"], &error["id"]), (&json!(400), &json!("greeter")));
    assert!(error["detail"].as_str().is_some_and(|detail| detail.contains("did you mean name?")), "{error}");
    let unknown = micro.run(&["call", "nobody", "A.B"]).await;
    assert!(unknown.code == 1 && unknown.stdout.contains("\"code\":404"), "{unknown:?}");
    let usage = micro.run(&["call"]).await;
    assert!(usage.code == 2 && usage.stdout.starts_with("require service and endpoint"), "{usage:?}");
    let broken = micro.run(&["call", "greeter", "Say.Hello", "{"]).await;
    assert!(broken.code == 2 && broken.stderr.contains("not JSON"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_made_shown_rolled_back_and_killed() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let nothing = micro.run(&["ps"]).await;
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""));
    assert!(nothing.stderr.contains("nothing is deployed"), "{nothing:?}");
    let path = file(host.folder(), "versioned.wasm", &versioned("one"));
    let deployed = micro.succeed(&["deploy", text(&path)]).await;
    assert!(deployed.starts_with("versioned revision 1 is ready\n"), "{deployed}");
    assert!(deployed.contains("curl 'http://127.0.0.1:"), "{deployed}");
    assert!(
        micro.succeed(&["deploy", text(&path)]).await.starts_with("versioned revision 1 is already the current one")
    );
    file(host.folder(), "versioned.wasm", &versioned("two"));
    let json = micro.succeed(&["--output", "json", "deploy", text(&path), "--version", "2.0.0"]).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["revision"], &json["version"], &json["changed"]), (&json!(2), &json!("2.0.0"), &json!(true)));

    let table = micro.succeed(&["ps"]).await;
    let mut lines = table.lines();
    let heading = "NAME       VERSION  REVISION  KIND      STATE  REPLICAS  CANARY  ENGINE  CALLS  ERRORS  DEPLOYED";
    assert_eq!(lines.next(), Some(heading));
    let row = "versioned  2.0.0    2         function  ready  n/a       n/a     lean    0      0       ";
    assert!(lines.next().is_some_and(|line| line.starts_with(row)), "{table}");
    let status = micro.succeed(&["status", "versioned"]).await;
    assert!(status.contains("\n2 *       2.0.0 ") && status.contains("\n1         latest "), "{status}");
    let status = micro.succeed(&["status"]).await;
    assert!(status.contains(&host.api) && status.contains("deployments   1"), "{status}");

    let back = micro.succeed(&["rollback", "versioned"]).await;
    assert!(back.starts_with("versioned is ready at revision 1\n"), "{back}");
    assert!(micro.succeed(&["rollback", "versioned", "--revision", "2"]).await.contains("at revision 2"));
    let none = micro.run(&["rollback", "versioned", "--revision", "7"]).await;
    assert!(none.code == 1 && none.stderr.contains("keeps no revision 7"), "{none:?}");
    assert_eq!(micro.succeed(&["kill", "versioned"]).await, "versioned is removed; it was at revision 2\n");
    let gone = micro.run(&["kill", "versioned"]).await;
    assert!(gone.code == 1 && gone.stderr.contains("versioned: not found"), "{gone:?}");
    let refused = micro.run(&["deploy", text(&file(host.folder(), "not.wasm", b"rubbish"))]).await;
    assert!(refused.code == 1 && refused.stderr.contains("not wasm"), "{refused:?}");
    let missing = micro.run(&["deploy", "/no/such/file.wasm"]).await;
    assert!(missing.code == 1 && missing.stderr.contains("/no/such/file.wasm"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_parses_everywhere() {
    let (host, micro) = greeter_host().await;
    let greeter = file(host.folder(), "greeter.wasm", &function("greeter"));
    micro.succeed(&["call", "greeter", "Say.Hello", "{\"name\":\"x\"}"]).await;
    for arguments in [
        &["list", "services"][..],
        &["get", "service", "greeter"],
        &["ps"],
        &["status"],
        &["status", "greeter"],
        &["logs", "greeter"],
        &["deploy", text(&greeter)],
        &["inspect", text(&greeter)],
        &["openapi"],
        &["version"],
        &["call", "greeter", "Say.Hello", "{\"name\":\"x\"}"],
        &["kill", "greeter"],
    ] {
        let printed = micro.succeed(&[&["--output", "json"], arguments].concat()).await;
        assert!(!printed.is_empty(), "{arguments:?}");
        serde_json::from_str::<Value>(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_inspected_without_a_host() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let greeter = file(folder.path(), "greeter.wasm", &function("greeter"));
    let shown = micro.succeed(&["inspect", text(&greeter)]).await;
    assert!(shown.starts_with("name     greeter\nversion  0.1.0\nabout    Says hello\n"), "{shown}");
    let end = "\nEndpoint: Say.Hello\n\nGreets somebody by name.\n\nRequest: {\n\tname string\n}\n\nResponse: {\n\tmsg string\n}\n";
    assert!(shown.ends_with(end), "{shown}");
    let rubbish = micro.run(&["inspect", text(&file(folder.path(), "x.wasm", b"x"))]).await;
    assert!(rubbish.code == 1 && rubbish.stderr.contains("not wasm"), "{rubbish:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_built_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path()).inside(micro_tests::workspace());
    let out = folder.path().join("out.wasm");
    let built = micro.succeed(&["--output", "json", "build", "functions/greeter", "--out", text(&out)]).await;
    let built: Value = serde_json::from_str(&built).expect("JSON");
    assert_eq!(built["name"], "greeter");
    let bytes = std::fs::read(&out).unwrap();
    assert_eq!(built["size"], bytes.len());
    assert!(bytes.windows(14).any(|bytes| bytes == b"micro.manifest"), "the manifest is inside");

    let no_package = micro.run(&["build", text(folder.path())]).await;
    assert!(no_package.code == 1 && no_package.stderr.contains("micro.toml"), "{no_package:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_function_is_a_folder_that_tells_what_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path()).inside(folder.path());
    let made = micro.succeed(&["new", "foo"]).await;
    assert!(made.starts_with("Created function foo in foo\n") && made.contains("micro run ."), "{made}");
    for name in ["micro.toml", "Cargo.toml", "src/lib.rs", "README.md", ".gitignore"] {
        assert!(folder.path().join("foo").join(name).is_file(), "{name}");
    }
    let again = micro.run(&["new", "foo"]).await;
    assert!(again.code == 1 && again.stderr.contains("foo already exists"), "{again:?}");
    let bad = micro.run(&["new", "../foo"]).await;
    assert_eq!(bad.code, 2, "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_commands_say_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    // Nobody listens at port 1.
    for command in
        [&["ps"][..], &["list", "services"], &["call", "a", "B.C"], &["status"], &["logs", "a"], &["kill", "a"]]
    {
        let Outcome { code, stdout, stderr } =
            micro.run(&[&["--proxy-address", "127.0.0.1:1"], command].concat()).await;
        assert_eq!((code, stdout.as_str()), (3, ""), "{command:?}: {stderr}");
        assert_eq!(stderr, "no micro host at 127.0.0.1:1: start one with 'micro server' or set --proxy-address\n");
    }
    let bad = micro.run(&["--proxy_address", "https://x", "ps"]).await;
    assert!(bad.code == 2 && bad.stderr.contains("https"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_is_answered_with_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let unknown = micro.run(&["frobnicate"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""));
    assert_eq!(unknown.stderr, "Unrecognized micro command: frobnicate. Please refer to 'micro --help'\n");
    let nothing = micro.run(&[]).await;
    assert_eq!(nothing.stderr, "No command provided to micro. Please refer to 'micro --help'\n");
    assert_eq!(micro.run(&["ps", "--frob"]).await.code, 2);
    assert_eq!(micro.run(&["list"]).await.code, 2);
    let help = micro.succeed(&["--help"]).await;
    assert!(help.contains("Usage: micro ") && help.contains("Exit status:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(micro.succeed(&["completions", shell]).await.contains("rollback"), "{shell}");
    }
    assert!(micro.succeed(&["--version"]).await.starts_with("micro "));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_events_go_on_until_they_are_interrupted() {
    let (host, micro) = greeter_host().await;
    let mut logs = micro.spawn(&["logs", "greeter", "--follow"]);
    let mut events = micro.spawn(&["events"]);
    let mut log_lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    let mut event_lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // A listener that came too late hears the next one.
    let line = until("a line of the log is printed", async || {
        host.call("greeter", "Say.Hello", json!({"name": "x"})).await.ok();
        let next = tokio::time::timeout(std::time::Duration::from_millis(500), log_lines.next_line());
        next.await.ok().and_then(Result::ok).flatten()
    })
    .await;
    assert!(line.contains("  r1  ") && line.ends_with("  stdout  Received Say.Hello request"), "{line}");
    let mut number = 0;
    let line = until("an event is printed", async || {
        number += 1;
        host.deploy_as("versioned", versioned(&number.to_string())).await.ok();
        let next = tokio::time::timeout(std::time::Duration::from_millis(500), event_lines.next_line());
        next.await.ok().and_then(Result::ok).flatten()
    })
    .await;
    assert!(line.contains("  deployed            versioned  revision "), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_follows_a_file_and_takes_back_what_it_deployed() {
    let host = HostProcess::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "versioned.wasm", &versioned("one"));
    let mut run = host.program().spawn(&["run", text(&path)]);
    let answers = async |wanted: &str| {
        until(&format!("{wanted} answers"), async || {
            let reply = host.call("versioned", "Version.Get", json!({})).await;
            (reply.status == 200 && reply.result() == json!(wanted)).then_some(())
        })
        .await;
    };
    answers("one").await;
    // A compiler writes in pieces: half a file is no revision.
    let next = versioned("two");
    std::fs::write(&path, &next[..next.len() / 2]).unwrap();
    std::fs::write(&path, &next).unwrap();
    answers("two").await;
    // An editor writes beside it and renames.
    let beside = file(folder.path(), "beside", &versioned("three"));
    std::fs::rename(beside, &path).unwrap();
    answers("three").await;
    // What the host refuses changes nothing, and the next good one is taken.
    std::fs::write(&path, micro_tests::guest("starttrap")).unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines();
    while let Some(line) = said.next_line().await.unwrap() {
        if line.contains("does not start") {
            break;
        }
    }
    answers("three").await;
    std::fs::write(&path, versioned("four")).unwrap();
    answers("four").await;

    signal(run.id().expect("it runs"), Signal::INT);
    let ended = tokio::time::timeout(micro_tests::DEADLINE, run.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    host.call("versioned", "Version.Get", json!({})).await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_run_leaves_what_somebody_else_deployed_meanwhile() {
    let host = HostProcess::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "versioned.wasm", &versioned("ours"));
    let mut run = host.program().spawn(&["run", text(&path)]);
    let mut printed = BufReader::new(run.stdout.take().unwrap()).lines();
    let ready = printed.next_line().await.unwrap().expect("it says when it is ready");
    assert!(ready.starts_with("versioned revision 1 ready in "), "{ready}");
    host.deploy_as("versioned", versioned("theirs")).await.ok();
    signal(run.id().expect("it runs"), Signal::INT);
    let ended = run.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("versioned stays at revision 2, which is not ours"), "{said}");
    assert_eq!(host.call("versioned", "Version.Get", json!({})).await.result(), json!("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_starts_a_host_when_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "versioned.wasm", &versioned("one"));
    let micro = Program::new(&folder.path().join("data"));
    let mut run =
        micro.spawn(&["run", text(&path), "--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"]);
    let mut printed = BufReader::new(run.stdout.take().unwrap()).lines();
    let ready = printed.next_line().await.unwrap().expect("it says when it is ready");
    assert!(ready.starts_with("versioned revision 1 ready in "), "{ready}");
    let reply = micro.succeed(&["call", "versioned", "Version.Get"]).await;
    assert_eq!(reply, "{\n\t\"result\": \"one\"\n}\n");
    run.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_says_on_standard_error_what_happens() {
    let host = HostProcess::start().await;
    host.deploy_as("versioned", versioned("one")).await.ok();
    let (code, said) = host.ask_to_end().await;
    assert_eq!(code, Some(0));
    let lines = said.lines().filter(|line| line.contains(" INFO micro"));
    let told = |text: &str| lines.clone().any(|line| line.contains(text));
    assert!(told("deployment changed") && told("versioned") && told("stopping"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours where no terminal is: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_says_as_much_as_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let micro = Program::new(folder.path());
    let wrong = micro.clone().with_variable("MICRO_LOG", "micro=loud").run(&["server"]).await;
    assert!(wrong.code == 2 && wrong.stderr.starts_with("MICRO_LOG=micro=loud: "), "{wrong:?}");
    let silent = micro.with_variable("MICRO_LOG", "off");
    let ports = ["--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"];
    let mut host = silent.spawn(&[&["server", "--output", "json"], &ports[..]].concat());
    let mut printed = BufReader::new(host.stdout.take().unwrap()).lines();
    let line = printed.next_line().await.unwrap().expect("its addresses");
    let addresses: Value = serde_json::from_str(&line).unwrap();
    let file = std::fs::read_to_string(folder.path().join("sidecar.address")).unwrap();
    assert_eq!(addresses["sidecar_address"], json!(file.trim()));
    assert!(addresses["api_address"].is_string(), "{addresses}");
    signal(host.id().expect("it runs"), Signal::TERM);
    let ended = host.wait_with_output().await.unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
