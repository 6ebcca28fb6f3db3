//! Containers: everything but their streams (`stream.rs`) and what old versions need changed (`adapt.rs`).

mod adapt;
mod stream;

pub(crate) use stream::{attach, attach_websocket, logs, resize, wait};

use crate::{
    call::Call,
    decode,
    limits::SHOWN,
    query::go_number,
    reply::{self, Reply},
};
use hyper::{
    StatusCode,
    body::{Body as _, SizeHint},
};
use rorqual_api_types::container::CreateResponse;
use rorqual_engine::containers::{CreateOptions, ListOptions, RemoveOptions, StopOptions};
use rorqual_error::{Context, Error, Result};
use rorqual_types::Signal;

/// `GET /containers/json`.
pub(crate) async fn list(call: Call) -> Result<Reply> {
    let limit = call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let options = ListOptions {
        all: call.query.flag("all"),
        limit,
        size: call.query.flag("size"),
        filters: call.query.filters()?,
    };
    let mut found = call.engine().containers.list(options).await?;
    for summary in &mut found {
        if !call.version.at_least(46) {
            summary.host_config.annotations = None;
        }
        if !call.version.at_least(48) {
            summary.image_manifest_descriptor = None;
        }
    }
    Ok(reply::ok(&found))
}

/// `POST /containers/create`.
pub(crate) async fn create(mut call: Call) -> Result<Reply> {
    call.expect_json()?;
    let text = call.bytes().await?;
    let mut request = decode::create(&text)?;
    let mut warnings = adapt::create(&mut request, call.version)?;
    let name = call.query.filled("name").map(str::parse).transpose()?;
    let platform = if call.version.at_least(41) { call.platform()? } else { None };
    let created = call.engine().containers.create(CreateOptions { name, platform, request }).await?;
    warnings.extend(created.warnings);
    Ok(reply::json(StatusCode::CREATED, &CreateResponse { id: created.id.to_string(), warnings }))
}

/// `GET /containers/{name}/json`.
pub(crate) async fn inspect(call: Call) -> Result<Reply> {
    let containers = &call.engine().containers;
    let mut found = containers.inspect(&call.name)?;
    if call.query.flag("size") {
        let sizes = containers.sizes(&call.name).await?;
        (found.size_rw, found.size_root_fs) = (Some(sizes.rw), Some(sizes.root_fs));
    }
    if !call.version.at_least(48) {
        found.image_manifest_descriptor = None;
    }
    Ok(reply::ok(&found))
}

/// `POST /containers/{name}/start`.
pub(crate) async fn start(call: Call) -> Result<Reply> {
    let size = call.request.body().size_hint();
    // Up to seven bytes pass: clients send `null` or `{}`.
    if size.lower() > 7 || is_chunked(size, call.request.body().is_end_stream()) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if call.query.filled("checkpoint").is_some() {
        return Err(Error::not_implemented("not supported yet: checkpoints"));
    }
    call.engine().containers.start(&call.name).await?;
    Ok(reply::no_content())
}

/// Whether a body comes without a length.
fn is_chunked(size: SizeHint, ended: bool) -> bool {
    size.exact().is_none() && !ended
}

/// `POST /containers/{name}/stop`.
pub(crate) async fn stop(call: Call) -> Result<Reply> {
    let options = stop_options(&call)?;
    call.engine().containers.stop(&call.name, options).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{name}/restart`.
pub(crate) async fn restart(call: Call) -> Result<Reply> {
    let options = stop_options(&call)?;
    call.engine().containers.restart(&call.name, options).await?;
    Ok(reply::no_content())
}

fn stop_options(call: &Call) -> Result<StopOptions> {
    let signal = call.query.filled("signal").filter(|_| call.version.at_least(42));
    Ok(StopOptions { signal: signal.map(str::parse).transpose()?, timeout_s: call.query.number("t")? })
}

/// `POST /containers/{name}/kill`.
pub(crate) async fn kill(call: Call) -> Result<Reply> {
    let signal = call.query.filled("signal").map(str::parse::<Signal>).transpose();
    let signal = signal.with_context(|| format!("cannot kill container: {}", call.name))?;
    call.engine().containers.kill(&call.name, signal).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{name}/pause`.
pub(crate) async fn pause(call: Call) -> Result<Reply> {
    call.engine().containers.pause(&call.name).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{name}/unpause`.
pub(crate) async fn unpause(call: Call) -> Result<Reply> {
    call.engine().containers.unpause(&call.name).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{name}/rename`.
pub(crate) async fn rename(call: Call) -> Result<Reply> {
    let Some(new) = call.query.filled("name") else {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    };
    // dockerd shows the name with its slash here.
    let new = format!("/{}", new.strip_prefix('/').unwrap_or(new)).parse().context("Error when allocating new name")?;
    call.engine().containers.rename(&call.name, new).await?;
    Ok(reply::no_content())
}

/// `GET /containers/{name}/top`.
pub(crate) async fn top(call: Call) -> Result<Reply> {
    let arguments = call.query.text("ps_args");
    Ok(reply::ok(&call.engine().containers.top(&call.name, arguments).await?))
}

/// `POST /containers/{name}/update`.
pub(crate) async fn update(mut call: Call) -> Result<Reply> {
    call.expect_json()?;
    let text = call.bytes().await?;
    let mut request = decode::update(&text)?;
    adapt::resources(&mut request.resources, call.version);
    Ok(reply::ok(&call.engine().containers.update(&call.name, request).await?))
}

/// `DELETE /containers/{name}`.
pub(crate) async fn remove(call: Call) -> Result<Reply> {
    let options =
        RemoveOptions { force: call.query.flag("force"), volumes: call.query.flag("v"), link: call.query.flag("link") };
    call.engine().containers.remove(&call.name, options).await?;
    Ok(reply::no_content())
}

/// `POST /containers/prune`.
pub(crate) async fn prune(call: Call) -> Result<Reply> {
    let filters = call.query.filters()?;
    Ok(reply::ok(&call.engine().containers.prune(filters).await?))
}

/// Rows and columns of `h` and `w`.
pub(crate) fn terminal_size(call: &Call) -> Result<(u16, u16)> {
    let side = |name: &str, what: &str| {
        let text = call.query.text(name);
        let number = go_number("", text).ok().and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| {
            let why = if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_digit()) {
                "invalid syntax"
            } else {
                "value out of range"
            };
            let shown: String = text.chars().take(SHOWN).collect();
            Error::invalid(format!("invalid resize {what} {shown:?}: {why}"))
        })
    };
    Ok((side("h", "height")?, side("w", "width")?))
}
