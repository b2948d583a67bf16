//! Bytes on a connection, as no proper client sends them.

use crate::wait::DEADLINE;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How HTTP/2 begins: the preface and settings that change nothing.
pub const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection to a door.
#[derive(Debug)]
pub struct Wire(TcpStream);

impl Wire {
    /// Connects to `http://127.0.0.1:…`.
    pub async fn open(url: &str) -> Wire {
        Wire(TcpStream::connect(address(url)).await.expect("the door is open"))
    }

    /// Connects as one who has little room for what he is sent.
    pub async fn open_narrow(url: &str) -> Wire {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        Wire(socket.connect(address(url)).await.expect("the door is open"))
    }

    /// Sends bytes. That the other side has closed already is for the reader to see.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = timeout(DEADLINE, self.0.write_all(bytes.as_ref())).await.expect("what is sent is taken");
    }

    /// All that comes until the other side closes, which it has to.
    pub async fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_bytes().await).into_owned()
    }

    /// As [`Wire::rest`], in bytes.
    pub async fn rest_bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end as well: what came before it counts.
        let _ = timeout(DEADLINE, self.0.read_to_end(&mut all)).await.expect("the host closes the connection");
        all
    }

    /// What comes until `end` is in it.
    pub async fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(end) {
            let byte = timeout(DEADLINE, self.0.read_u8()).await.expect("the host answers");
            match byte {
                Ok(byte) => all.push(byte),
                Err(error) => panic!("{error} before {end:?}, after {:?}", String::from_utf8_lossy(&all)),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The next frame of HTTP/2, if there is one more.
    pub async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        timeout(DEADLINE, self.0.read_exact(&mut head)).await.expect("the host answers").ok()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        timeout(DEADLINE, self.0.read_exact(&mut payload)).await.expect("the frame is whole").ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The type of each frame that the tests speak of.
    pub const HEADERS: u8 = 1;
    /// A stream was reset.
    pub const RESET: u8 = 3;
    /// Settings.
    pub const SETTINGS: u8 = 4;
    /// The connection ends.
    pub const GO_AWAY: u8 = 7;

    /// Settings.
    pub fn settings(payload: &[u8]) -> Frame {
        Frame { kind: Frame::SETTINGS, flags: 0, stream: 0, payload: payload.to_vec() }
    }

    /// A request for a path, of fewer than 127 bytes, without a body.
    pub fn get(stream: u32, path: &str) -> Frame {
        // Indexed fields for GET and http, then a path and an authority as literals (RFC 7541, section 6).
        let mut payload = vec![0x82, 0x86, 0x04, path.len() as u8];
        payload.extend_from_slice(path.as_bytes());
        payload.extend_from_slice(b"\x01\x01x");
        Frame { kind: Frame::HEADERS, flags: 0x5, stream, payload }
    }

    /// The end of a stream before its time.
    pub fn reset(stream: u32) -> Frame {
        Frame { kind: Frame::RESET, flags: 0, stream, payload: 8u32.to_be_bytes().to_vec() }
    }

    /// The frame as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The error of a [`Frame::RESET`] or a [`Frame::GO_AWAY`].
    pub fn error(&self) -> u32 {
        let at = if self.kind == Frame::GO_AWAY { 4 } else { 0 };
        self.payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().expect("four bytes")))
    }
}
