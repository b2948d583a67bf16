//! Connections that functions make.

use super::{deploy, host_lines};
use micro_tests::{Host, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// A server that gives each line back, in capitals.
async fn outside() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            // A client that is gone needs no answer.
            let _ = stream.read_line(&mut line).await;
            let _ = stream.write_all(line.to_uppercase().as_bytes()).await;
        }
    });
    port
}

async fn say(host: &Host, to: &str, port: u16) -> Result<String, String> {
    let reply = host.call("tcp", "Tcp.Say", json!({"host": to, "port": port, "line": "abc"})).await;
    match reply.status {
        200 => Ok(reply.result().as_str().unwrap_or_default().to_string()),
        _ => Err(reply.detail()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_go_where_the_manifest_says() {
    let (host, port) = (Host::start().await, outside().await);
    deploy(&host, "tcp", &format!("tcp = [\"127.0.0.1:{port}\"]")).await;
    assert_eq!(say(&host, "127.0.0.1", port).await.as_deref(), Ok("ABC"));
    assert!(say(&host, "localhost", port).await.is_err(), "the name is not allowed, only the address");
    let other = outside().await;
    assert!(say(&host, "127.0.0.1", other).await.is_err());
    let lines = host_lines(&host, "tcp").await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("the look-up of localhost was refused: [allow] does not name it"), "{lines:?}");
    assert!(lines[1].contains(&format!("tcp = [\"127.0.0.1:{other}\"] below [allow]")), "{lines:?}");
    deploy(&host, "tcp", &format!("tcp = [\"localhost:{port}\"]")).await;
    assert_eq!(say(&host, "localhost", port).await.as_deref(), Ok("ABC"));
    assert!(say(&host, "127.0.0.1", port).await.is_err(), "nobody looked the name up");
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_and_udp_stay_closed() {
    let (host, port) = (Host::start().await, outside().await);
    deploy(&host, "tcp", &format!("tcp = [\"127.0.0.1:{port}\", \"*:*\"]")).await;
    host.call("tcp", "Tcp.Listen", json!({})).await.refused(500);
    host.call("tcp", "Tcp.Udp", json!({})).await.refused(500);
    assert!(say(&host, "192.168.0.1", 80).await.is_err(), "any host is any of the internet");
    host.deploy("tcp").await;
    assert!(say(&host, "127.0.0.1", port).await.is_err());
}
