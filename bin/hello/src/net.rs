//! Small servers and clients: enough to prove that a port is reachable, and by whom.

use crate::{During, Failure, Outcome, files::print};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(5);

/// Runs one verb of this file.
pub(crate) fn run(protocol: &str, words: &[&str]) -> Outcome {
    match (protocol, words) {
        ("tcp", ["listen", address]) => tcp_listen(address, "hello"),
        ("tcp", ["listen", address, text]) => tcp_listen(address, text),
        ("tcp", ["get", address]) => tcp_get(address, ""),
        ("tcp", ["get", address, text]) => tcp_get(address, text),
        ("udp", ["listen", address]) => udp_listen(address, "hello"),
        ("udp", ["listen", address, text]) => udp_listen(address, text),
        ("udp", ["get", address]) => udp_get(address, "?"),
        ("udp", ["get", address, text]) => udp_get(address, text),
        ("http", ["listen", address]) => http_listen(address, "hello"),
        ("http", ["listen", address, text]) => http_listen(address, text),
        ("http", ["get", url]) => http_get(url),
        _ => Err(Failure::Usage),
    }
}

/// Answers each connection with one line: the text, and who asked.
fn tcp_listen(address: &str, text: &str) -> Outcome {
    let listener = TcpListener::bind(address).during(address)?;
    print(&format!("listening on {}\n", listener.local_addr().during(address)?))?;
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let Ok(peer) = stream.peer_addr() else { continue };
        _ = stream.write_all(format!("{text} to {}\n", peer.ip()).as_bytes());
    }
    Ok(0)
}

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for target in address.to_socket_addrs().during(address)? {
        match TcpStream::connect_timeout(&target, DEADLINE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DEADLINE)).during(address)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(Failure::System(address.to_owned(), last))
}

fn tcp_get(address: &str, text: &str) -> Outcome {
    let mut stream = connect(address)?;
    stream.write_all(text.as_bytes()).during(address)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).during(address)?;
    print(&answer)
}

fn udp_listen(address: &str, text: &str) -> Outcome {
    let socket = UdpSocket::bind(address).during(address)?;
    print(&format!("listening on {}\n", socket.local_addr().during(address)?))?;
    let mut buffer = [0; 2048];
    loop {
        let (read, peer) = socket.recv_from(&mut buffer).during(address)?;
        let asked = String::from_utf8_lossy(&buffer[..read]);
        _ = socket.send_to(format!("{text} {asked} to {}\n", peer.ip()).as_bytes(), peer);
    }
}

fn udp_get(address: &str, text: &str) -> Outcome {
    let target = address.to_socket_addrs().during(address)?.next().ok_or(Failure::Usage)?;
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).during(address)?;
    socket.connect(target).during(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).during(address)?;
    let mut buffer = [0; 2048];
    let mut last = None;
    // a datagram may be lost while a neighbour is being resolved
    for _ in 0..6 {
        socket.send(text.as_bytes()).during(address)?;
        match socket.recv(&mut buffer) {
            Ok(read) => return print(&String::from_utf8_lossy(&buffer[..read])),
            Err(error) => last = Some(error),
        }
    }
    Err(Failure::System(address.to_owned(), last.unwrap_or_else(|| std::io::ErrorKind::TimedOut.into())))
}

fn http_listen(address: &str, text: &str) -> Outcome {
    let listener = TcpListener::bind(address).during(address)?;
    print(&format!("listening on {}\n", listener.local_addr().during(address)?))?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        _ = answer(stream, text);
    }
    Ok(0)
}

fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split_whitespace().nth(1).unwrap_or("/");
    let body = format!("{text} {path}\n");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes())
}

fn http_get(url: &str) -> Outcome {
    let url = url.strip_prefix("http://").unwrap_or(url);
    let (address, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).during(address)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).during(address)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(Failure::Usage)?;
    print(body)?;
    Ok(u8::from(!head.contains(" 200 ")))
}
