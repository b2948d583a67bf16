//! A NATS server of its own for one test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long to wait for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A server with JetStream. It is killed when it is dropped.
pub(super) struct Server {
    folder: TempDir,
    more: Vec<String>,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts a server on a port of the system's choice.
    pub(super) async fn start() -> Server {
        Server::start_with(&[]).await
    }

    /// As [`Server::start`], with more arguments.
    pub(super) async fn start_with(more: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let more: Vec<_> = more.iter().map(|&word| word.to_owned()).collect();
        let child = spawn(folder.path(), -1, &more);
        let mut server = Server { folder, more, port: 0, child };
        server.port = server.listening().await;
        server
    }

    pub(super) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the server, as a loss of power would.
    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        for entry in std::fs::read_dir(self.ports()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    /// Starts a killed server again, on its port and with its folder.
    pub(super) async fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), i32::from(self.port), &self.more);
        assert_eq!(self.listening().await, self.port);
    }

    /// Takes away all that a killed server kept.
    pub(super) fn lose_disk(&self) {
        std::fs::remove_dir_all(self.folder.path().join("store")).unwrap();
    }

    fn ports(&self) -> PathBuf {
        self.folder.path().join("ports")
    }

    /// Waits for the file in which the server says where it listens.
    async fn listening(&mut self) -> u16 {
        let ports = self.ports();
        let written = async {
            loop {
                let text = std::fs::read_dir(&ports).unwrap().flatten().next();
                let text = text.and_then(|entry| std::fs::read_to_string(entry.path()).ok());
                let said = text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
                if let Some(said) = said {
                    let url = said["nats"][0].as_str().unwrap().to_owned();
                    return url.rsplit(':').next().unwrap().parse().unwrap();
                }
                let ended = self.child.try_wait().unwrap();
                assert!(ended.is_none(), "nats-server ended at its start: {ended:?}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, written).await.expect("nats-server listens")
    }
}

/// A way to a server that can be cut, while the server goes on.
pub(super) struct Way {
    port: u16,
    cuts: watch::Sender<()>,
}

impl Way {
    pub(super) async fn to(server: &Server) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.port);
        let cuts = watch::Sender::new(());
        let all_cuts = cuts.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = all_cuts.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Way { port, cuts }
    }

    pub(super) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends the connections that there are; new ones find their way.
    pub(super) fn cut(&self) {
        self.cuts.send_replace(());
    }
}

fn spawn(folder: &Path, port: i32, more: &[String]) -> Child {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/nats-server");
    assert!(
        program.exists(),
        "no nats-server at target/tools/nats-server: run `scripts/setup --test`, which puts it there"
    );
    let ports = folder.join("ports");
    std::fs::create_dir_all(&ports).unwrap();
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"]);
    command.arg(folder.join("store")).arg("--ports_file_dir").arg(ports).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("nats-server starts")
}
