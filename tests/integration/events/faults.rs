//! Brokers without room, and servers of brokers that go and come back.

use super::{done, listens, publish, subscription};
use micro_tests::{Client, HostProcess, built_guest, guest, json, until, with_manifest, workspace};
use reqwest::Method;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A NATS server with JetStream, which comes back where it was.
struct Nats {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Nats {
    async fn start() -> Nats {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut nats = Nats { folder: tempfile::tempdir().unwrap(), port, child: None };
        nats.start_again().await;
        nats
    }

    async fn start_again(&mut self) {
        let program: PathBuf = workspace().join("target/tools/nats-server");
        assert!(program.exists(), "no {}: run scripts/setup --test", program.display());
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"]).arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().expect("the server starts"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        until("the server listens", async || TcpStream::connect(address).ok()).await;
    }

    async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }
}

/// Publishes a text, and says whether the broker took it, or why not.
async fn try_publish(host: &Client, topic: &str, text: &str) -> Result<(), (u16, String)> {
    let path = format!("/broker?topic={topic}");
    let reply = host.sidecar_send(Method::POST, &path, &[("content-type", "text/plain")], text.to_owned().into()).await;
    match reply.status {
        200 => Ok(()),
        status => Err((status, reply.text().to_owned())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_and_comes_back_loses_nothing_and_publishers_are_told() {
    let mut nats = Nats::start().await;
    let address = format!("127.0.0.1:{}", nats.port);
    let variables =
        [("MICRO_BROKER", "nats-jetstream"), ("MICRO_BROKER_ADDRESS", &*address), ("MICRO_BROKER_PATIENCE", "100ms")];
    let host = HostProcess::start_with(tempfile::tempdir().unwrap(), &variables).await;
    host.deploy_as("worker", built_guest("worker")).await.ok();
    listens(&host, "work.x", "worker").await;
    publish(&host, "work.x", "before").await;
    done(&host, 1).await;

    nats.kill().await;
    let (status, text) =
        until("it is known that the server is away", async || try_publish(&host, "work.x", "lost").await.err()).await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("publish again"), "the way out: {text}");
    // What takes no message goes on.
    assert_eq!(host.call("worker", "Worker.Done", json!({})).await.status, 200);

    nats.start_again().await;
    let mut taken = BTreeSet::from(["before".to_owned()]);
    for number in 0..20 {
        let text = format!("after {number}");
        until("the broker takes it", async || try_publish(&host, "work.x", &text).await.ok()).await;
        taken.insert(text);
    }
    until("the subscriber has everything", async || {
        let done = host.call("worker", "Worker.Done", json!({})).await.result();
        let done: BTreeSet<String> =
            done.as_array()?.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        taken.is_subset(&done).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_too_slow_makes_publishers_wait_and_loses_nothing() {
    let variables = [("MICRO_BROKER_MAX_BYTES", "1MiB"), ("MICRO_BROKER_PATIENCE", "100ms")];
    let host = HostProcess::start_with(tempfile::tempdir().unwrap(), &variables).await;
    let manifest = |lines: &str| {
        with_manifest(
            &guest("worker"),
            &format!("[[subscribe]]\ntopic = \"slow\"\nendpoint = \"Worker.Work\"\nconcurrency = 1\n{lines}"),
        )
    };
    // Its first message is tried again and again, and those behind it wait for that.
    host.deploy_as("worker", manifest("retries = 100\nbackoff = \"1m\"\n")).await.ok();
    listens(&host, "slow", "worker").await;
    let headers = [("content-type", "text/plain"), ("micro-key", "k")];
    let publish =
        async |text: String| host.sidecar_send(Method::POST, "/broker?topic=slow", &headers, text.into()).await;
    assert_eq!(publish("fail 1 first".into()).await.status, 200);
    subscription(&host, "worker", "slow", |one| one["failed"] == 1).await;
    let filling = "x".repeat(50_000);
    let mut taken = 0;
    let refused = loop {
        let reply = publish(format!("{taken} {filling}")).await;
        if reply.status != 200 {
            break reply;
        }
        taken += 1;
        assert!(taken < 100, "there is room for some twenty");
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.text().contains("slow") || refused.text().contains("group"), "who is behind: {}", refused.text());
    assert!(taken >= 10, "{taken} were taken");
    // With another revision it goes on, and there is room again.
    host.deploy_as("worker", manifest("retries = 3\nbackoff = \"1ms\"\n")).await.ok();
    let all = subscription(&host, "worker", "slow", |one| one["handled"] == taken + 1).await;
    assert_eq!(all["dead"], 0, "{all}");
    until("there is room", async || (publish("last".into()).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_loses_nothing_and_publishers_are_told() {
    let variables = [("MICRO_BROKER_PATIENCE", "100ms")];
    let host = HostProcess::start_with(tempfile::tempdir().unwrap(), &variables).await;
    host.deploy_as("worker", built_guest("worker")).await.ok();
    listens(&host, "work.x", "worker").await;
    publish(&host, "work.x", "before").await;
    done(&host, 1).await;

    host.set_disk_full(true);
    let large = "x".repeat(100_000);
    let (status, text) = try_publish(&host, "work.x", &large).await.unwrap_err();
    assert!(matches!(status, 503 | 507) && text.contains("room"), "the way out: {status} {text}");
    let before = host.resident();
    for _ in 0..500 {
        try_publish(&host, "work.x", &large).await.unwrap_err();
    }
    // 50 MB were refused, and none of them is kept in memory instead.
    assert!(host.resident() < before + 25_000_000, "{before} bytes became {}", host.resident());
    // What writes nothing goes on.
    assert_eq!(host.call("worker", "Worker.Done", json!({})).await.status, 200);

    host.set_disk_full(false);
    until("the broker takes messages again", async || try_publish(&host, "work.x", "after").await.ok()).await;
    let host = host.kill_and_start_again().await;
    listens(&host, "work.x", "worker").await;
    publish(&host, "work.x", "last").await;
    let done = until("everything that was taken is done", async || {
        let done = host.call("worker", "Worker.Done", json!({})).await.result();
        let done = done.as_array()?;
        ["before", "after", "last"].iter().all(|text| done.contains(&json!(text))).then(|| done.clone())
    });
    assert!(done.await.iter().all(|text| text != &large), "what was refused never comes");
}
