//! Makes TCP connections.

wit_bindgen::generate!();

use exports::test::tcp::tcp::Guest;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

struct Tcp;

impl Guest for Tcp {
    fn say(host: String, port: u16, line: String) -> Result<String, String> {
        let talk = || {
            let mut stream = TcpStream::connect((host.as_str(), port))?;
            stream.write_all(line.as_bytes())?;
            stream.write_all(b"\n")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok(answer.trim().to_string())
        };
        talk().map_err(|error: std::io::Error| error.to_string())
    }

    fn listen() -> Result<String, String> {
        TcpListener::bind("127.0.0.1:0").map(|_| "listens".to_string()).map_err(|error| error.to_string())
    }

    fn udp() -> Result<String, String> {
        UdpSocket::bind("0.0.0.0:0").map(|_| "bound".to_string()).map_err(|error| error.to_string())
    }
}

export!(Tcp);
