//! What came back: whole, as JSON lines, as a stream of bytes, or as a connection of our own.

use crate::{Client, Error, Result, body::Body, limits};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1, header::HeaderMap, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

/// An answer whose body has not been read.
pub struct Response {
    parts: hyper::http::response::Parts,
    body: Incoming,
    client: Client,
    sender: Option<http1::SendRequest<Body>>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({})", self.parts.status)
    }
}

impl Response {
    pub(crate) fn new(response: hyper::Response<Incoming>, client: Client, sender: http1::SendRequest<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { parts, body, client, sender: Some(sender) }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub(crate) async fn check(self) -> Result<Self> {
        let status = self.status();
        if status < 400 {
            return Ok(self);
        }
        let body = self.read(limits::ERROR_BODY_MAX).await.unwrap_or_default();
        Err(Error::Daemon { status, message: error_text(status, &body) })
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data()
                && data.has_remaining()
            {
                return Ok(Some(data));
            }
        }
        // The connection can carry the next request.
        if let Some(sender) = self.sender.take() {
            self.client.give_back(sender);
        }
        Ok(None)
    }

    /// The whole body.
    pub async fn bytes(self) -> Result<Bytes> {
        self.read(usize::MAX).await
    }

    /// The whole body as JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        Ok(serde_json::from_slice(&self.bytes().await?)?)
    }

    /// Reads the body to its end and forgets it.
    pub async fn finish(mut self) -> Result<()> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    /// The body as a stream of JSON values, one a line.
    pub fn lines(self) -> Lines {
        Lines { response: self, buffer: BytesMut::new(), ended: false }
    }

    async fn read(mut self, limit: usize) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len().saturating_add(chunk.len()) > limit {
                return Err(Error::Answer(format!("more than {limit} bytes")));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    pub(crate) async fn hijack(self) -> Result<Hijacked> {
        if self.status() != 101 {
            return Err(Error::Answer(format!("the connection was not handed over (status {})", self.status())));
        }
        let multiplexed = match self.header("content-type") {
            Some("application/vnd.docker.multiplexed-stream") => Some(true),
            Some("application/vnd.docker.raw-stream") => Some(false),
            _ => None,
        };
        let response = hyper::Response::from_parts(self.parts, self.body);
        let upgraded = hyper::upgrade::on(response).await?;
        Ok(Hijacked { stream: TokioIo::new(upgraded), multiplexed })
    }
}

/// The message of an error body: JSON with `message`, or plain text.
fn error_text(status: u16, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    if let Ok(Message { message }) = serde_json::from_slice(body) {
        return message;
    }
    match String::from_utf8_lossy(body).trim() {
        "" => format!("request returned status {status} without a message"),
        text => text.to_owned(),
    }
}

/// A connection taken over after an upgrade.
#[derive(Debug)]
pub struct Hijacked {
    /// Both directions; shutting it down closes the sending half only.
    pub stream: TokioIo<Upgraded>,
    /// Whether the daemon said that output comes in frames, where it said so.
    pub multiplexed: Option<bool>,
}

/// A body read line by line.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    /// The next line that is not empty, without its end; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                let line = line.slice(..end);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.buffer).freeze();
                return Ok((!rest.iter().all(u8::is_ascii_whitespace)).then_some(rest));
            }
            if self.buffer.len() > limits::LINE_MAX {
                return Err(Error::Answer("a line of the stream is too long".to_owned()));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }

    /// The next line as JSON.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        match self.next().await? {
            Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
            None => Ok(None),
        }
    }
}
