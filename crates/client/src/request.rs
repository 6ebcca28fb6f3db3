//! One request: path, query, headers, body.

use crate::{
    Client, Error, Hijacked, Response, Result,
    body::{self, Body},
};
use hyper::{Method, header};
use serde::Serialize;
use tokio::io::AsyncRead;

/// A request that has not been sent.
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    versioned: bool,
    query: String,
    headers: Vec<(String, String)>,
    body: Result<Body>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}{}", self.method, self.path, self.query)
    }
}

impl Request {
    pub(crate) fn versioned(client: &Client, method: Method, path: &str) -> Self {
        Self::new(client, method, path, true)
    }

    pub(crate) fn unversioned(client: &Client, method: Method, path: &str) -> Self {
        Self::new(client, method, path, false)
    }

    fn new(client: &Client, method: Method, path: &str, versioned: bool) -> Self {
        Self {
            client: client.clone(),
            method,
            path: path.to_owned(),
            versioned,
            query: String::new(),
            headers: Vec::new(),
            body: Ok(body::empty()),
        }
    }

    /// Adds one query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        escape_query(name, &mut self.query);
        self.query.push('=');
        escape_query(value.as_ref(), &mut self.query);
        self
    }

    /// Adds one query parameter where `value` is some.
    #[must_use]
    pub fn query_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `name=1` where `set`.
    #[must_use]
    pub fn query_flag(self, name: &str, set: bool) -> Self {
        if set { self.query(name, "1") } else { self }
    }

    /// Adds one header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Carries `value` as JSON.
    #[must_use]
    pub fn json(mut self, value: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(value).map(body::full).map_err(Error::from);
        self.header("content-type", "application/json")
    }

    /// Carries everything `reader` gives, as it comes.
    #[must_use]
    pub fn stream(mut self, content_type: &str, reader: impl AsyncRead + Send + 'static) -> Self {
        self.body = Ok(body::stream(reader));
        self.header("content-type", content_type)
    }

    /// Sends it. A status of 400 and above is an error with the daemon's text.
    pub async fn send(self) -> Result<Response> {
        self.send_any().await?.check().await
    }

    /// Sends it and takes any status as an answer.
    pub async fn send_any(self) -> Result<Response> {
        if self.versioned {
            self.client.negotiate().await?;
        }
        self.send_plain().await
    }

    /// Sends it as it is: negotiation itself may not negotiate.
    pub(crate) async fn send_plain(self) -> Result<Response> {
        let client = self.client.clone();
        client.dispatch(self.build()?).await
    }

    /// Sends it and takes over the connection.
    pub async fn hijack(self) -> Result<Hijacked> {
        self.header("connection", "Upgrade").header("upgrade", "tcp").send().await?.hijack().await
    }

    fn build(self) -> Result<hyper::Request<Body>> {
        let host = self.client.host();
        let version = if self.versioned { format!("/v{}", self.client.version()) } else { String::new() };
        let uri = format!("{}{version}{}{}", host.prefix(), escape_path(&self.path), self.query);
        let mut builder = hyper::Request::builder().method(self.method).uri(uri).header(header::HOST, host.authority());
        builder = builder.header(header::USER_AGENT, self.client.user_agent());
        for (name, value) in self.client.extra_headers() {
            builder = builder.header(name, value);
        }
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder.body(self.body?).map_err(|error| Error::Answer(error.to_string()))
    }
}

/// Escapes what may not stand in a path; slashes stay, because image names hold them.
fn escape_path(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    escape(path, b"/-._~:@!$&'()*+,;=", &mut escaped);
    escaped
}

/// Escapes a name or a value; a space becomes a plus, as in a form.
fn escape_query(text: &str, into: &mut String) {
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            into.push('+');
        }
        escape(word, b"-._~", into);
    }
}

fn escape(text: &str, plain: &[u8], into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_escaped() {
        assert_eq!(escape_path("/images/localhost:5000/a b%/json"), "/images/localhost:5000/a%20b%25/json");
        let mut query = String::new();
        escape_query(r#"{"a":"b&c/d"}"#, &mut query);
        assert_eq!(query, "%7B%22a%22%3A%22b%26c%2Fd%22%7D");
    }
}
