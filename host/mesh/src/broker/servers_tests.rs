//! Real servers for tests: each a process of its own, on ports that are free and in a folder that vanishes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// How long a server may take to start.
const START_TIME: Duration = Duration::from_secs(60);

/// Where `scripts/setup --test` puts what Debian has.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/usr")
}

/// A program, and what has to be on the way to its libraries.
fn program(places: &[&str]) -> PathBuf {
    let tools = tools();
    let found = places.iter().flat_map(|place| [tools.join(place), Path::new("/usr").join(place)]);
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {places:?}: run scripts/setup --test"))
}

fn command(program: &Path, folder: &TempDir) -> Command {
    let mut command = Command::new(program);
    let libraries = tools().join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
    command.env("LD_LIBRARY_PATH", libraries).env("HOME", folder.path()).current_dir(folder.path()).kill_on_drop(true);
    let log = std::fs::File::options().append(true).create(true).open(folder.path().join("said")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

/// A port that nobody listens at now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Waits until a server answers to some bytes as it should.
async fn until_ready(port: u16, child: &mut Child, hello: &[u8], answer: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let attempt = async || {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(hello).await?;
        let mut said = vec![0; answer.len()];
        socket.read_exact(&mut said).await?;
        Ok::<_, std::io::Error>(said)
    };
    let ready = async {
        let mut ticks = interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server ended at its start: {status}");
            }
            if attempt().await.is_ok_and(|said| said == answer) {
                return;
            }
        }
    };
    timeout(START_TIME, ready).await.expect("the server answers in time");
}

/// A Redis server that writes everything to disk before it answers.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    pub async fn start() -> Self {
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        server.start_again().await;
        server
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it without a warning, as a loss of power would.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let mut command = command(&program(&["bin/redis-server"]), &self.folder);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir", "."]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        let child = self.child.insert(command.spawn().unwrap());
        until_ready(self.port, child, b"PING\r\n", b"+PONG").await;
    }
}

/// A RabbitMQ server, and the directory of nodes that Erlang wants.
pub struct RabbitServer {
    folder: TempDir,
    /// Of the server, of its node, and of the directory.
    ports: [u16; 3],
    /// What Erlang is told besides.
    arguments: &'static str,
    child: Option<Child>,
    _directory: Child,
}

impl RabbitServer {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// One that takes no messages for want of memory.
    pub async fn start_without_room() -> Self {
        Self::start_with("-rabbit vm_memory_high_watermark 0.0").await
    }

    async fn start_with(arguments: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port(), free_port()];
        let mut directory = command(&program(&["lib/erlang/bin/epmd"]), &folder);
        directory.args(["-address", "127.0.0.1", "-port", &ports[2].to_string()]);
        let mut directory = directory.spawn().unwrap();
        // Asked for the names of nodes, it begins with its port.
        let port = u32::from(ports[2]).to_be_bytes();
        until_ready(ports[2], &mut directory, &[0, 1, b'n'], &port).await;
        let mut server = Self { folder, ports, arguments, child: None, _directory: directory };
        server.start_again().await;
        server
    }

    pub fn address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Ends it without a warning, as a loss of power would.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let start = program(&["lib/rabbitmq/bin/rabbitmq-server"]);
        let mut command = command(&start, &self.folder);
        let erlang = program(&["lib/erlang/bin"]);
        let path = std::env::var("PATH").unwrap_or_default();
        let [port, node, directory] = self.ports.map(|port| port.to_string());
        command.env("PATH", format!("{}:{path}", erlang.display()));
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", directory);
        command.env("RABBITMQ_NODENAME", format!("micro{node}@localhost")).env("RABBITMQ_DIST_PORT", node);
        command.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", port);
        let arguments = format!("-kernel inet_dist_use_interface {{127,0,0,1}} {}", self.arguments);
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments);
        // Replaced by the server, the script does not stay behind when it is killed.
        command.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_LOGS", "-");
        for (name, file) in [
            ("MNESIA_BASE", "data"),
            ("LOG_BASE", "log"),
            ("PID_FILE", "pid"),
            ("CONF_ENV_FILE", "none"),
            ("CONFIG_FILE", "none"),
            ("ENABLED_PLUGINS_FILE", "plugins"),
        ] {
            command.env(format!("RABBITMQ_{name}"), self.folder.path().join(file));
        }
        command.arg("-noinput");
        let child = self.child.insert(command.spawn().unwrap());
        // It answers to a version that it does not know with the one that it does.
        until_ready(self.ports[0], child, b"AMQP\x09\x09\x09\x09", b"AMQP").await;
    }
}

/// A Kafka server that is its own controller, as one that nobody configured but for its places.
pub struct KafkaServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl KafkaServer {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, controller) = (free_port(), free_port());
        let settings = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
            ("log.dirs", folder.path().join("data").display().to_string()),
            // There is one server, which is soon believed to be gone and whose groups need not wait for more members.
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("offsets.topic.num.partitions", "1".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("broker.session.timeout.ms", "1000".to_owned()),
            ("broker.heartbeat.interval.ms", "200".to_owned()),
            // Only what is published or subscribed to is to be there.
            ("auto.create.topics.enable", "false".to_owned()),
        ];
        let lines: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(folder.path().join("settings"), lines).unwrap();
        let mut server = Self { folder, port, child: None };
        let format = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", "settings"];
        let formatted = server.java(&format).status().await.expect("java runs: run scripts/setup --test");
        assert!(formatted.success(), "the storage is formatted: run scripts/setup --test");
        server.start_again().await;
        server
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it without a warning.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let child = self.java(&["kafka.Kafka", "settings"]).spawn().unwrap();
        let child = self.child.insert(child);
        // Asked for the versions that it speaks, it begins with a length of few bytes.
        let versions = b"\0\0\0\x0a\0\x12\0\0\0\0\0\0\xff\xff";
        until_ready(self.port, child, versions, b"\0\0").await;
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/kafka/*");
        let mut command = command(Path::new("java"), &self.folder);
        // It runs for seconds, for which the quick compiler does.
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"]).arg(jars).args(arguments);
        command
    }
}
