//! The loop that lets connections in.

use super::connection::{self, Connection};
use super::limits::{DoorName, Doors};
use super::refuse::Refusals;
use super::socket::Socket;
use axum::extract::Request;
use axum::response::Response;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_service::Service;

/// How long the loop waits when the system gives no connection, as when this process has too many open files: long
/// enough not to spin, short enough that nobody notices when it is over.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves what comes in until `stopped`, and then until the last connection has come to its end.
///
/// `door` makes what serves a connection, of the address on its other side.
pub(crate) fn serve<S>(
    listener: TcpListener,
    name: DoorName,
    door: impl Fn(SocketAddr) -> S + Send + 'static,
    doors: Arc<Doors>,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    tokio::spawn(accept(listener, name, door, doors, stopped))
}

async fn accept<S>(
    listener: TcpListener,
    name: DoorName,
    door: impl Fn(SocketAddr) -> S,
    doors: Arc<Doors>,
    mut stopped: watch::Receiver<bool>,
) where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    let refusals = Refusals::new(&doors);
    // Each connection holds a receiver, as a WebSocket too: when all of them are gone, so are the connections.
    let (all, each) = watch::channel(());
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An ended sender means the host is gone, which is a stop as well.
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // It was gone before it was let in.
            Err(error) if is_the_callers(&error) => continue,
            Err(error) => {
                if !is_failing {
                    tracing::warn!("the {} takes no connections for now: {error}", name.as_str());
                }
                is_failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_failing = false;
        let Some(place) = doors.admit(name) else {
            refusals.refuse(stream);
            continue;
        };
        let connection = Arc::new(Connection::new(doors.clone(), name));
        let socket = Socket::new(stream, connection.clone(), place);
        let (door, stopped, each) = (door(peer), stopped.clone(), each.clone());
        tokio::spawn(connection::serve(socket, connection, door, stopped, each));
    }
    drop((listener, each));
    all.closed().await;
}

/// Whether the connection failed, and not the host.
fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Sets what each connection has: small replies leave at once, and whoever vanished is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt::{
        set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
    };
    /// Silence after which the other machine is asked whether it is there.
    const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
    /// Between two such questions.
    const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
    /// Questions without an answer until the connection is over.
    const KEEP_ALIVE_COUNT: u32 = 4;
    set_tcp_nodelay(stream, true)?;
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, KEEP_ALIVE_AFTER)?;
    set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?;
    set_tcp_keepcnt(stream, KEEP_ALIVE_COUNT)?;
    Ok(())
}
