//! The smallest HTTP/1.1 client that can talk to a daemon: one connection, kept open, blocking.

use serde_json::Value;
use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The `message` of an error answer.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The answer, when it is a good one.
    ///
    /// # Panics
    /// When the status is 400 or more.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status < 400, "{}: {}", self.status, self.text());
        self
    }
}

/// A byte stream to a daemon.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A daemon's API at a `DOCKER_HOST`.
pub struct Api {
    host: String,
    connection: Option<BufReader<Box<dyn Stream>>>,
    /// How long to wait for a byte.
    pub timeout: Duration,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Api").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Api {
    /// A client of the daemon at `host` (`unix:///path` or `tcp://address:port`); connects at the first call.
    pub fn new(host: impl Into<String>) -> Self {
        Self { host: host.into(), connection: None, timeout: Duration::from_secs(120) }
    }

    /// Opens a fresh connection to the daemon.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(&self) -> io::Result<Box<dyn Stream>> {
        if let Some(path) = self.host.strip_prefix("unix://") {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            return Ok(Box::new(stream));
        }
        let address = self.host.strip_prefix("tcp://").unwrap_or(&self.host);
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// Calls and panics on failure of the connection; error statuses are returned.
    #[track_caller]
    pub fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// GET of JSON.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Value {
        self.call("GET", path, None).ok().json()
    }

    /// POST of JSON.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Value {
        self.call("POST", path, Some(body)).ok().json()
    }

    /// Calls, with a JSON body where one is given. A connection the daemon closed is opened again, once.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn try_call(&mut self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let bytes = body.map(|body| serde_json::to_vec(body).expect("a JSON value always prints"));
        self.send(method, path, "application/json", bytes.as_deref())
    }

    /// Calls with a body of any type.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(&mut self, method: &str, path: &str, kind: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let kept = self.connection.is_some();
        match self.once(method, path, kind, body) {
            Err(error) if kept && error.kind() != io::ErrorKind::WouldBlock => self.once(method, path, kind, body),
            other => other,
        }
    }

    fn once(&mut self, method: &str, path: &str, kind: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::with_capacity(64 * 1024, self.connect()?),
        };
        let length =
            body.map_or(String::new(), |body| format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        let length = if body.is_none() && method == "POST" { "Content-Length: 0\r\n".to_owned() } else { length };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n{length}\r\n").into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        connection.get_mut().write_all(&request)?;
        let (answer, open) = read_answer(&mut connection, method == "HEAD")?;
        if open {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

/// Reads the status line and headers of an answer.
///
/// # Errors
/// When the connection ends or speaks nonsense.
pub fn read_head(connection: &mut BufReader<Box<dyn Stream>>) -> io::Result<Answer> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Answer { status, headers, body: Vec::new() })
}

fn read_answer(connection: &mut BufReader<Box<dyn Stream>>, head_only: bool) -> io::Result<(Answer, bool)> {
    let mut answer = read_head(connection)?;
    let mut open = answer.header("connection") != Some("close");
    if head_only || matches!(answer.status, 101 | 204 | 304) {
        let open = open && answer.status != 101;
        return Ok((answer, open));
    }
    if answer.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        let mut body = Vec::new();
        while read_chunk(connection, &mut body)? {}
        answer.body = body;
    } else if let Some(length) = answer.header("content-length").and_then(|length| length.parse().ok()) {
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        answer.body = body;
    } else {
        open = false;
        connection.read_to_end(&mut answer.body)?;
    }
    Ok((answer, open))
}

/// Appends one chunk of a chunked body; false at its end.
///
/// # Errors
/// When the connection ends or speaks nonsense.
pub fn read_chunk(connection: &mut BufReader<Box<dyn Stream>>, body: &mut Vec<u8>) -> io::Result<bool> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let size = usize::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
    let start = body.len();
    body.resize(start + size, 0);
    connection.read_exact(&mut body[start..])?;
    let mut end = [0; 2];
    connection.read_exact(&mut end)?;
    Ok(size > 0)
}
