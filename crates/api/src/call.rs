//! One request on its way to a handler: what was asked for, by whom, with which body.

use crate::{
    Api, decode,
    limits::{ARCHIVE_DEADLINE, BODY_DEADLINE, JSON_BODY},
    query::Query,
    server::Unread,
    version::ApiVersion,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request,
    body::{Body as _, Incoming},
    header::{CONTENT_TYPE, HeaderName, UPGRADE},
    upgrade::OnUpgrade,
};
use rorqual_engine::Engine;
use rorqual_error::{Error, Result};
use rorqual_types::Platform;
use serde::de::DeserializeOwned;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep, timeout},
};

/// A request that a route has taken.
#[derive(Debug)]
pub(crate) struct Call {
    /// What serves it.
    pub(crate) api: Arc<Api>,
    /// The version of the API it speaks.
    pub(crate) version: ApiVersion,
    /// The variable part of its path.
    pub(crate) name: String,
    /// Its query.
    pub(crate) query: Query,
    /// The rest.
    pub(crate) request: Request<Incoming>,
}

impl Call {
    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.api.engine
    }

    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        text_of(self.request.headers(), name)
    }

    /// Whether the client asked for the connection to become a stream.
    pub(crate) fn wants_upgrade(&self) -> bool {
        self.request.headers().contains_key(UPGRADE)
    }

    /// The stream the connection becomes once a 101 has been sent.
    pub(crate) fn upgrade(&mut self) -> OnUpgrade {
        hyper::upgrade::on(&mut self.request)
    }

    /// Waits, once the connection is a stream, until the client has read the head of the answer: some clients lose output
    /// that they read in one piece with it.
    pub(crate) fn head_read(&self) -> impl Future<Output = ()> + Send + 'static {
        let unread = self.request.extensions().get::<Unread>().cloned();
        async move {
            if let Some(unread) = unread {
                unread.settle().await;
            }
        }
    }

    /// The whole body, within [`JSON_BODY`].
    pub(crate) async fn bytes(&mut self) -> Result<Bytes> {
        let too_large = || Error::invalid(format!("request body too large: more than {JSON_BODY} bytes"));
        let body = self.request.body_mut();
        if body.size_hint().lower() > JSON_BODY as u64 {
            return Err(too_large());
        }
        let mut all = BytesMut::new();
        loop {
            let frame = timeout(BODY_DEADLINE, body.frame())
                .await
                .map_err(|_| Error::invalid(format!("no byte of the body for {} s", BODY_DEADLINE.as_secs())))?;
            let Some(frame) = frame else { return Ok(all.freeze()) };
            let frame = frame.map_err(|cause| Error::invalid("read the request body").caused_by(cause))?;
            let Ok(data) = frame.into_data() else { continue };
            if all.len() + data.len() > JSON_BODY {
                return Err(too_large());
            }
            all.extend_from_slice(&data);
        }
    }

    /// The body as JSON; the zero value where there is none.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        self.expect_json()?;
        let text = self.bytes().await?;
        Ok(decode::body(&text)?.unwrap_or_default())
    }

    /// Refuses a body that is not announced as JSON; no body needs no announcement.
    pub(crate) fn expect_json(&self) -> Result<()> {
        let announced = self.header(CONTENT_TYPE).unwrap_or_default();
        if announced.is_empty() && self.request.body().is_end_stream() {
            return Ok(());
        }
        let shown: String = announced.chars().take(crate::limits::SHOWN).collect();
        let media_type = announced.split(';').next().unwrap_or_default().trim();
        if media_type.is_empty() {
            return Err(Error::invalid(format!("malformed Content-Type header ({shown}): mime: no media type")));
        }
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Error::invalid(format!(
                "unsupported Content-Type header ({shown}): must be 'application/json'"
            )));
        }
        Ok(())
    }

    /// The body as a stream of bytes, taken as fast as it is read.
    pub(crate) fn archive(self) -> Archive {
        Archive { body: Some(self.request.into_body()), chunk: Bytes::new(), pause: None }
    }

    /// `platform` as `os/arch[/variant]`.
    pub(crate) fn platform(&self) -> Result<Option<Platform>> {
        self.query.filled("platform").map(str::parse).transpose()
    }

    /// `platform` as a JSON object, from API `since` on.
    pub(crate) fn platform_object(&self, since: u32) -> Result<Option<Platform>> {
        match self.query.filled("platform") {
            Some(text) if self.version.at_least(since) => platform_object(text).map(Some),
            _ => Ok(None),
        }
    }
}

/// Reads `{"os":"linux","architecture":"arm","variant":"v7"}`.
pub(crate) fn platform_object(text: &str) -> Result<Platform> {
    let wrong = || {
        let shown: String = text.chars().take(crate::limits::SHOWN).collect();
        Error::invalid(format!("failed to parse platform: {shown}"))
    };
    let value = decode::document(text.as_bytes()).map_err(|_| wrong())?;
    let part = |name: &str| value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let mut words = format!("{}/{}", part("os"), part("architecture"));
    if !part("variant").is_empty() {
        words = format!("{words}/{}", part("variant"));
    }
    if part("os").is_empty() || part("architecture").is_empty() {
        return Err(Error::invalid("both OS and Architecture must be provided"));
    }
    words.parse()
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// How much of a refused archive is still taken in, so that its sender reads our answer instead of a broken pipe.
const DRAIN: (usize, Duration) = (256 << 20, Duration::from_secs(10));

/// A request body as bytes to read.
#[derive(Debug)]
pub(crate) struct Archive {
    body: Option<Incoming>,
    chunk: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Archive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.chunk.is_empty() {
                let taken = self.chunk.len().min(buffer.remaining());
                let bytes = self.chunk.split_to(taken);
                buffer.put_slice(&bytes);
                return Poll::Ready(Ok(()));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.pause = None;
                    if let Ok(data) = frame.into_data() {
                        self.chunk = data;
                    }
                }
                Poll::Ready(Some(Err(cause))) => {
                    self.body = None;
                    return Poll::Ready(Err(io::Error::other(cause)));
                }
                Poll::Ready(None) => {
                    self.body = None;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(ARCHIVE_DEADLINE)));
                    return match pause.as_mut().poll(context) {
                        Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let (Some(mut body), Ok(runtime)) = (self.body.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(timeout(DRAIN.1, async move {
                let mut taken = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    taken += frame.data_ref().map_or(0, Bytes::len);
                    if taken > DRAIN.0 {
                        return;
                    }
                }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_comes_as_an_object() {
        let platform = platform_object(r#"{"os":"linux","architecture":"arm64"}"#).unwrap();
        assert_eq!(platform.to_string(), "linux/arm64");
        for bad in ["linux/arm64", "{}", r#"{"os":"linux"}"#, "5"] {
            assert!(platform_object(bad).is_err(), "{bad}");
        }
    }
}
