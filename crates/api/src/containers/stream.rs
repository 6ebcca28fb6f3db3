//! A container's streams: attach, logs, wait, resize.

use super::terminal_size;
use crate::{
    body::Body,
    call::Call,
    events::time,
    hijack,
    reply::{self, Reply},
};
use bytes::Bytes;
use futures_util::stream;
use hyper::{StatusCode, header::HeaderValue};
use rorqual_api_types::container::{WaitError, WaitResponse};
use rorqual_engine::containers::{AttachOptions, LogOptions, WaitCondition, WaitResult};
use rorqual_error::{Error, Result};

/// `POST /containers/{name}/attach`.
pub(crate) async fn attach(call: Call) -> Result<Reply> {
    let options = attach_options(&call);
    match call.engine().containers.attach(&call.name, options).await {
        Ok(session) => Ok(hijack::session(call, session)),
        // dockerd's attach answers errors as text.
        Err(failure) => {
            let mut reply = reply::error(&failure);
            *reply.body_mut() = Body::full(format!("{failure}\r\n"));
            let raw = HeaderValue::from_static("application/vnd.docker.raw-stream");
            reply.headers_mut().insert(hyper::header::CONTENT_TYPE, raw);
            Ok(reply)
        }
    }
}

/// `GET /containers/{name}/attach/ws`.
pub(crate) async fn attach_websocket(call: Call) -> Result<Reply> {
    let handshake = hijack::websocket_handshake(&call)?;
    let options = attach_options(&call);
    let session = call.engine().containers.attach(&call.name, options).await?;
    Ok(hijack::websocket(call, handshake, session))
}

fn attach_options(call: &Call) -> AttachOptions {
    let query = &call.query;
    AttachOptions {
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: query.filled("detachKeys").map(str::to_owned),
    }
}

/// `GET /containers/{name}/logs`.
pub(crate) async fn logs(call: Call) -> Result<Reply> {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    // Anything but a number means all, as `all` does.
    let tail = query.text("tail").parse::<i64>().ok().and_then(|lines| u64::try_from(lines).ok());
    let options = LogOptions {
        stdout,
        stderr,
        follow: query.flag("follow"),
        since: moment(query.text("since"))?,
        until: moment(query.text("until"))?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tail,
    };
    let logs = call.engine().containers.logs(&call.name, options).await?;
    let content_type = reply::stream_type(logs.tty, call.version);
    Ok(reply::typed(StatusCode::OK, content_type, Body::from_engine(logs.bytes)))
}

/// A moment; zero is none.
fn moment(text: &str) -> Result<Option<jiff::Timestamp>> {
    Ok(time(text)?.filter(|moment| *moment != jiff::Timestamp::UNIX_EPOCH))
}

/// `POST /containers/{name}/wait`. From API 1.30 on the head of the answer is sent at once: a client knows then that the
/// wait is armed, and may start the container.
pub(crate) async fn wait(call: Call) -> Result<Reply> {
    let armed_at_once = call.version.at_least(30);
    let condition = match call.query.text("condition") {
        _ if !armed_at_once => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => {
            let shown: String = other.chars().take(crate::limits::SHOWN).collect();
            return Err(Error::invalid(format!("invalid condition: {shown:?}")));
        }
    };
    let mut wait = call.engine().containers.wait(&call.name, condition)?;
    let silent_failure = condition == WaitCondition::Removed && !call.version.at_least(34);
    let answer = async move {
        let result = wait.finished().await;
        // Before 1.34 the only way to tell of a failed removal was to say nothing.
        if silent_failure && result.error.is_some() { Ok(Bytes::new()) } else { encode(result) }
    };
    let json = HeaderValue::from_static("application/json");
    let body = if armed_at_once { Body::stream(stream::once(answer)) } else { Body::full(answer.await?) };
    Ok(reply::typed(StatusCode::OK, json, body))
}

fn encode(result: WaitResult) -> Result<Bytes> {
    let error = result.error.map(|message| WaitError { message });
    let mut text = serde_json::to_vec(&WaitResponse { status_code: result.exit_code, error })
        .map_err(|cause| Error::internal("encode the answer").caused_by(cause))?;
    text.push(b'\n');
    Ok(text.into())
}

/// `POST /containers/{name}/resize`.
pub(crate) async fn resize(call: Call) -> Result<Reply> {
    let (rows, columns) = terminal_size(&call)?;
    call.engine().containers.resize(&call.name, rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}
