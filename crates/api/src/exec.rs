//! Programs run in running containers.

use crate::{
    call::Call,
    containers::terminal_size,
    hijack,
    reply::{self, Reply},
};
use hyper::StatusCode;
use rorqual_api_types::container::{ExecConfig, ExecCreated, ExecStart};
use rorqual_engine::containers::{ExecStartOptions, ExecStarted};
use rorqual_error::{Error, Result};

/// `POST /containers/{name}/exec`.
pub(crate) async fn create(mut call: Call) -> Result<Reply> {
    let mut config: ExecConfig = call.json().await?;
    if config.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("No exec command specified"));
    }
    if !call.version.at_least(42) {
        config.console_size = None;
    }
    let id = call.engine().containers.exec_create(&call.name, config).await?;
    Ok(reply::json(StatusCode::CREATED, &ExecCreated { id }))
}

/// `POST /exec/{id}/start`.
pub(crate) async fn start(mut call: Call) -> Result<Reply> {
    let request: ExecStart = call.json().await?;
    let console_size = request
        .console_size
        .filter(|_| request.tty && call.version.at_least(42))
        .map(|size| size.map(|side| u16::try_from(side).unwrap_or(u16::MAX)))
        .map(|[rows, columns]| (rows, columns));
    let options = ExecStartOptions { detach: request.detach, tty: request.tty, console_size };
    let containers = call.engine().containers.clone();
    containers.exec_check(&call.name)?;
    let id = call.name.clone();
    if request.detach {
        containers.exec_start(&id, options).await?;
        return Ok(reply::empty(StatusCode::OK));
    }
    Ok(hijack::started(call, request.tty, async move {
        match containers.exec_start(&id, options).await? {
            ExecStarted::Attached(session) => Ok(*session),
            ExecStarted::Detached => Err(Error::internal("an attached exec was started detached")),
        }
    })
    .await)
}

/// `POST /exec/{id}/resize`.
pub(crate) async fn resize(call: Call) -> Result<Reply> {
    let (rows, columns) = terminal_size(&call)?;
    call.engine().containers.exec_resize(&call.name, rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /exec/{id}/json`.
pub(crate) async fn inspect(call: Call) -> Result<Reply> {
    Ok(reply::ok(&call.engine().containers.exec_inspect(&call.name)?))
}
