//! Connections that become streams: Docker's raw upgrade, websockets, and plain answers where no upgrade was asked for.
//!
//! Both directions end on their own: the end of a client's input closes the container's, and output goes on.

use crate::{
    body::Body,
    call::Call,
    limits::{WEBSOCKET_BUFFER, WEBSOCKET_MESSAGE},
    reply::{self, Reply},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::{
    StatusCode,
    ext::ReasonPhrase,
    header::{CONNECTION, HeaderName, HeaderValue, UPGRADE},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use rorqual_engine::stream::AttachStream;
use rorqual_error::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, empty, split};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::io::ReaderStream;

/// Bytes copied at once from a session to a plain answer.
const CHUNK: usize = 32 << 10;

/// Answers with the session: on the upgraded connection where the client asked for one, else as the body.
pub(crate) fn session(mut call: Call, session: AttachStream) -> Reply {
    let content_type = reply::stream_type(session.tty, call.version);
    if !call.wants_upgrade() {
        return plain(call, session);
    }
    let (upgrade, head_read) = (call.upgrade(), call.head_read());
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => {
                head_read.await;
                carry(session, TokioIo::new(connection)).await;
            }
            Err(error) => tracing::debug!(%error, "client left before the stream began"),
        }
    });
    switching(content_type)
}

/// Carries a session over an upgraded connection, and closes our half of it at the end.
async fn carry(session: AttachStream, connection: TokioIo<Upgraded>) {
    let (input, mut output) = split(connection);
    if let Err(error) = session.run(input, &mut output).await {
        tracing::debug!(%error, "stream ended early");
    }
    let _ = output.shutdown().await;
}

/// A session as an answer's body. The request's body, where there is one, is the input.
fn plain(call: Call, mut session: AttachStream) -> Reply {
    let raw = HeaderValue::from_static("application/vnd.docker.raw-stream");
    let (ours, theirs) = tokio::io::duplex(CHUNK);
    let has_input = session.writer.is_some() && !hyper::body::Body::is_end_stream(call.request.body());
    let work = async move {
        let ended = if has_input {
            session.run(call.archive(), ours).await
        } else {
            session.writer = None;
            session.run(empty(), ours).await
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "stream ended early");
        }
    };
    let task = CancelOnDrop(tokio::spawn(work));
    let chunks = ReaderStream::with_capacity(theirs, CHUNK)
        .map(|chunk| chunk.map_err(|cause| Error::internal("read the stream").caused_by(cause)));
    reply::typed(StatusCode::OK, raw, Body::stream(chunks).finishing(task))
}

/// A task that ends with its owner.
struct CancelOnDrop(tokio::task::JoinHandle<()>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers with a session that is begun once the connection has become a stream, as dockerd does it; a failure to begin is
/// told on the stream.
pub(crate) async fn started(
    mut call: Call,
    tty: bool,
    begin: impl Future<Output = Result<AttachStream>> + Send + 'static,
) -> Reply {
    let content_type = reply::stream_type(tty, call.version);
    if !call.wants_upgrade() {
        return match begin.await {
            Ok(session) => plain(call, session),
            Err(error) => reply::typed(StatusCode::OK, content_type, Body::full(told(tty, &error))),
        };
    }
    let (upgrade, head_read) = (call.upgrade(), call.head_read());
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let mut connection = TokioIo::new(connection);
        let (begun, ()) = tokio::join!(begin, head_read);
        match begun {
            Ok(session) => carry(session, connection).await,
            Err(error) => {
                let _ = connection.write_all(&told(tty, &error)).await;
                let _ = connection.shutdown().await;
            }
        }
    });
    switching(content_type)
}

/// A failure as output.
fn told(tty: bool, failure: &Error) -> Bytes {
    let text = format!("{failure}\r\n");
    if tty { text.into() } else { frame(1, text.as_bytes()) }
}

/// One frame of a multiplexed stream.
fn frame(stream: u8, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![stream, 0, 0, 0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.into()
}

/// The 101 of Docker's own upgrade.
fn switching(content_type: HeaderValue) -> Reply {
    let mut reply = reply::typed(StatusCode::SWITCHING_PROTOCOLS, content_type, Body::empty());
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
    reply.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    reply
}

/// Checks that a request opens a websocket; returns the key of the answer.
pub(crate) fn websocket_handshake(call: &Call) -> Result<String> {
    let has = |name: HeaderName, word: &str| {
        call.header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let key = call.header(HeaderName::from_static("sec-websocket-key"));
    let version = call.header(HeaderName::from_static("sec-websocket-version"));
    match key {
        Some(key) if has(UPGRADE, "websocket") && has(CONNECTION, "upgrade") && version == Some("13") => {
            Ok(derive_accept_key(key.as_bytes()))
        }
        _ => Err(Error::invalid("not a websocket handshake of version 13")),
    }
}

/// Answers with the session as a websocket: input in messages of any kind, output as binary messages without frames.
pub(crate) fn websocket(mut call: Call, accept: String, session: AttachStream) -> Reply {
    let upgrade = call.upgrade();
    // dockerd sent text messages until API 1.28.
    let binary = call.version.at_least(28);
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(WEBSOCKET_MESSAGE))
            .max_frame_size(Some(WEBSOCKET_MESSAGE));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
        bridge(socket, session, binary).await;
    });
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(HeaderName::from_static("sec-websocket-accept"), accept);
    }
    // Browsers refuse an answer without the protocol they asked for; the first will do, for any carries bytes.
    let protocol = call.header(HeaderName::from_static("sec-websocket-protocol"));
    let first = protocol.and_then(|offered| offered.split(',').next()).map(str::trim).map(HeaderValue::from_str);
    if let Some(Ok(protocol)) = first {
        headers.insert(HeaderName::from_static("sec-websocket-protocol"), protocol);
    }
    reply
}

/// Carries a session between a websocket and a container.
async fn bridge<S: AsyncRead + AsyncWrite + Unpin>(socket: WebSocketStream<S>, session: AttachStream, binary: bool) {
    let framed = !session.tty;
    let (near, far) = tokio::io::duplex(WEBSOCKET_BUFFER);
    let (far_in, mut far_out) = split(far);
    let (near_in, near_out) = split(near);
    let (sink, source) = socket.split();
    let carried = async move {
        let ended = session.run(far_in, &mut far_out).await;
        let _ = far_out.shutdown().await;
        ended
    };
    let (ended, (), ()) = tokio::join!(
        carried,
        async {
            let mut sink = sink;
            send(near_in, &mut sink, framed, binary).await;
            let _ = sink.close().await;
        },
        receive(source, near_out),
    );
    if let Err(error) = ended {
        tracing::debug!(%error, "stream ended early");
    }
}

type Sink<S> = futures_util::stream::SplitSink<WebSocketStream<S>, Message>;
type Source<S> = futures_util::stream::SplitStream<WebSocketStream<S>>;

/// Messages become input, until the client closes.
async fn receive<S: AsyncRead + AsyncWrite + Unpin>(mut source: Source<S>, mut input: WriteHalf<DuplexStream>) {
    while let Some(Ok(message)) = source.next().await {
        let written = match message {
            Message::Binary(bytes) => input.write_all(&bytes).await,
            Message::Text(text) => input.write_all(text.as_bytes()).await,
            Message::Close(_) => break,
            _ => Ok(()),
        };
        if written.is_err() {
            break;
        }
    }
    let _ = input.shutdown().await;
}

/// Output becomes messages, without the headers of frames.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    mut output: ReadHalf<DuplexStream>,
    sink: &mut Sink<S>,
    framed: bool,
    binary: bool,
) {
    let mut buffer = vec![0; CHUNK];
    let mut left = 0_u32;
    loop {
        if framed && left == 0 {
            let mut header = [0; 8];
            if output.read_exact(&mut header).await.is_err() {
                return;
            }
            let [.., a, b, c, d] = header;
            left = u32::from_be_bytes([a, b, c, d]);
            continue;
        }
        let limit = if framed { buffer.len().min(left as usize) } else { buffer.len() };
        let Ok(read @ 1..) = output.read(&mut buffer[..limit]).await else { return };
        left = left.saturating_sub(u32::try_from(read).unwrap_or(u32::MAX));
        let message = if binary {
            Message::Binary(Bytes::copy_from_slice(&buffer[..read]))
        } else {
            Message::text(String::from_utf8_lossy(&buffer[..read]).into_owned())
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_stream_and_length() {
        assert_eq!(frame(1, b"abc"), [1, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c'].as_slice());
    }
}
